// Reductions of a whole array, accumulated in f64.
#include <limits>

#include "tensor/cpu/partials.h"
#include "tensor/cpu/table.h"

namespace costeff::COSTEFF_ISA {
namespace {

// The loops stand in functions of their own: with pointers that a lambda captured GCC 12 leaves them scalar.

template <class T>
double sum_of(std::int64_t n, const T* x) {
  double s = 0;
#pragma omp simd reduction(+ : s)
  for (std::int64_t i = 0; i < n; ++i) s += static_cast<double>(x[i]);
  return s;
}

template <class T>
double dot_of(std::int64_t n, const T* x, const T* y) {
  double s = 0;
#pragma omp simd reduction(+ : s)
  for (std::int64_t i = 0; i < n; ++i) s += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return s;
}

template <class T>
void sum(std::int64_t n, const T* x, T* out) {
  *out = static_cast<T>(ordered_sum(
      n, n, [=](std::int64_t begin, std::int64_t end) { return sum_of(end - begin, x + begin); }));
}

template <class T>
void dot(std::int64_t n, const T* x, const T* y, double* out) {
  *out = ordered_sum(
      n, n, [=](std::int64_t begin, std::int64_t end) { return dot_of(end - begin, x + begin, y + begin); });
}

template <class T>
void squares_of_rows(std::int64_t n, std::int64_t cols, const T* table, const std::int32_t* index,
                     double* out) {
  parallel_ranges(n, n * cols, 1, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const T* row = table + index[i] * cols;
      out[i] = dot_of(cols, row, row);
    }
  });
}

template <class T>
struct PartialRange {
  T smallest, largest;
  std::int64_t non_finite;
};

template <class T>
PartialRange<T> range_of(std::int64_t n, const T* x) {
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  T low = kInfinity, high = -kInfinity;
  std::int64_t finite = 0;
#pragma omp simd reduction(min : low) reduction(max : high) reduction(+ : finite)
  for (std::int64_t i = 0; i < n; ++i) {
    const bool is_finite = x[i] - x[i] == T(0);
    const T for_low = is_finite ? x[i] : kInfinity, for_high = is_finite ? x[i] : -kInfinity;
    low = for_low < low ? for_low : low;
    high = for_high > high ? for_high : high;
    finite += is_finite ? 1 : 0;
  }
  return {low, high, n - finite};
}

template <class T>
Range range(std::int64_t n, const T* x) {
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  PartialRange<T> partials[kPartials];
  partial_results(n, n, partials,
                  [=](std::int64_t begin, std::int64_t end) { return range_of(end - begin, x + begin); });
  PartialRange<T> all{kInfinity, -kInfinity, 0};
  for (const PartialRange<T>& p : partials) {
    all.smallest = p.smallest < all.smallest ? p.smallest : all.smallest;
    all.largest = p.largest > all.largest ? p.largest : all.largest;
    all.non_finite += p.non_finite;
  }
  if (all.non_finite == n) return {0, 0, n};
  return {static_cast<double>(all.smallest), static_cast<double>(all.largest), all.non_finite};
}

}  // namespace

template <class T>
void fill_reduce(Kernels<T>& k) {
  k.sum = sum<T>;
  k.dot = dot<T>;
  k.squares_of_rows = squares_of_rows<T>;
  k.range = range<T>;
}
template void fill_reduce(Kernels<float>& k);
template void fill_reduce(Kernels<double>& k);

}  // namespace costeff::COSTEFF_ISA
