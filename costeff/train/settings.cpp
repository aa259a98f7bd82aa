// Which values of settings make sense, and what they are where nothing is said.
#include "costeff/train/settings.h"

#include "costeff/train/settings_table.h"
#include "tensor/device.h"
#include "tensor/error.h"

namespace costeff {

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

}  // namespace costeff
