// What the kernel tests share: a run over both types and every instruction set, random arrays, and comparison
// with f64.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "tensor/backend.h"

namespace costeff::testing {

using KernelTypes = ::testing::Types<float, double>;
using Doubles = std::vector<double>;

// Calls f(table) with the kernels of each instruction set that this processor has.
template <class T, class F>
void for_each_isa(F&& f) {
  for (const Isa isa : {Isa::v2, Isa::v3, Isa::v4}) {
    if (isa > best_isa()) continue;
    SCOPED_TRACE(std::string(name_of(isa)));
    f(cpu_kernels<T>(isa));
  }
}

// Normal numbers, the same for the same seed.
template <class T>
std::vector<T> random_values(std::int64_t n, unsigned seed, double spread = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(0, spread);
  std::vector<T> values(static_cast<std::size_t>(n));
  for (T& x : values) x = static_cast<T>(normal(generator));
  return values;
}

// An output before it is written: NaN where it must not be read (beta 0), else numbers.
template <class T>
std::vector<T> old_content(std::int64_t n, T beta, unsigned seed = 99) {
  if (beta != T(0)) return random_values<T>(n, seed);
  return std::vector<T>(static_cast<std::size_t>(n), std::numeric_limits<T>::quiet_NaN());
}

// result + beta * old, with beta 0 hiding a NaN.
template <class T>
double blended(double result, T beta, T old) {
  return beta == T(0) ? result : result + static_cast<double>(beta) * static_cast<double>(old);
}

template <class T>
constexpr double tolerance(double f32, double f64 = 1e-12) {
  return sizeof(T) == 4 ? f32 : f64;
}

template <class T>
void expect_close(const std::vector<T>& actual, const Doubles& expected, double limit,
                  const char* what = "") {
  ASSERT_EQ(actual.size(), expected.size());
  double worst = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double error =
        std::abs(static_cast<double>(actual[i]) - expected[i]) / std::max(1.0, std::abs(expected[i]));
    if (!(error <= worst)) worst = error, at = i;  // a NaN is the worst
    if (std::isnan(error)) break;
  }
  if (actual.empty()) return;
  EXPECT_LE(worst, limit) << what << " element " << at << " of " << actual.size() << ": "
                          << static_cast<double>(actual[at]) << ", expected " << expected[at];
}

// The factor of a product that is [rows, cols] as it is read, with rows `stride` apart in memory.
template <class T>
Matrix<const T> factor(const T* data, std::int64_t rows, std::int64_t cols, std::int64_t stride,
                       bool transposed) {
  return {data, rows, cols, stride, transposed};
}

// The factor of element i in the rule of Dropout, straight from its words.
inline double dropout_factor(const Dropout& d, std::int64_t i) {
  if (d.p == 0) return 1;
  const auto block = static_cast<std::uint64_t>(i / 4);
  const auto words = philox4x32(
      {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), d.site.step, d.site.site},
      {static_cast<std::uint32_t>(d.site.seed), static_cast<std::uint32_t>(d.site.seed >> 32)});
  return static_cast<double>(words[static_cast<std::size_t>(i % 4)]) < d.p * 4294967296.0 ? 0 : 1 / (1 - d.p);
}

inline constexpr Dropout kNoDropout{};
inline constexpr Dropout kSomeDropout{0.3, {0x123456789abcdefull, 7, 21}};

struct Size {
  std::int64_t rows, cols;
};
inline constexpr std::array<Size, 9> kSizes{
    {{1, 1}, {1, 3}, {5, 1}, {3, 7}, {13, 48}, {4, 129}, {70, 1030}, {257, 33}, {2, 2500}}};

}  // namespace costeff::testing
