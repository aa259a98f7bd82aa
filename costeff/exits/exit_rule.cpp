#include "costeff/exits/exit_rule.h"

#include <algorithm>
#include <cmath>

#include "tensor/error.h"

namespace costeff {
namespace {

// Counts exits in a row that answer alike.
bool patient_enough(const ExitRule& rule, std::span<const double> logits, ExitMemory& memory) {
  const bool regression = logits.size() == 1;
  const auto best = std::max_element(logits.begin(), logits.end());
  const double answer = regression ? logits[0] : static_cast<double>(best - logits.begin());
  const bool same = regression ? std::abs(answer - memory.answer) < rule.tolerance : answer == memory.answer;
  memory.agreed = memory.any && same ? memory.agreed + 1 : 0;
  memory.answer = answer;
  memory.any = true;
  return rule.patience > 0 && memory.agreed == rule.patience;
}

}  // namespace

ExitRule entropy_below(double threshold) {
  return {.kind = ExitRule::Kind::entropy, .threshold = threshold};
}
ExitRule confidence_above(double threshold) {
  return {.kind = ExitRule::Kind::confidence, .threshold = threshold};
}
ExitRule patience_of(std::int64_t exits, double tolerance) {
  return {.kind = ExitRule::Kind::patience, .patience = exits, .tolerance = tolerance};
}

bool leaves(const ExitRule& rule, std::span<const double> logits, ExitMemory& memory) {
  switch (rule.kind) {
    case ExitRule::Kind::entropy:
      return entropy(logits) < rule.threshold;
    case ExitRule::Kind::confidence:
      return std::exp(*std::max_element(logits.begin(), logits.end()) - log_sum_exp(logits)) > rule.threshold;
    case ExitRule::Kind::patience:
      return patient_enough(rule, logits, memory);
  }
  return false;
}

void check_rule(const ExitRule& rule, std::int64_t labels) {
  if (rule.kind == ExitRule::Kind::patience) {
    if (rule.patience < 0) fail_usage("a patience of {}: must be 0 exits or more", rule.patience);
    if (!(rule.tolerance >= 0)) fail_usage("a tolerance of {}: must be 0 or more", rule.tolerance);
    return;
  }
  const char* what = rule.kind == ExitRule::Kind::entropy ? "an entropy" : "a confidence";
  if (!(rule.threshold >= 0))
    fail_usage("{} threshold of {}: must be 0 or more{}", what, rule.threshold,
               rule.kind == ExitRule::Kind::entropy ? ", in nats" : "");
  if (labels == 1) fail_usage("{} threshold is for classes: a regression answers at its last exit", what);
}

double log_sum_exp(std::span<const double> z) {
  const double largest = *std::max_element(z.begin(), z.end());
  double total = 0;
  for (const double x : z) total += std::exp(x - largest);
  return largest + std::log(total);
}

double entropy(std::span<const double> logits) {
  const double normaliser = log_sum_exp(logits);
  double sum = 0;
  for (const double z : logits) {
    const double log_p = z - normaliser;
    const double p = std::exp(log_p);
    if (p != 0) sum -= p * log_p;
  }
  return sum;
}

}  // namespace costeff
