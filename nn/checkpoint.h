// Models as Hugging Face directories: config.json, model.safetensors, vocab.txt, tokenizer_config.json.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "nn/bert.h"
#include "nn/safetensors.h"

namespace costeff {

// What loading met that the caller may want to report.
struct LoadReport {
  std::vector<std::string> initialised;  // parameters the file lacks and that were newly initialised
  // Tensors of the file that the model has no use for: heads of pre-training, exits that others replace, or
  // that lie before its first.
  std::vector<std::string> ignored;
};

struct LoadOptions {
  DType dtype = DType::f32;
  // The classes that the model is to have. As many as the checkpoint's: its classifier stays, its rows
  // brought into this order when they are the same labels. Another number, or no classifier in the file: it
  // is initialised from `seed`. Empty: the checkpoint's own labels, and then its classifier must be there.
  std::vector<std::string> labels;
  // The exits that the model is to have, instead of the checkpoint's (absent: one classifier on BERT's
  // pooler). Where they differ from the checkpoint's, all classifiers and poolers are initialised from
  // `seed`.
  bool own_exits = true;
  std::optional<ExitConfig> exits;
  std::uint64_t seed = 0;
};

// Reads a model, to the CPU. Names may have the `bert.` prefix or not, LayerNorm parameters may be called
// gamma and beta; f16, bf16, f32 and f64 are converted. Throws Error, naming files and tensors, when one is
// missing, unexpected or of a shape that the config does not give.
std::unique_ptr<Bert> load_bert(const std::string& folder, const LoadOptions& options,
                                LoadReport* report = nullptr);

// Whether `folder` holds a model (a config.json).
bool is_model_folder(const std::string& folder);

// Writes config.json and model.safetensors of a model on any device into an existing folder, and copies the
// tokenizer's files from `tokenizer_folder`.
void save_bert(const std::string& folder, const Bert& model, const std::string& tokenizer_folder,
               SaveDType dtype = SaveDType::f32);

}  // namespace costeff
