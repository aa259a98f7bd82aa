// Which values of settings make sense, and what they are where nothing is said.
#include "costeff/train/settings.h"

#include "costeff/train/settings_table.h"
#include "tensor/device.h"
#include "tensor/error.h"

namespace costeff {

Uses::Uses(Stage stage) : bits(kTraining) {
  switch (stage) {
    case Stage::finetune:
      break;
    case Stage::assist:
      bits |= kTeacher | kFeaturesFirst | kMakesExits | kTwoStage;
      break;
    case Stage::slenderise:
      bits |= kTeacher | kFeatures | kMakesExits | kSlenderises;
      break;
    case Stage::recover:
      bits |= kTeacher | kFeatures | kFeaturesFirst;
      break;
  }
}

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

void check_task(const Settings& s) {
  const std::string task = flag_of(&Settings::task), columns = flag_of(&Settings::columns);
  if (s.task.empty() == s.columns.empty())
    fail_usage("{}: give either a task of GLUE or, for a file of your own, {}", task, columns);
  if (!s.task.empty() && !s.labels.empty())
    fail_setting(&Settings::labels, s, "goes with {}; {} has labels of its own", columns, s.task);
}

void check_prediction(Uses stage, const Settings& s) {
  if (s.prediction == Prediction::none && (s.no_features || (stage.bits & kFeatures) == 0))
    fail_setting(&Settings::prediction, s, "nothing is left to learn from");
  check_values(stage, s, std::span(&setting_of(&Settings::temperature), 1));
}

void check_positions(const Settings& s, std::int64_t positions) {
  constexpr const char* kTooFew = "the model has {} positions";
  if (s.max_length > positions) fail_setting(&Settings::max_length, s, kTooFew, positions);
  if (s.pad_to > positions) fail_setting(&Settings::pad_to, s, kTooFew, positions);
}

void check(Uses stage, const Settings& s) {
  check_values(stage, s);
  check_task(s);
  device_named(s.device);
  if (s.pad_to > 0 && s.pad_to < s.max_length)
    fail_setting(&Settings::pad_to, s, "texts have up to {} tokens, by {}", s.max_length,
                 flag_of(&Settings::max_length));
  if ((stage.bits & kTeacher) == 0) return;
  check_prediction(stage, s);
  if (s.two_stage && s.exit_losses != ExitLosses::all)
    fail_setting(&Settings::two_stage, s, "its second half trains the exits that {} {} leaves out",
                 flag_of(&Settings::exit_losses), name_of(s.exit_losses));
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
