// Sums to one number: always the same partial sums, whatever the number of threads, added in their order.
#pragma once

#include "tensor/cpu/isa.h"

namespace costeff::COSTEFF_ISA {

inline constexpr std::int64_t kPartials = 64;

// Calls f(begin, end) on kPartials consecutive ranges of [0, n) and keeps what it returns.
template <class Partial, class F>
COSTEFF_INLINE void partial_results(std::int64_t n, std::int64_t work, Partial (&partials)[kPartials],
                                    F&& f) {
  Partial* out = partials;
  parallel_ranges(kPartials, work, 1, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) out[i] = f(n * i / kPartials, n * (i + 1) / kPartials);
  });
}

template <class F>
COSTEFF_INLINE double ordered_sum(std::int64_t n, std::int64_t work, F&& f) {
  double partials[kPartials];
  partial_results(n, work, partials, f);
  double sum = 0;
  for (const double partial : partials) sum += partial;
  return sum;
}

}  // namespace costeff::COSTEFF_ISA
