// What a report shows, read from a run's folder: the folder of `costeff run` with its four stages, or that of
// one stage. Runs may be unfinished, and files older than this program: what is not there stays empty, and
// `absent` says so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "costeff/train/run_folder.h"

namespace costeff {

struct ExitScore {
  std::int64_t exit = 0;  // from 1
  double score = 0;
};

struct LossPoint {
  double step = 0;
  double loss = 0;
  std::size_t phase = 0;        // in StageReport::phases
  bool features_alone = false;  // the step learned no predictions
};

struct DevPoint {
  double step = 0;
  std::optional<double> score;   // of the last exit
  std::vector<ExitScore> exits;  // empty: a model with one
};

// What a round of slenderising left.
struct RoundReport {
  std::int64_t round = 0;
  double step = 0;            // that it began after
  std::vector<double> heads;  // by layer
  std::vector<double> ffn;
  std::optional<double> rank;
  // Which of the original's, by layer, from 0.
  std::vector<std::vector<std::int64_t>> kept_heads;
  std::vector<std::vector<std::int64_t>> kept_neurons;
};

struct StageReport {
  std::string name;  // "finetune"
  Json config;       // null: not there
  std::vector<std::string> phases;
  std::vector<LossPoint> losses;
  std::vector<DevPoint> dev;
  std::vector<RoundReport> rounds;
  std::optional<double> seconds;
  bool begun = false;
  bool finished = false;

  std::string title() const;  // "Fine-tuning"
};

struct ModelReport {
  std::string name;
  std::optional<double> parameters;
  std::optional<double> flops;         // a sentence of real length, on average
  std::optional<double> flops_padded;  // a sentence padded to 128 tokens
  std::optional<double> score;
  std::optional<double> share;  // of the fine-tuned model's score
  std::optional<double> sequences_per_second;
  std::optional<double> average_exit;
  std::optional<double> threshold;  // of an early exit
  std::vector<ExitScore> exits;
  std::vector<double> exit_counts;  // sentences that left at exit 1, 2, ...
};

struct SweepPoint {
  std::optional<double> threshold;
  std::optional<double> score;
  std::optional<double> flops;
  std::vector<double> exit_counts;
};

struct ReportData {
  std::string path;
  std::string task;
  std::string metric = "acc";
  Json config;          // the folder's own; null: not there
  bool single = false;  // the folder of one stage
  std::vector<StageReport> stages;
  std::vector<ModelReport> models;
  std::vector<SweepPoint> sweep;
  // The sizes of the model before slenderising, where they are known.
  std::optional<double> full_heads;
  std::optional<double> full_ffn;
  std::optional<double> full_rank;
  std::vector<std::string> absent;  // sentences about what is not there, or not readable

  const StageReport* stage(const std::string& name) const;
  const ModelReport* fine_tuned() const;
  const ModelReport* assistant() const;
  const ModelReport* full_depth() const;
  const ModelReport* early_exit() const;
  const ModelReport* slender() const;  // early_exit(), else full_depth()
};

// Throws Error when there is no run at `path`, or when a file that is there cannot be read.
ReportData read_report_data(const std::string& path);

}  // namespace costeff
