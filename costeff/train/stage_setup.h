// What a stage has before its first step: its settings, data, models and phases.
#pragma once

#include "costeff/train/classifier.h"
#include "costeff/train/stage.h"

namespace costeff {

struct StageSetup {
  StageSpec stage;
  Settings settings;  // with nothing left to decide
  Device device;
  Task task;
  std::shared_ptr<const StageData> data;
  LoadReport report;
  Classifier student;  // on the device
  BertConfig full;     // the student's sizes before any surgery
  std::vector<Phase> phases;
  std::shared_ptr<Teacher> teacher;  // null: none
  Batcher batcher;
  std::int64_t steps_per_epoch = 0;
  std::int64_t total_steps = 0;
  std::int64_t rounds = 0;  // of surgery

  // The run's config.json: what was asked for, what followed from it, and where it runs.
  Json description() const;
};

// Reads and loads everything, where `shared` does not have it. Throws Error and UsageError, naming what is
// missing or does not fit.
StageSetup set_up_stage(const StageSpec& stage, const Settings& settings, const StageEvents& events,
                        StageShared& shared);

// Computes the teacher's outputs for the training sentences, once for all epochs, where there is memory for
// them.
void cache_teacher(const StageSetup& setup, const StageEvents& events);

// A model where and how the settings say: device, precision, rates of dropout.
void place_model(Bert& model, const Settings& settings);

}  // namespace costeff
