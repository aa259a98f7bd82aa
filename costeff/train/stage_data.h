// The data that a stage reads: training sentences, some of them held out, and the dev set.
#pragma once

#include <functional>
#include <string>

#include "costeff/train/settings.h"
#include "data/batches.h"
#include "data/task.h"
#include "data/tokenizer.h"
#include "nn/bert_config.h"

namespace costeff {

// The task that the settings name; of a custom one, with the labels of its training file.
Task task_of(const Settings& settings);
// The names that a model's classes have: the task's labels, or "score" for a regression.
std::vector<std::string> class_names(const Task& task);

struct StageData {
  EncodedDataset train;
  EncodedDataset
      held_out;  // settings.holdout of the training sentences, drawn by the seed, that are not in `train`
  EncodedDataset dev;
};

// Throws Error and UsageError, naming file or flag, when a file is missing or broken, a label of dev or train
// is missing, or the model has too few positions. `note` gets a line about each file.
StageData load_data(const Settings& settings, const Task& task, const Tokenizer& tokenizer,
                    const BertConfig& config, const std::function<void(const std::string& line)>& note);

// `count` places in 0..size-1, drawn without repeats; the same for the same seed and purpose. Ascending.
std::vector<std::int32_t> draw(std::size_t count, std::size_t size, std::uint64_t seed,
                               std::uint32_t purpose);
// These sequences of a data set, in this order.
EncodedDataset subset(const EncodedDataset& data, std::span<const std::int32_t> sequences);

}  // namespace costeff
