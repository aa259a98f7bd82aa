// A model with its tokenizer, used on texts: loading, evaluating on a data set, predicting.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/batches.h"
#include "data/task.h"
#include "data/tokenizer.h"
#include "nn/checkpoint.h"

namespace costeff {

struct Classifier {
  std::string folder;  // where it was read from
  Tokenizer tokenizer;
  std::unique_ptr<Bert> model;
};

// The folder that `path` means: itself, or the best model of a run folder. Throws Error when there is no
// model.
std::string resolve_model(const std::string& path);

// Reads model and tokenizer. Throws Error when the vocabulary is not the model's.
Classifier load_classifier(const std::string& path, const LoadOptions& options, LoadReport* report = nullptr);

// A batch's rows as the model reads them.
TokenBatch token_batch(const Batch& batch);

struct Evaluation {
  MetricValues metrics;
  double loss = 0;  // mean over examples: cross-entropy in nats, or squared error
  std::size_t examples = 0;
  double seconds = 0;  // of the forward passes, batches included
  double sequences_per_second() const { return seconds > 0 ? static_cast<double>(examples) / seconds : 0; }
};

struct EvaluateOptions {
  std::size_t batch = 32;
  std::size_t pad_to = 0;  // 0: packed
  std::function<void(std::size_t done, std::size_t total)> progress;
};

// Scores the model on a labelled data set. Throws Error when the model's outputs are not the task's.
Evaluation evaluate(const Bert& model, const Task& task, const EncodedDataset& data,
                    const EvaluateOptions& options = {});

// Logits [sequences][labels] of a batch, without a tape.
std::vector<std::vector<double>> predict_logits(const Bert& model, const Batch& batch);

std::vector<double> probabilities(std::span<const double> logits);  // softmax

}  // namespace costeff
