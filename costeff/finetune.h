// Fine-tuning a pre-trained BERT with its pooler and one classifier: the first stage, and the teacher of the
// next.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "costeff/classifier.h"
#include "costeff/evaluate.h"
#include "costeff/run_folder.h"
#include "costeff/trainer.h"

namespace costeff {

struct FinetuneSettings {
  std::string model;
  std::string task;     // a GLUE task; empty: custom, by `columns`
  std::string columns;  // "sentence,label" or "premise,hypothesis,label"
  std::string labels;   // "neg,pos"; empty: those of the training file
  std::string data;     // folder with train.tsv and dev.tsv
  std::string out;
  std::int64_t epochs = 3;
  std::int64_t batch = 32;      // sequences of a micro-batch
  std::int64_t accumulate = 1;  // micro-batches of a step
  double lr = 5e-5;
  double warmup = 0.1;  // below 1 a share of all steps, else a number of steps
  double weight_decay = 0.01;
  std::string adam_variant = "torch";
  double max_norm = 1;
  double dropout = -1;  // -1: the rates in the model's config
  std::uint64_t seed = 1;
  std::int64_t max_steps = 0;         // 0: epochs decide
  std::int64_t eval_every = 0;        // steps; 0: after each epoch
  std::int64_t checkpoint_every = 0;  // steps; 0: after each evaluation
  std::int64_t keep_checkpoints = 2;
  std::int64_t max_length = 128;
  std::int64_t pad_to = 0;   // 0: packed, no padding
  bool bucket = false;       // sentences of similar length together
  std::int64_t threads = 0;  // 0: all cores this process may use
  bool check_finite = false;
  std::string save_dtype = "f32";
};

Json to_json(const FinetuneSettings& settings);
// Settings from JSON, on top of `base`. Throws UsageError for an unknown key or a value of the wrong type.
FinetuneSettings settings_from_json(const Json& json, FinetuneSettings base = {});
// Throws UsageError naming the first flag whose value makes no sense ("--lr nan", "--batch 0").
void check(const FinetuneSettings& settings);

struct FinetuneProgress {
  std::int64_t step = 0;
  std::int64_t total = 0;
  std::int64_t epoch = 0;  // 0-based
  StepReport report;
  double tokens_per_second = 0;
};

// What the caller wants to hear of; all optional.
struct FinetuneEvents {
  std::function<void(const std::string& line)> note;  // what is going on, in words
  std::function<void(const FinetuneProgress& progress)> step;
  std::function<void(std::int64_t step, const Evaluation& evaluation, bool best)> evaluated;
  const std::atomic<bool>* stop = nullptr;  // set from outside: save and return
};

struct FinetuneResult {
  bool finished = false;  // false: stopped from outside, a checkpoint was saved
  std::int64_t steps = 0;
  std::int64_t best_step = 0;
  Evaluation best;
  double seconds = 0;  // of this process
};

// Runs, or with `resume` goes on with, the run in settings.out. Throws Error and UsageError as its parts do;
// what was saved stays.
FinetuneResult finetune(const FinetuneSettings& settings, bool resume, const FinetuneEvents& events);

// What a run's config.json says of where it runs: versions, threads, processor, kernels.
Json environment();

}  // namespace costeff
