// The entropy threshold of commands whose models may exit early.
#pragma once

#include <optional>
#include <string_view>

#include "nn/bert_config.h"
#include "tools/cli/options.h"

namespace costeff {

void add_entropy(Options& options, double* threshold);
// The threshold, where --entropy was given. Throws UsageError if it is negative.
std::optional<double> asked_threshold(const Options& options, double threshold);

// Whether a model can exit by entropy: throws UsageError, naming the flag, for a regression. Says on stderr,
// as `command`, when every sequence will answer at exit L because it is the only one.
void check_exits(const BertConfig& config, std::string_view flag, std::string_view command);
// The same for --entropy, and a warning when the threshold is so high that every sequence leaves at once.
void check_exits(const BertConfig& config, double threshold, std::string_view command);

}  // namespace costeff
