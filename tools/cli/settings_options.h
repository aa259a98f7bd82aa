// The settings of training stages as options of a command, and as files.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "costeff/train/pipeline.h"
#include "costeff/train/settings_table.h"
#include "tools/cli/options.h"
#include "tools/cli/progress.h"

namespace costeff {

// One setting as an option, with the table's name, help and range; `help` and `shown` where a command has
// other words for it.
struct SettingWords {
  const char* help = nullptr;
  std::optional<std::string> shown;
};
void add_setting(Options& options, Settings& settings, SettingField field, const SettingWords& words = {});

// What commands that train are asked for beside settings.
struct TrainRequest {
  std::string out;
  std::string config;  // a file
  bool resume = false;
};
// "costeff assist (--task T | --columns LIST) --data DIR ... [options]", with what has no default, and how a
// run is resumed.
std::string train_usage(std::string_view command, Uses stage, bool shared, const Settings& settings);
// The settings of the table that such a stage has, by group; with `shared`, those alone that go to every
// stage. Defaults are shown as `settings` has them. `more` adds a command's own options to the group "Run".
void add_settings(Options& options, Uses stage, bool shared, Settings& settings, TrainRequest& request,
                  const std::function<void()>& more = nullptr, SettingsTable table = settings_table());
// The settings with what flags say of those that the stage has; `out` is the request's.
Settings with_flags(const Options& options, Uses stage, Settings settings);
// docs/settings.md: the settings to look at first, then all of them by group.
std::string settings_page(SettingsTable table = settings_table());

// Settings of single stages: "recover.lr=5e-4,assist.epochs=2".
void set_each(std::string_view list, PipelineSettings& settings);

// The settings in the config.json of the run at `out`. Throws Error when there is none, or another command's.
Json begun_settings(const std::string& out, std::string_view command);
// Settings from a JSON file of the user's, or from the config.json of a run, whose folder is not taken over.
Json config_settings(const std::string& path);
std::string absolute(const std::string& path);
// A resumed run has the settings it was begun with: throws UsageError, naming them, when others are wanted.
void require_same(const Json& run, const Json& wanted);
// Events of a stage that show themselves; `total` gets the number of steps.
StageEvents show_progress(Progress& progress, std::int64_t& total);

}  // namespace costeff
