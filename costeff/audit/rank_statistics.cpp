#include "costeff/audit/rank_statistics.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

#include "data/metrics.h"
#include "tensor/error.h"

namespace costeff {
namespace {

void check(std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size()) fail("rank correlation: {} values against {}", a.size(), b.size());
  for (const auto& side : {a, b}) {
    if (std::any_of(side.begin(), side.end(), [](double x) { return std::isnan(x); }))
      fail("rank correlation: a value is not a number");
  }
}

}  // namespace

double spearman(std::span<const double> a, std::span<const double> b) {
  check(a, b);
  if (a.size() < 2) return 0;
  const double r = spearman_correlation(a, b);
  return std::isnan(r) ? 0 : r;  // a constant side
}

double overlap(std::span<const std::int64_t> a, std::span<const std::int64_t> b) {
  if (a.empty()) return 1;
  std::vector<std::int64_t> common;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(common));
  return static_cast<double>(common.size()) / static_cast<double>(a.size());
}

}  // namespace costeff
