// The stages of training, each a run in a folder of its own: fine-tuning, the teaching assistant,
// slenderising, recovery.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "costeff/exits/evaluate.h"
#include "costeff/train/run_folder.h"
#include "costeff/train/settings.h"
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
  // Before the first step: of how many of the training sentences the teacher has said its part.
  std::function<void(std::int64_t done, std::int64_t total)> taught;
  std::function<void(std::int64_t step, const ExitsEvaluation& evaluation, bool best)> evaluated;
  const std::atomic<bool>* stop = nullptr;  // set from outside: save and return
};

struct StageResult {
  bool finished = false;  // false: stopped from outside, a checkpoint was saved
  std::int64_t steps = 0;
  std::int64_t best_step = 0;        // 0: the stage keeps its last model alone
  ExitsEvaluation best;              // on dev
  double seconds = 0;                // of training, all processes together
  std::shared_ptr<Teacher> teacher;  // with what it remembers; null after fine-tuning
};

// Runs, or with `resume` goes on with, the run in settings.out, which then holds the models `last` and, where
// the last phase trains predictions on one set of sizes, `best` by the mean dev score over exits. Throws
// Error and UsageError as its parts do; what was saved stays. `teacher` is the one in settings.teacher where
// an earlier stage has loaded it, for the same task, device, precision and threads.
StageResult run_stage(Stage stage, const Settings& settings, bool resume, const StageEvents& events,
                      std::shared_ptr<Teacher> teacher = nullptr);

// Throws the UsageError that a stage would throw for its sizes and steps, for settings that are complete, a
// model of these sizes to begin with and these training sentences.
void check_plan(Stage stage, const Settings& settings, const BertConfig& backbone,
                const EncodedDataset& train);

// What a run's config.json says of where it runs: versions, threads, processor, kernels, and a device that is
// not the CPU.
Json environment(Device device);

}  // namespace costeff
