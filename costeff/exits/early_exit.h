// Early exit: each sequence answers at the first exit where a rule says so, and the layers after it do not
// compute its rows. choose_exits() gives the same answers from every exit's logits; this does the work up to
// a sequence's exit alone.
#pragma once

#include "costeff/exits/evaluate.h"

namespace costeff {

struct EarlyExitOutputs {
  CachedVector<std::int64_t> exits;  // [sequences], each in first..L
  CachedVector<double> logits;       // [sequences, labels], of the exit each sequence left at
};

// Without a tape. A batch gives each sequence what it gets alone, but for rounding. Throws UsageError as
// check_rule() does.
EarlyExitOutputs early_exit(const Bert& model, const TokenBatch& batch, const ExitRule& rule,
                            Precision precision = Precision::full);

struct EarlyEvaluation {
  Evaluation evaluation;             // of the answers given
  ExitChoice choice;                 // of each sequence of the data set
  std::vector<std::int64_t> counts;  // sequences that left at exit 1..L; 0 before the first exit
  double average_exit = 0;
};

// Scores a model that exits early. Throws Error when the model's outputs are not the task's, UsageError as
// check_rule() does.
EarlyEvaluation evaluate_early(const Bert& model, const Task& task, const EncodedDataset& data,
                               const ExitRule& rule, const EvaluateOptions& options = {});

// The largest threshold, of a hundred quantiles of the entropies of all exits but the last, at which at most
// `share` of the sequences get another class than at full depth; 0 if there is none. Labels are not asked:
// what early exit changes shows in few sequences, and how many of those were right is chance (Schuster et
// al., CALM, 2022, call this consistency). Throws UsageError for a regression.
double consistent_threshold(const ExitLogits& logits, double share);

// About a dozen thresholds from 0 to ln C, ascending, cut to four digits: shares of ln C, and quantiles of
// the entropies of all exits but the last. Throws UsageError for a regression.
std::vector<double> sweep_thresholds(const ExitLogits& logits);

// Counts and average of the exits of sequences, in a model of `layers` layers.
std::vector<std::int64_t> count_exits(std::span<const std::int64_t> exits, std::int64_t layers);
double average_exit(std::span<const std::int64_t> exits);

}  // namespace costeff
