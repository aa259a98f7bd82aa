// The settings of training stages as options of a command, and as files.
#pragma once

#include <string>
#include <string_view>

#include "costeff/train/settings.h"
#include "costeff/train/stage.h"
#include "tools/cli/options.h"
#include "tools/cli/progress.h"

namespace costeff {

void add_data_options(Options& options, Settings& settings);
void add_run_options(Options& options, Settings& settings);
// Of a stage and of a whole run: where and how it computes, and what it writes on the way.
void add_computing_options(Options& options, Settings& settings);
void add_training_options(Options& options, Settings& settings);
// What the stage's method has beside these.
void add_method_options(Options& options, Stage stage, Settings& settings);
void add_slender_options(Options& options, Settings& settings);

// The settings in the config.json of the run at `out`. Throws Error when there is none, or another command's.
Json run_settings(const std::string& out, std::string_view command);
// Settings from a JSON file of the user's, or from the config.json of a run, whose folder is not taken over.
Settings with_config(Stage stage, const std::string& path, const Settings& base);
std::string absolute(const std::string& path);
// A resumed run has the settings it was begun with: throws UsageError, naming them, when others are wanted.
void require_same(const Json& run, const Json& wanted);
// A word that the shell reads as it stands.
std::string shell_word(const std::string& word);

// Events of a stage that show themselves; `total` gets the number of steps.
StageEvents show_progress(Progress& progress, std::int64_t& total);

}  // namespace costeff
