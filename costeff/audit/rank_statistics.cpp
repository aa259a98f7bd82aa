#include "costeff/audit/rank_statistics.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <utility>
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

// How many pairs of neighbours-to-be a run of n equal values holds.
double pairs(std::size_t n) {
  return static_cast<double>(n) * (static_cast<double>(n) - 1) / 2;
}

// Pairs that are equal by `same`, in a range where equal ones stand together.
template <class T, class Same>
double tied_pairs(const std::vector<T>& sorted, Same&& same) {
  double tied = 0;
  for (std::size_t begin = 0; begin < sorted.size();) {
    std::size_t end = begin + 1;
    while (end < sorted.size() && same(sorted[begin], sorted[end])) ++end;
    tied += pairs(end - begin);
    begin = end;
  }
  return tied;
}

// Sorts, and counts the pairs that stood in descending order.
double sort_counting(std::span<double> values, std::vector<double>& room) {
  if (values.size() < 2) return 0;
  const std::size_t half = values.size() / 2;
  const std::span<double> left = values.first(half), right = values.subspan(half);
  double swaps = sort_counting(left, room) + sort_counting(right, room);
  room.clear();
  std::size_t i = 0, j = 0;
  while (i < left.size() || j < right.size()) {
    if (j == right.size() || (i < left.size() && left[i] <= right[j])) {
      room.push_back(left[i++]);
    } else {
      swaps += static_cast<double>(left.size() - i);
      room.push_back(right[j++]);
    }
  }
  std::copy(room.begin(), room.end(), values.begin());
  return swaps;
}

}  // namespace

double spearman(std::span<const double> a, std::span<const double> b) {
  check(a, b);
  if (a.size() < 2) return 0;
  const double r = spearman_correlation(a, b);
  return std::isnan(r) ? 0 : r;  // a constant side
}

double kendall(std::span<const double> a, std::span<const double> b) {
  check(a, b);
  std::vector<std::pair<double, double>> both;
  both.reserve(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) both.emplace_back(a[i], b[i]);
  std::sort(both.begin(), both.end());
  std::vector<double> second, room;
  second.reserve(both.size());
  room.reserve(both.size());
  for (const auto& pair : both) second.push_back(pair.second);
  // Within equal values of `a` those of `b` ascend: such pairs are never swapped.
  const double swaps = sort_counting(second, room);
  const double tied_a = tied_pairs(both, [](const auto& x, const auto& y) { return x.first == y.first; });
  const double tied_b = tied_pairs(second, [](double x, double y) { return x == y; });
  const double tied_both = tied_pairs(both, [](const auto& x, const auto& y) { return x == y; });
  const double all = pairs(both.size());
  const double untied = (all - tied_a) * (all - tied_b);
  return untied > 0 ? (all - tied_a - tied_b + tied_both - 2 * swaps) / std::sqrt(untied) : 0;
}

double overlap(std::span<const std::int64_t> a, std::span<const std::int64_t> b) {
  if (a.empty()) return 1;
  std::vector<std::int64_t> common;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(common));
  return static_cast<double>(common.size()) / static_cast<double>(a.size());
}

}  // namespace costeff
