// What a report shows, read from a run's folder: the folder of `costeff run`, with a folder for each stage of
// the method, or that of one stage. Runs may be unfinished: what is not there stays empty, and `absent` says
// so.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "costeff/train/run_records.h"

namespace costeff {

struct StageReport {
  std::string name;             // "finetune"
  std::string title;            // "Fine-tuning", as the method has it; else the name
  Json config;                  // null: not there
  std::vector<StepLine> steps;  // with a finite loss
  std::vector<EvaluationLine> dev;
  std::vector<RoundLine> rounds;
  std::optional<double> seconds;
  bool begun = false;
  bool finished = false;

  std::vector<std::string> phases() const;  // of the steps, in their order
};

struct ReportData {
  std::string path;
  std::string method = "COST-EFF";  // for readers
  std::string task;
  std::string metric = "acc";
  Json config;          // the folder's own; null: not there
  bool single = false;  // the folder of one stage
  std::vector<StageReport> stages;
  std::optional<Results> results;
  // The sizes of the model before slenderising; nan where they are not known.
  double full_heads = std::numeric_limits<double>::quiet_NaN(), full_ffn = full_heads, full_rank = full_heads;
  std::vector<std::string> absent;  // sentences about what is not there

  const ModelRecord* find(ModelRole role) const;  // null: there is none, or there are no results yet
  const ModelRecord* product() const;             // likewise: what the run is about
  const std::vector<RoundLine>* rounds() const;   // of the stage that has any; null: none has
};

// Throws Error when there is no run at `path`, or a file is not what a run writes.
ReportData read_report_data(const std::string& path);

}  // namespace costeff
