// Early exit in commands that use models: by which rule, and whether the model can.
#pragma once

#include <optional>
#include <string_view>

#include "costeff/exits/exit_rule.h"
#include "nn/bert_config.h"
#include "tools/cli/options.h"

namespace costeff {

struct ExitFlags {
  double entropy = 0;
  double confidence = 0;
  std::int64_t patience = 0;
};
void add_exit_flags(Options& options, ExitFlags& flags);

// The rule that a flag names, or, without one, the threshold that the model carries; nothing: full depth.
// Throws UsageError for two flags at once, a value that makes no sense, and a rule that needs classes of a
// regression. Says on stderr, as `command`, when every text will leave at the first exit, or has but one to
// leave at.
std::optional<ExitRule> asked_rule(const Options& options, const ExitFlags& flags, const BertConfig& config,
                                   std::string_view command);

// Whether a model can exit by entropy: throws UsageError, naming the flag, for a regression. Says on stderr,
// as `command`, when every text will answer at exit L because it is the only one.
void check_exits(const BertConfig& config, std::string_view flag, std::string_view command);

}  // namespace costeff
