// Scoring a model on a labelled data set: at full depth, at every exit, and at the exits that an entropy
// threshold chooses.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "costeff/exits/exit_rule.h"
#include "data/batches.h"
#include "data/task.h"
#include "nn/bert.h"

namespace costeff {

struct Evaluation {
  MetricValues metrics;
  double loss = 0;  // mean over examples: cross-entropy in nats, or squared error
  std::size_t examples = 0;
  double seconds = 0;  // of the forward passes, batches included
  double sequences_per_second() const { return seconds > 0 ? static_cast<double>(examples) / seconds : 0; }
  double score() const { return metrics.back().second; }  // the task's main metric
};

struct EvaluateOptions {
  std::size_t batch = 32;
  std::size_t pad_to = 0;  // 0: packed
  Precision precision = Precision::full;
  std::function<void(std::size_t done, std::size_t total)> progress;
};

// Scores the model at full depth: the logits of exit L. Throws Error when the model's outputs are not the
// task's.
Evaluation evaluate(const Bert& model, const Task& task, const EncodedDataset& data,
                    const EvaluateOptions& options = {});

// A data set scored at every exit, in one pass at full depth.
struct ExitsEvaluation {
  std::int64_t first = 1;  // the exit of exits[0]
  std::vector<Evaluation>
      exits;                  // first..L, each with the seconds of the whole pass; of a plain BERT: exit L
  double mean_score() const;  // mean over exits of Evaluation::score()
};

// Throws Error when the model's outputs are not the task's.
ExitsEvaluation evaluate_exits(const Bert& model, const Task& task, const EncodedDataset& data,
                               const EvaluateOptions& options = {});

// What each exit says of each sequence: any threshold's choice follows without running the model again.
struct ExitLogits {
  std::int64_t first = 1;                  // the exit of exits[0]
  std::int64_t labels = 0;                 // columns
  std::vector<std::vector<double>> exits;  // first..L, each [sequences, labels]
  double seconds = 0;                      // of the forward passes, batches included
};
ExitLogits predict_exits(const Bert& model, const EncodedDataset& data, const EvaluateOptions& options = {});
// Of exit L alone, without what only the others need.
ExitLogits predict_last_exit(const Bert& model, const EncodedDataset& data,
                             const EvaluateOptions& options = {});

// Throws Error when the model's outputs are not the task's.
ExitsEvaluation evaluate_exits(const ExitLogits& logits, const Task& task, const EncodedDataset& data);

// Where each sequence leaves, and what that exit says.
struct ExitChoice {
  std::vector<std::int64_t> exits;  // [sequences], each in first..L
  std::vector<double> logits;       // [sequences, labels]
};

// Each sequence leaves at the first exit where the rule says so; exit L always answers. Throws as
// check_rule() does.
ExitChoice choose_exits(const ExitLogits& logits, const ExitRule& rule);

// The parts that evaluations are made of.

// Throws Error when the model's outputs are not the task's.
void require_outputs(std::int64_t labels, const Task& task);

// Calls visit(first sequence, batch) for the data set in its order, cut into batches; returns the seconds it
// took.
double visit_batches(const EncodedDataset& data, const EvaluateOptions& options,
                     const std::function<void(std::size_t begin, const Batch& batch)>& visit);

// Metrics and loss of logits [sequences, classes], or of a regression [sequences, 1]: of all sequences, or of
// the given ones alone.
Evaluation evaluate_logits(std::span<const double> logits, const Task& task, const EncodedDataset& data);
Evaluation evaluate_logits(std::span<const double> logits, const Task& task, const EncodedDataset& data,
                           std::span<const std::int32_t> sequences);

}  // namespace costeff
