#include "tools/cli/exit_options.h"

#include <cmath>

#include "tensor/error.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

// The rule of the one flag that was given, and its name.
struct Asked {
  const char* flag = nullptr;  // null: none
  ExitRule rule;
};

Asked asked(const Options& options, const ExitFlags& flags) {
  Asked found;
  const auto take = [&](const char* flag, const ExitRule& rule) {
    if (!options.given(flag)) return;
    if (found.flag != nullptr) fail_usage("--{} and --{} are two rules: give one", found.flag, flag);
    found = {flag, rule};
  };
  take("entropy", entropy_below(flags.entropy));
  take("confidence", confidence_above(flags.confidence));
  take("patience", patience_of(flags.patience));
  return found;
}

void warn_of_entropy(const BertConfig& config, double threshold, std::string_view command) {
  const double most = std::log(static_cast<double>(config.num_labels()));
  if (threshold <= most) return;
  say(
      fmt::format("costeff {}: --entropy {}: no entropy of {} classes is above {:.4f}, so that every text "
                  "leaves at exit {}\n",
                  command, threshold, config.num_labels(), most, config.first_exit()));
}

}  // namespace

void add_exit_flags(Options& options, ExitFlags& flags) {
  options.add("entropy", "T", &flags.entropy,
              "early exit: a text leaves at the first exit whose entropy, in nats, is below T; 0: full depth",
              {.shown = "the model's own threshold, or full depth"});
  options.add("confidence", "P", &flags.confidence,
              "or at the first exit whose largest probability is above P", {.shown = ""});
  options.add("patience", "N", &flags.patience,
              "or at the N-th exit in a row that answers as the one before it", {.shown = ""});
}

void check_exits(const BertConfig& config, std::string_view flag, std::string_view command) {
  if (config.is_regression())
    fail_usage("--{}: the model's one output is a score, which has no entropy", flag);
  if (config.first_exit() == config.layers()) {
    say(fmt::format("costeff {}: the model has one exit; every text answers there, after layer {}\n", command,
                    config.layers()));
  }
}

std::optional<ExitRule> asked_rule(const Options& options, const ExitFlags& flags, const BertConfig& config,
                                   std::string_view command) {
  const Asked given = asked(options, flags);
  if (given.flag == nullptr) {
    if (!config.exit_threshold) return std::nullopt;
    return entropy_below(*config.exit_threshold);
  }
  try {
    check_rule(given.rule, std::max<std::int64_t>(config.num_labels(), 2));
  } catch (const UsageError& error) {
    fail_usage("--{}: {}", given.flag, error.what());
  }
  check_exits(config, given.flag, command);
  if (given.rule.kind == ExitRule::Kind::entropy) warn_of_entropy(config, given.rule.threshold, command);
  return given.rule;
}

}  // namespace costeff
