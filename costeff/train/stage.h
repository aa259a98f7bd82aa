// A stage of a method as a run in a folder of its own: begun, or gone on with, to the same bits.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "costeff/train/method.h"
#include "costeff/train/stage_data.h"
#include "costeff/train/teacher.h"
#include "costeff/train/trainer.h"

namespace costeff {

struct StageProgress {
  std::int64_t step = 0;
  std::int64_t total = 0;
  std::int64_t epoch = 0;  // 0-based
  std::string_view phase;
  StepReport report;
  double tokens_per_second = 0;
};

// What the caller wants to hear of; all optional.
struct StageEvents {
  std::function<void(const std::string& line)> note;  // what is going on, in words
  std::function<void(const StageProgress& progress)> step;
  // Before the first step: of how many of the training sentences the teacher's outputs are cached.
  std::function<void(std::int64_t done, std::int64_t total)> cached;
  std::function<void(std::int64_t step, const ExitsEvaluation& evaluation, bool best)> evaluated;
  // Looks at the tape of a step that audit_every asks for; the result goes into the log. Must change nothing.
  std::function<Json(Tape& tape, const Variable& loss, const ParameterStore& parameters)> audit;
  const std::atomic<bool>* stop = nullptr;  // set from outside: save and return
};

// What stages of a run share, so that nothing is read or computed twice. A stage fills what is empty.
struct StageShared {
  std::shared_ptr<const StageData> data;  // of the stage's task, files, max_length, holdout and seed
  std::shared_ptr<Teacher> teacher;       // the one in settings.teacher, with its cached outputs
};

struct StageResult {
  bool finished = false;  // false: stopped from outside, a checkpoint was saved
  StageRecord record;
  ExitsEvaluation best;  // on dev, where record.best_step is above 0
};

// Runs, or with `resume` goes on with, the run in settings.out, which then holds the models `last` and, where
// the stage selects it, `best`. Throws Error and UsageError as its parts do; what was saved stays.
StageResult run_stage(const StageSpec& stage, const Settings& settings, bool resume,
                      const StageEvents& events, StageShared& shared);

// Throws the UsageError that a stage would throw for its sizes and steps, for settings that are complete, a
// model of these sizes to begin with and these training sentences.
void check_plan(const StageSpec& stage, const Settings& settings, const BertConfig& backbone,
                const EncodedDataset& train);

// The settings with what is decided before the model is known.
Settings decided(const StageSpec& stage, Settings settings);

// What a run's config.json says of where it runs: versions, threads, processor, kernels, and a device that is
// not the CPU.
Json environment(Device device);

}  // namespace costeff
