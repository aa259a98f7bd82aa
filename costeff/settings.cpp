// The settings of fine-tuning as JSON, and which values make sense.
#include <cmath>
#include <limits>

#include "costeff/finetune.h"
#include "tensor/error.h"

namespace costeff {
namespace {

// Calls f with the key and the field of each setting: the one list that reading and writing share.
template <class Settings, class F>
void for_each_setting(Settings& s, F&& f) {
  f("model", s.model);
  f("task", s.task);
  f("columns", s.columns);
  f("labels", s.labels);
  f("data", s.data);
  f("out", s.out);
  f("epochs", s.epochs);
  f("batch", s.batch);
  f("accumulate", s.accumulate);
  f("lr", s.lr);
  f("warmup", s.warmup);
  f("weight_decay", s.weight_decay);
  f("adam_variant", s.adam_variant);
  f("max_norm", s.max_norm);
  f("dropout", s.dropout);
  f("seed", s.seed);
  f("max_steps", s.max_steps);
  f("eval_every", s.eval_every);
  f("checkpoint_every", s.checkpoint_every);
  f("keep_checkpoints", s.keep_checkpoints);
  f("max_length", s.max_length);
  f("pad_to", s.pad_to);
  f("bucket", s.bucket);
  f("threads", s.threads);
  f("check_finite", s.check_finite);
  f("save_dtype", s.save_dtype);
}

template <class T>
T read_value(const char* key, const Json& value) {
  const bool fits = std::is_same_v<T, std::string> ? value.is_string()
                    : std::is_same_v<T, bool>      ? value.is_boolean()
                    : std::is_same_v<T, double>    ? value.is_number()
                                                   : value.is_number_integer();
  if (!fits) fail_usage("setting \"{}\" has the value {}, which is not of its type", key, value.dump());
  if (std::is_same_v<T, std::uint64_t> && !value.is_number_unsigned())
    fail_usage("setting \"{}\" must not be negative", key);
  if (std::is_same_v<T, std::int64_t> && value.is_number_unsigned() &&
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    fail_usage("setting \"{}\" has the value {}, which is too large", key, value.dump());
  }
  return value.get<T>();
}

void require(bool fits, const char* flag, const std::string& what) {
  if (!fits) fail_usage("--{}: {}", flag, what);
}

constexpr std::int64_t kMost =
    1'000'000'000;  // of any count: what is above is a slip, and products of two fit

void within(const char* flag, std::int64_t value, std::int64_t least, std::int64_t most = kMost) {
  require(value >= least, flag, fmt::format("{} is below {}", value, least));
  require(value <= most, flag, fmt::format("{} is above {}", value, most));
}

}  // namespace

Json to_json(const FinetuneSettings& settings) {
  Json json;
  for_each_setting(settings, [&](const char* key, const auto& value) { json[key] = value; });
  return json;
}

FinetuneSettings settings_from_json(const Json& json, FinetuneSettings base) {
  if (!json.is_object()) fail_usage("settings must be a JSON object");
  std::size_t known = 0;
  for_each_setting(base, [&](const char* key, auto& field) {
    const auto at = json.find(key);
    if (at == json.end()) return;
    field = read_value<std::remove_reference_t<decltype(field)>>(key, *at);
    ++known;
  });
  if (known == json.size()) return base;
  const Json keys = to_json(base);
  for (const auto& [key, value] : json.items()) {
    if (!keys.contains(key)) fail_usage("unknown setting \"{}\"", key);
  }
  return base;
}

void check(const FinetuneSettings& s) {
  require(!s.model.empty(), "model", "which model to start from?");
  require(!s.data.empty(), "data", "which folder holds train.tsv and dev.tsv?");
  require(!s.out.empty(), "out", "which folder should the run be written to?");
  require(s.task.empty() != s.columns.empty(), "task",
          "give either a GLUE task or --columns of a file of your own");
  require(s.task.empty() || s.labels.empty(), "labels",
          "a GLUE task has labels of its own; they go with --columns");
  within("epochs", s.epochs, 1);
  within("batch", s.batch, 1, 65536);
  within("accumulate", s.accumulate, 1, 65536);
  require(std::isfinite(s.lr) && s.lr >= 0, "lr", fmt::format("{} is no learning rate", s.lr));
  require(std::isfinite(s.warmup) && s.warmup >= 0 && s.warmup <= static_cast<double>(kMost), "warmup",
          fmt::format("{} is neither a share nor a number of steps", s.warmup));
  require(std::isfinite(s.weight_decay) && s.weight_decay >= 0, "weight-decay",
          fmt::format("{} is no weight decay", s.weight_decay));
  require(std::isfinite(s.max_norm) && s.max_norm >= 0, "max-norm", fmt::format("{} is no norm", s.max_norm));
  require(s.dropout == -1 || (s.dropout >= 0 && s.dropout < 1), "dropout",
          fmt::format("{} is not in [0, 1)", s.dropout));
  within("max-steps", s.max_steps, 0);
  within("eval-every", s.eval_every, 0);
  within("checkpoint-every", s.checkpoint_every, 0);
  within("keep-checkpoints", s.keep_checkpoints, 1);
  within("max-length", s.max_length, 3);
  within("pad-to", s.pad_to, 0);
  within("threads", s.threads, 0, 4096);
  require(s.pad_to == 0 || s.pad_to >= s.max_length, "pad-to",
          fmt::format("sequences of up to {} tokens (--max-length) do not fit {}", s.max_length, s.pad_to));
  require(s.save_dtype == "f32" || s.save_dtype == "f16", "save-dtype",
          fmt::format("'{}' is neither f32 nor f16", s.save_dtype));
  adam_variant(s.adam_variant);
}

}  // namespace costeff
