// The metrics of GLUE (Wang et al., ICLR 2019), with the names and the corner cases of transformers'
// glue_compute_metrics: scikit-learn's accuracy, F1 and Matthews correlation, scipy's Pearson and Spearman.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace costeff {

enum class MetricKind {
  accuracy,              // acc
  accuracy_and_f1,       // acc, f1, acc_and_f1
  matthews,              // mcc
  pearson_and_spearman,  // pearson, spearmanr, corr: for scores, not for classes
};

// Metrics by name; the last one is the one, or the mean of two, that models are chosen by.
using MetricValues = std::vector<std::pair<std::string, double>>;

// The metrics of predicted classes. Names get the prefix ("mnli/" makes mnli/acc).
// Throws Error if nothing was predicted, if the two differ in length, if the kind is for scores, or if F1
// meets a class that is neither 0 nor 1.
MetricValues compute_metrics(MetricKind kind, std::span<const std::int32_t> predictions,
                             std::span<const std::int32_t> labels, std::string_view prefix = "");

// The metrics of predicted scores, pearson_and_spearman.
// Throws Error if there are fewer than two, or if the two differ in length.
MetricValues compute_metrics(std::span<const double> predictions, std::span<const double> labels);

// Share of predictions that are right.
double accuracy(std::span<const std::int32_t> predictions, std::span<const std::int32_t> labels);

// Harmonic mean of precision and recall of class 1; 0 without a true positive.
double f1_score(std::span<const std::int32_t> predictions, std::span<const std::int32_t> labels);

// Matthews correlation of any number of classes (Gorodkin 2004); 0 if a side is constant, even when all is
// right.
double matthews_correlation(std::span<const std::int32_t> predictions, std::span<const std::int32_t> labels);

// Linear correlation; nan if a side is constant or holds a value that is not finite.
double pearson_correlation(std::span<const double> x, std::span<const double> y);

// Linear correlation of the ranks, equal values sharing their mean rank; nan if a side is constant or holds a
// nan.
double spearman_correlation(std::span<const double> x, std::span<const double> y);

}  // namespace costeff
