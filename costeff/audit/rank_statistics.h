// How far two scores agree on an order, and on what to keep.
#pragma once

#include <cstdint>
#include <span>

namespace costeff {

// Both are within -1..1; 0 if a side is constant or holds fewer than two values: nothing is ordered then.
// They throw Error if the sides differ in length or hold a value that is not a number.

// Linear correlation of the ranks, equal values sharing their mean rank.
double spearman(std::span<const double> a, std::span<const double> b);
// Kendall's tau-b, (C - D) / sqrt((C + D + X) (C + D + Y)): C pairs in the same order on both sides, D in
// opposite ones, X tied in `a` alone, Y in `b` alone. In O(n log n) (Knight 1966).
double kendall(std::span<const double> a, std::span<const double> b);

// The share of the places of `a` that `b` holds too; both ascending, as keep_top() gives them. 1 of nothing.
double overlap(std::span<const std::int64_t> a, std::span<const std::int64_t> b);

}  // namespace costeff
