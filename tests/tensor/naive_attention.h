// Attention and its gradients by plain loops in f64.
#pragma once

#include <algorithm>
#include <cmath>

#include "tests/tensor/batch.h"
#include "tests/tensor/kernel_test.h"

namespace costeff::testing {

struct NaiveAttention {
  Doubles out, probabilities, log_sums, dqkv;  // log_sums [tokens, heads]
};

// To 8 significant bits, ties to even: what a bf16 holds.
inline double eight_bits(double x) {
  int exponent = 0;
  const double mantissa = std::frexp(x, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(mantissa, 8)), exponent - 8);
}

// With `mixed`, P' and dS are rounded to 8 bits before they are multiplied.
template <class T>
NaiveAttention naive_attention(const Batch& batch, std::int64_t heads, std::int64_t d,
                               const std::vector<T>& qkv, const Dropout& dropout, const std::vector<T>& dout,
                               bool mixed = false) {
  const auto rounded = [mixed](double x) { return mixed ? eight_bits(x) : x; };
  const std::int64_t width = heads * d;
  NaiveAttention result{Doubles(static_cast<std::size_t>(batch.tokens() * width)),
                        Doubles(static_cast<std::size_t>(heads * batch.pairs.back())),
                        Doubles(static_cast<std::size_t>(batch.tokens() * heads)), Doubles(qkv.size())};
  const auto input = [&](std::int64_t row, std::int64_t part, std::int64_t h, std::int64_t c) {
    return static_cast<std::size_t>(row * 3 * width + part * width + h * d + c);
  };
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  for (std::size_t s = 0; s < batch.lengths.size(); ++s) {
    const std::int64_t first = batch.offsets[s], n = batch.offsets[s + 1] - first, keys = batch.lengths[s];
    for (std::int64_t h = 0; h < heads; ++h) {
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t row = heads * batch.pairs[s] + (h * n + i) * n;  // of the probabilities
        double* p = result.probabilities.data() + row;
        double top = -1e300, sum = 0, dot = 0;
        for (std::int64_t j = 0; j < keys; ++j) {
          for (std::int64_t c = 0; c < d; ++c) {
            p[j] += scale * static_cast<double>(qkv[input(first + i, 0, h, c)]) *
                    static_cast<double>(qkv[input(first + j, 1, h, c)]);
          }
          top = std::max(top, p[j]);
        }
        for (std::int64_t j = 0; j < keys; ++j) sum += p[j] = std::exp(p[j] - top);
        result.log_sums[static_cast<std::size_t>((first + i) * heads + h)] = top + std::log(sum);
        Doubles dp(static_cast<std::size_t>(keys));
        for (std::int64_t j = 0; j < keys; ++j) {
          p[j] /= sum;
          const double factor = dropout_factor(dropout, row + j);
          for (std::int64_t c = 0; c < d; ++c) {
            const auto o = static_cast<std::size_t>((first + i) * width + h * d + c);
            const double v = static_cast<double>(qkv[input(first + j, 2, h, c)]),
                         g = static_cast<double>(dout[o]);
            result.out[o] += rounded(p[j] * factor) * v;
            dp[static_cast<std::size_t>(j)] += factor * g * v;
            result.dqkv[input(first + j, 2, h, c)] += rounded(p[j] * factor) * g;
          }
          dot += p[j] * dp[static_cast<std::size_t>(j)];
        }
        for (std::int64_t j = 0; j < keys; ++j) {
          const double ds = rounded(p[j] * (dp[static_cast<std::size_t>(j)] - dot) * scale);
          for (std::int64_t c = 0; c < d; ++c) {
            result.dqkv[input(first + i, 0, h, c)] +=
                ds * static_cast<double>(qkv[input(first + j, 1, h, c)]);
            result.dqkv[input(first + j, 1, h, c)] +=
                ds * static_cast<double>(qkv[input(first + i, 0, h, c)]);
          }
        }
      }
    }
  }
  return result;
}

}  // namespace costeff::testing
