// A method from one command: its stages one after another, and what came of it.
//
//   config.json      the method, and every setting by stage
//   STAGE/           the stages' runs (costeff/train/run_folder.h)
//   results.json     models with their costs and scores, the sweep over thresholds, the time of each stage
//
// A stage that is finished is not run again, one that was interrupted is gone on with: the run ends with the
// same bits whenever it was killed.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "costeff/train/stage.h"

namespace costeff {

// The settings of a run, by stage.
struct PipelineSettings {
  explicit PipelineSettings(const Method& m);  // the stages' defaults

  const Method* method;
  std::string out;
  bool no_assistant = false;     // the method's optional stage is left out
  std::vector<Settings> stages;  // in the method's order

  Settings& operator[](std::string_view stage);  // throws Error for an unknown name
  const Settings& operator[](std::string_view stage) const;
};

// Settings that were tried, for a size of task. Throws UsageError for a name that the method does not have.
PipelineSettings with_recipe(const Method& method, std::string_view recipe);

Json to_json(const PipelineSettings& settings);
// On top of `base`. Throws UsageError for unknown keys and values of the wrong type.
PipelineSettings pipeline_from_json(const Json& json, PipelineSettings base);
// The method's name in the settings of a run; "costeff" where there is none, as in format 1.
std::string method_of(const Json& settings);
// Throws UsageError naming the first setting that makes no sense.
void check(const PipelineSettings& settings);

// The stages that are run, in their order.
std::vector<const StageSpec*> stages_of(const PipelineSettings& settings);
// The settings of a stage within the run: where its models come from and where its own goes.
Settings placed(const PipelineSettings& settings, const StageSpec& stage);
// The folder of the model that a stage leaves to others: its last one, or the one that did best on dev.
std::string kept_model(const PipelineSettings& settings, const StageSpec& stage);

struct PipelineEvents {
  // A stage begins; what it does is told to the events that are returned.
  std::function<StageEvents(const StageSpec& stage, bool goes_on)> stage;
  std::function<void(const std::string& line)> note;
};

// Runs what is not finished yet, and measures. The name of the stage in which it was stopped from outside, if
// it was.
std::optional<std::string> run_pipeline(const PipelineSettings& settings, bool resume,
                                        const PipelineEvents& events);

}  // namespace costeff
