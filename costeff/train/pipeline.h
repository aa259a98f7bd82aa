// The paper from one command: fine-tuning, teaching assistant, slenderising, recovery, and what came out of
// it.
//
//   config.json      every setting, by stage
//   finetune/ assist/ slenderise/ recover/   the stages' runs (costeff/run_folder.h)
//   results.json     models with their costs and scores, the sweep over thresholds, the time of each stage
//
// A stage that is finished is not run again, one that was interrupted is gone on with: the run ends with the
// same bits whenever it was killed.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>

#include "costeff/train/stage.h"

namespace costeff {

struct PipelineSettings {
  std::string out;
  bool no_assistant = false;  // the fine-tuned model teaches, and is what is made slender
  std::array<Settings, 4> stages = {default_settings(Stage::finetune), default_settings(Stage::assist),
                                    default_settings(Stage::slenderise), default_settings(Stage::recover)};

  Settings& operator[](Stage stage) { return stages[static_cast<std::size_t>(stage)]; }
  const Settings& operator[](Stage stage) const { return stages[static_cast<std::size_t>(stage)]; }
};

// The folder of the model that a stage leaves to the next: its last one; under --fidelity release, where
// predictions were trained, the one that did best on dev.
std::string kept_model(const PipelineSettings& settings, Stage stage);

// Settings that were tried: "quick" for some thousands of sentences within minutes, "full" for a whole task.
// Throws UsageError for another name.
PipelineSettings recipe(std::string_view name);

Json to_json(const PipelineSettings& settings);
// On top of `base`. Throws UsageError for unknown keys and values of the wrong type.
PipelineSettings pipeline_from_json(const Json& json, PipelineSettings base);
// Throws UsageError naming the first setting that makes no sense.
void check(const PipelineSettings& settings);

struct PipelineEvents {
  // A stage begins; what it does is told to the events that are returned.
  std::function<StageEvents(Stage stage, bool goes_on)> stage;
  std::function<void(const std::string& line)> note;
};

struct PipelineResult {
  bool finished = false;  // false: stopped from outside
  Stage stopped_in = Stage::finetune;
  Json results;  // what results.json holds
};

PipelineResult run_pipeline(const PipelineSettings& settings, bool resume, const PipelineEvents& events);

}  // namespace costeff
