// The settings of the stages as JSON, and which values make sense.
#include "costeff/train/settings.h"

#include <cmath>
#include <limits>

#include "costeff/train/losses.h"
#include "nn/optimizer.h"
#include "tensor/device.h"
#include "tensor/error.h"

namespace costeff {
namespace {

// Calls f with the key and the field of each setting that the stage has: the one list that reading and
// writing share.
template <class S, class F>
void for_each_setting(Stage stage, S& s, F&& f) {
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
  f("audit_every", s.audit_every);
  f("max_length", s.max_length);
  f("pad_to", s.pad_to);
  f("bucket", s.bucket);
  f("holdout", s.holdout);
  f("device", s.device);
  f("precision", s.precision);
  f("threads", s.threads);
  f("check_finite", s.check_finite);
  f("save_dtype", s.save_dtype);
  if (stage == Stage::finetune) return;
  f("teacher", s.teacher);
  f("fidelity", s.fidelity);
  f("prediction", s.prediction);
  f("temperature", s.temperature);
  f("teacher_memory", s.teacher_memory);
  f("no_equalise", s.no_equalise);
  f("no_features", s.no_features);
  f("exit_losses", s.exit_losses);
  if (stage != Stage::slenderise) {
    f("feature_epochs", s.feature_epochs);
    f("feature_lr", s.feature_lr);
  }
  if (stage == Stage::recover) return;
  f("exit_start", s.exit_start);
  f("pooling", s.pooling);
  f("last_n_hidden", s.last_n_hidden);
  f("hidden_mode", s.hidden_mode);
  f("pooler_dense", s.pooler_dense);
  if (stage == Stage::assist) {
    f("two_stage", s.two_stage);
    return;
  }
  f("heads", s.heads);
  f("ffn", s.ffn);
  f("rank", s.rank);
  f("rounds", s.rounds);
  f("period", s.period);
  f("feature_share", s.feature_share);
  f("restore", s.restore);
  f("calibration", s.calibration);
  f("importance", s.importance);
  f("importance_hard", s.importance_hard);
  f("budget", s.budget);
  f("embedding", s.embedding);
}

template <class T>
T read_value(const char* key, const Json& value) {
  if constexpr (Choice<T>) {
    const auto found = find_choice<T>(value.is_string() ? value.get<std::string>() : "");
    if (!found)
      fail_usage("setting \"{}\" has the value {}, which is none of {}", key, value.dump(), choices<T>());
    return *found;
  } else {
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

void finite(const char* flag, double value, double least, double most) {
  require(std::isfinite(value) && value >= least && value <= most, flag,
          fmt::format("{} is not from {} to {}", value, least, most));
}

void check_distillation(Stage stage, const Settings& s) {
  require(!s.teacher.empty(), "teacher", "which model teaches?");
  check_prediction(stage, s);
  require(s.feature_epochs == -1 || (s.feature_epochs >= 0 && s.feature_epochs <= 1e6), "feature-epochs",
          fmt::format("{} is no number of epochs", s.feature_epochs));
  within("teacher-memory", s.teacher_memory, 0);
  finite("feature-lr", s.feature_lr, 0, 1e6);
  within("exit-start", s.exit_start, 1);
  within("last-n-hidden", s.last_n_hidden, 1, 1 << 20);
  require(!s.two_stage || s.exit_losses == ExitLosses::all, "two-stage",
          "its second half trains the exits that --exit-losses last leaves out");
}

void check_slenderising(const Settings& s) {
  within("heads", s.heads, 1);
  within("ffn", s.ffn, 1);
  require(s.rank == -1 || s.rank >= 1, "rank", fmt::format("{} is neither a rank nor -1", s.rank));
  within("rank", s.rank, -1);
  within("rounds", s.rounds, 0, 10000);
  finite("period", s.period, 0, static_cast<double>(kMost));
  finite("feature-share", s.feature_share, 0, 1);
  finite("restore", s.restore, 0, 100);
  within("calibration", s.calibration, 1);
  if (s.importance_hard != -1) finite("importance-hard", s.importance_hard, 0, 1);
}

}  // namespace

Settings default_settings(Stage stage) {
  Settings s;
  if (stage == Stage::assist) s.lr = 1e-4;
  if (stage == Stage::slenderise) s.lr = 2e-4;
  if (stage == Stage::recover) {
    s.epochs = 9;
    s.lr = 8e-4;
  }
  // A slender model forgets more than it overfits.
  if (stage == Stage::slenderise || stage == Stage::recover) s.dropout = 0;
  return s;
}

Json to_json(Stage stage, const Settings& settings) {
  Json json;
  for_each_setting(stage, settings, [&](const char* key, const auto& value) {
    if constexpr (Choice<std::decay_t<decltype(value)>>) {
      json[key] = name_of(value);
    } else {
      json[key] = value;
    }
  });
  return json;
}

Settings settings_from_json(Stage stage, const Json& json, Settings base) {
  if (!json.is_object()) fail_usage("settings must be a JSON object");
  std::size_t known = 0;
  for_each_setting(stage, base, [&](const char* key, auto& field) {
    const auto at = json.find(key);
    if (at == json.end()) return;
    field = read_value<std::remove_reference_t<decltype(field)>>(key, *at);
    ++known;
  });
  if (known == json.size()) return base;
  const Json keys = to_json(stage, base);
  for (const auto& [key, value] : json.items()) {
    if (!keys.contains(key)) fail_usage("unknown setting \"{}\"", key);
  }
  return base;
}

void check_prediction(Stage stage, const Settings& s) {
  require(s.prediction != Prediction::none || (!s.no_features && stage != Stage::assist), "prediction",
          "none leaves nothing to learn from");
  require(std::isfinite(s.temperature) && s.temperature > 0, "temperature",
          fmt::format("{} is no temperature", s.temperature));
}

void check(Stage stage, const Settings& s) {
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
  within("audit-every", s.audit_every, 0);
  within("max-length", s.max_length, 3);
  within("pad-to", s.pad_to, 0);
  within("threads", s.threads, 0, 4096);
  device_named(s.device);
  require(s.pad_to == 0 || s.pad_to >= s.max_length, "pad-to",
          fmt::format("sequences of up to {} tokens (--max-length) do not fit {}", s.max_length, s.pad_to));
  within("holdout", s.holdout, 0);
  if (stage == Stage::finetune) return;
  check_distillation(stage, s);
  if (stage == Stage::slenderise) check_slenderising(s);
}

Settings decided(Stage stage, Settings s) {
  const bool release = s.fidelity == Fidelity::release;
  const bool tuned = s.fidelity == Fidelity::tuned;
  if (s.prediction == Prediction::automatic) {
    s.prediction = stage == Stage::assist && release ? Prediction::both : Prediction::soft;
    // Hidden states alone teach more than they do beside predictions (docs/results.md).
    if (stage == Stage::recover && tuned && !s.no_features) s.prediction = Prediction::none;
  }
  if (s.importance == ImportanceKind::automatic)
    s.importance = release ? ImportanceKind::release : ImportanceKind::paper;
  // Without labels the first round, whose student is its own teacher, would rank by rounding noise.
  if (s.importance_hard == -1) s.importance_hard = tuned || s.importance == ImportanceKind::release ? 0.1 : 0;
  if (s.embedding == EmbeddingKind::automatic)
    s.embedding = tuned ? EmbeddingKind::weighted : EmbeddingKind::plain;
  if (s.feature_lr == 0) s.feature_lr = s.lr;
  if (s.feature_epochs == -1) {
    s.feature_epochs = 0;
    if (stage == Stage::assist && release) s.feature_epochs = static_cast<double>(s.epochs) / 3;
    if (stage == Stage::recover && !tuned) s.feature_epochs = static_cast<double>(s.epochs);
  }
  if (s.no_features) s.feature_epochs = 0;
  return s;
}

}  // namespace costeff
