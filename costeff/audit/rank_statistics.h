// How far two scores agree on an order, and on what to keep.
#pragma once

#include <cstdint>
#include <span>

namespace costeff {

// Spearman's rank correlation, within -1..1: the linear correlation of the ranks, equal values sharing their
// mean rank. 0 if a side is constant or holds fewer than two values, because nothing is ordered then. Throws
// Error if the sides differ in length or hold a value that is not a number.
double spearman(std::span<const double> a, std::span<const double> b);

// The share of the places of `a` that `b` holds too; both ascending, as keep_top() gives them. 1 of nothing.
double overlap(std::span<const std::int64_t> a, std::span<const std::int64_t> b);

}  // namespace costeff
