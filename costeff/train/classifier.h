// A model with its tokenizer, used on texts: loading, predicting.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/batches.h"
#include "data/tokenizer.h"
#include "nn/checkpoint.h"

namespace costeff {

struct Classifier {
  std::string folder;  // where it was read from
  Tokenizer tokenizer;
  std::unique_ptr<Bert> model;
};

// The folder that `path` means: itself; the best model of a stage's run, or its last; of a whole run that is
// finished, the model that its results are about. Throws Error when there is no model.
std::string resolve_model(const std::string& path);

// Reads model and tokenizer. Throws Error when the vocabulary is not the model's.
Classifier load_classifier(const std::string& path, const LoadOptions& options, LoadReport* report = nullptr);

// Logits [sequences][labels] of a batch, without a tape.
std::vector<std::vector<double>> predict_logits(const Bert& model, const Batch& batch,
                                                Precision precision = Precision::full);

std::vector<double> probabilities(std::span<const double> logits);  // softmax

}  // namespace costeff
