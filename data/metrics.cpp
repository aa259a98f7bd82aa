#include "data/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "tensor/error.h"

namespace costeff {

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

void check_sizes(std::size_t predictions, std::size_t labels, std::size_t least) {
  if (predictions != labels) fail("metrics: {} predictions for {} labels", predictions, labels);
  if (predictions < least) fail("metrics: {} predictions, at least {} are needed", predictions, least);
}

bool is_constant(std::span<const double> x) {
  return std::all_of(x.begin(), x.end(), [&](double v) { return v == x[0]; });
}

// x less its mean, divided by its largest magnitude, so that neither a large offset nor an extreme scale
// costs digits.
std::vector<double> centred(std::span<const double> x) {
  long double sum = 0;
  for (const double v : x) sum += v;
  const long double mean = sum / static_cast<long double>(x.size());
  long double largest = 0;
  for (const double v : x) largest = std::max(largest, std::fabs(v - mean));
  std::vector<double> out(x.size());
  std::transform(x.begin(), x.end(), out.begin(),
                 [&](double v) { return static_cast<double>((v - mean) / largest); });
  return out;
}

// Ranks from 1, equal values sharing the mean of theirs.
std::vector<double> ranks(std::span<const double> x) {
  std::vector<std::size_t> order(x.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return x[a] < x[b]; });
  std::vector<double> out(x.size());
  for (std::size_t first = 0; first < order.size();) {
    std::size_t end = first + 1;
    while (end < order.size() && x[order[end]] == x[order[first]]) ++end;
    for (std::size_t i = first; i < end; ++i) out[order[i]] = 0.5 * static_cast<double>(first + 1 + end);
    first = end;
  }
  return out;
}

}  // namespace

MetricValues compute_metrics(MetricKind kind, std::span<const std::int32_t> predictions,
                             std::span<const std::int32_t> labels, std::string_view prefix) {
  const auto name = [&](const char* metric) { return std::string(prefix) + metric; };
  switch (kind) {
    case MetricKind::accuracy:
      return {{name("acc"), accuracy(predictions, labels)}};
    case MetricKind::accuracy_and_f1: {
      const double acc = accuracy(predictions, labels);
      const double f1 = f1_score(predictions, labels);
      return {{name("acc"), acc}, {name("f1"), f1}, {name("acc_and_f1"), (acc + f1) / 2}};
    }
    case MetricKind::matthews:
      return {{name("mcc"), matthews_correlation(predictions, labels)}};
    case MetricKind::pearson_and_spearman:
      break;
  }
  fail("metrics: correlations are of scores, not of classes");
}

MetricValues compute_metrics(std::span<const double> predictions, std::span<const double> labels) {
  const double pearson = pearson_correlation(predictions, labels);
  const double spearman = spearman_correlation(predictions, labels);
  return {{"pearson", pearson}, {"spearmanr", spearman}, {"corr", (pearson + spearman) / 2}};
}

double accuracy(std::span<const std::int32_t> predictions, std::span<const std::int32_t> labels) {
  check_sizes(predictions.size(), labels.size(), 1);
  std::size_t right = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) right += predictions[i] == labels[i] ? 1 : 0;
  return static_cast<double>(right) / static_cast<double>(labels.size());
}

double f1_score(std::span<const std::int32_t> predictions, std::span<const std::int32_t> labels) {
  check_sizes(predictions.size(), labels.size(), 1);
  std::size_t true_positives = 0;
  std::size_t positives = 0;  // predicted and real ones together
  for (std::size_t i = 0; i < labels.size(); ++i) {
    for (const std::int32_t c : {predictions[i], labels[i]}) {
      if (c != 0 && c != 1) fail("metrics: F1 is of classes 0 and 1, not {}", c);
      positives += c == 1 ? 1 : 0;
    }
    true_positives += predictions[i] == 1 && labels[i] == 1 ? 1 : 0;
  }
  if (true_positives == 0) return 0.0;
  return 2.0 * static_cast<double>(true_positives) / static_cast<double>(positives);
}

double matthews_correlation(std::span<const std::int32_t> predictions, std::span<const std::int32_t> labels) {
  check_sizes(predictions.size(), labels.size(), 1);
  struct Counts {
    double predicted = 0, real = 0;
  };
  std::map<std::int32_t, Counts> classes;
  double right = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    classes[predictions[i]].predicted += 1;
    classes[labels[i]].real += 1;
    right += predictions[i] == labels[i] ? 1 : 0;
  }
  // Covariances times n squared: integers that a double holds up to 90 million samples.
  const double n = static_cast<double>(labels.size());
  double both = right * n, predicted = n * n, real = n * n;
  for (const auto& [label, count] : classes) {
    both -= count.predicted * count.real;
    predicted -= count.predicted * count.predicted;
    real -= count.real * count.real;
  }
  if (predicted == 0 || real == 0) return 0.0;
  return both / std::sqrt(predicted * real);
}

double pearson_correlation(std::span<const double> x, std::span<const double> y) {
  check_sizes(x.size(), y.size(), 2);
  const auto finite = [](double v) { return std::isfinite(v); };
  if (!std::all_of(x.begin(), x.end(), finite) || !std::all_of(y.begin(), y.end(), finite)) return kNan;
  if (is_constant(x) || is_constant(y)) return kNan;
  if (x.size() == 2) return (x[0] < x[1]) == (y[0] < y[1]) ? 1.0 : -1.0;
  const std::vector<double> a = centred(x);
  const std::vector<double> b = centred(y);
  long double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    ab += static_cast<long double>(a[i]) * b[i];
    aa += static_cast<long double>(a[i]) * a[i];
    bb += static_cast<long double>(b[i]) * b[i];
  }
  return std::clamp(static_cast<double>(ab / (std::sqrt(aa) * std::sqrt(bb))), -1.0, 1.0);
}

double spearman_correlation(std::span<const double> x, std::span<const double> y) {
  check_sizes(x.size(), y.size(), 2);
  const auto is_nan = [](double v) { return std::isnan(v); };
  if (std::any_of(x.begin(), x.end(), is_nan) || std::any_of(y.begin(), y.end(), is_nan)) return kNan;
  return pearson_correlation(ranks(x), ranks(y));
}

}  // namespace costeff
