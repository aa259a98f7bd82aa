#include "tools/cli/exit_options.h"

#include <cmath>

#include "tensor/error.h"
#include "tools/cli/streams.h"

namespace costeff {

void add_entropy(Options& options, double* threshold) {
  options.add("entropy", "T", threshold,
              "early exit: a text leaves at the first exit whose entropy, in nats, is below T",
              {.shown = "no early exit"});
}

std::optional<double> asked_threshold(const Options& options, double threshold) {
  if (!options.given("entropy")) return std::nullopt;
  if (threshold < 0) fail_usage("--entropy {}: must be 0 or more", threshold);
  return threshold;
}

void check_exits(const BertConfig& config, std::string_view flag, std::string_view command) {
  if (config.is_regression())
    fail_usage("--{}: the model's one output is a score, which has no entropy", flag);
  if (config.first_exit() == config.layers()) {
    say(fmt::format("costeff {}: the model has one exit; every text answers there, after layer {}\n", command,
                    config.layers()));
  }
}

void check_exits(const BertConfig& config, double threshold, std::string_view command) {
  check_exits(config, "entropy", command);
  const double most = std::log(static_cast<double>(config.num_labels()));
  if (threshold > most) {
    say(
        fmt::format("costeff {}: --entropy {}: no entropy of {} classes is above {:.4f}, so that every text "
                    "leaves at exit {}\n",
                    command, threshold, config.num_labels(), most, config.first_exit()));
  }
}

}  // namespace costeff
