// What a run writes, as types: the lines of log.jsonl, a stage's result.json, and results.json of a whole
// run. Each has one writer and one reader, here. A number that is not finite is null in a file, and nan here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "costeff/exits/evaluate.h"
#include "costeff/json.h"
#include "tensor/choice.h"

namespace costeff {

// The version of run and model folders that this program writes; one without a version is of format 1, which
// is read too. A later one is refused.
inline constexpr std::int64_t kRunFormat = 2;
// Throws Error, beginning with `where`, if the config.json of a run is of a later format.
void require_run_format(const Json& config, const std::string& where);

// ---- log.jsonl

struct StepLine {
  std::int64_t step = 0;  // 1-based
  std::string phase;
  double loss = 0;           // before the update, mean over the step's sequences
  double gradient_norm = 0;  // before clipping
  double clip_scale = 1;
  double learning_rate = 0;
  std::int64_t tokens = 0;
  double tokens_per_second = 0;
  bool features_alone = false;  // hidden states were distilled, and nothing else
  Json audit;                   // what audit_every asks for; null: nothing
};

struct EvaluationLine {
  std::int64_t step = 0;
  ExitsEvaluation dev;
};

// A round of slenderising, before the step after `step`.
struct RoundLine {
  std::int64_t step = 0;
  std::int64_t round = 0;
  std::vector<std::int64_t> heads;  // of each layer
  std::vector<std::int64_t> ffn;
  std::int64_t rank = -1;                               // of the word embedding; -1: one matrix
  std::vector<std::vector<std::int64_t>> kept_heads;    // of each layer, by their numbers in the full model
  std::vector<std::vector<std::int64_t>> kept_neurons;  // ascending, from 0
};

using LogLine = std::variant<StepLine, EvaluationLine, RoundLine>;
Json to_json(const LogLine& line);
// The log of a stage's run; a last line that is being written is left out. Throws Error naming file and line.
std::vector<LogLine> read_log(const std::string& run);

// ---- evaluations: of the last exit, and where there are several, of each

Json to_json(const Evaluation& evaluation);
Json to_json(const ExitsEvaluation& evaluation);
ExitsEvaluation exits_evaluation_from(const Json& json);

// ---- result.json of a stage, results.json of a run

struct StageRecord {
  std::string name;  // the stage's
  std::int64_t steps = 0;
  std::int64_t best_step = 0;  // 0: the last model alone was kept
  double seconds = 0;          // of training
};
// Nothing where the stage is not finished.
std::optional<StageRecord> read_stage_record(const std::string& run, const std::string& stage);
void write_stage_record(const std::string& run, const StageRecord& record);

// Early exit at a threshold, on dev.
struct OperatingPoint {
  double threshold = 0;
  double score = 0;
  double average_exit = 0;
  double flops = 0;                       // mean over the sequences, up to each one's exit
  double flops_reduction = 0;             // the fine-tuned model's over these
  std::vector<std::int64_t> exit_counts;  // sequences that left at exit 1..L
};

// What a model of the run is in it.
enum class ModelRole : std::uint8_t { fine_tuned, assistant, full_depth, early_exit };
constexpr auto names_of(ModelRole) {
  return std::to_array<Name<ModelRole>>({{ModelRole::fine_tuned, "fine_tuned"},
                                         {ModelRole::assistant, "assistant"},
                                         {ModelRole::full_depth, "full_depth"},
                                         {ModelRole::early_exit, "early_exit"}});
}

struct ModelRecord {
  ModelRole role = ModelRole::fine_tuned;
  std::string name;    // for readers: "COST-EFF, early exit"
  std::string folder;  // from the run's
  std::int64_t parameters = 0;
  double flops = 0;         // mean on dev at real lengths
  double flops_padded = 0;  // of a sequence of 128 tokens
  double score = 0;
  std::optional<double> share;  // of the fine-tuned model's score; none where that is not above 0
  double sequences_per_second = 0;
  double average_exit = 0;
  std::optional<double> threshold;        // of early exit
  std::optional<double> flops_reduction;  // of early exit: the fine-tuned model's FLOPs over these
  std::optional<ExitsEvaluation> exits;   // of a model that was evaluated at full depth
  std::vector<std::int64_t> exit_counts;  // of early exit
};

struct Results {
  std::string method;
  std::string task;
  std::string metric;  // that `score` is
  std::vector<ModelRecord> models;
  std::vector<OperatingPoint> sweep;  // thresholds from 0 to ln C; none for a regression
  std::vector<StageRecord> stages;

  const ModelRecord* find(ModelRole role) const;  // null: there is none
  // The model that the run is about: with early exit, where a threshold was chosen, else at full depth. Null
  // where there is neither.
  const ModelRecord* product() const;
};
Json to_json(const Results& results);
// results.json in the folder of a run. Throws Error naming the file and what it lacks.
Results read_results(const std::string& run);
bool has_results(const std::string& run);

}  // namespace costeff
