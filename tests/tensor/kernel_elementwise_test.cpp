// Elementwise kernels, dropout, and rows with a bias.
#include "tests/tensor/kernel_test.h"

namespace costeff::testing {
namespace {

template <class T>
class KernelElementwise : public ::testing::Test {};
TYPED_TEST_SUITE(KernelElementwise, KernelTypes);

constexpr std::array<std::int64_t, 6> kCounts{0, 1, 17, 64, 1001, 70001};

TYPED_TEST(KernelElementwise, MatchTheirFormulas) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const std::int64_t n : kCounts) {
      for (const T beta : {T(0), T(1), T(-0.5)}) {
        const auto a = random_values<T>(n, 1), b = random_values<T>(n, 2);
        const auto old = old_content<T>(n, beta);
        Doubles scaled, product, sum, hyperbolic, slope;
        for (std::size_t i = 0; i < a.size(); ++i) {
          const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
          scaled.push_back(blended(1.7 * x, beta, old[i]));
          product.push_back(blended(x * y, beta, old[i]));
          sum.push_back(x + y);
          hyperbolic.push_back(std::tanh(x));
          slope.push_back(blended(y * (1 - x * x), beta, old[i]));
        }
        const double limit = tolerance<T>(1e-6, 1e-14);
        auto out = old;
        k.scale(n, T(1.7), a.data(), beta, out.data());
        expect_close(out, scaled, limit, "scale");
        out = old;
        k.multiply(n, a.data(), b.data(), beta, out.data());
        expect_close(out, product, limit, "multiply");
        k.add(n, a.data(), b.data(), out.data());
        expect_close(out, sum, limit, "add");
        k.tanh(n, a.data(), out.data());
        expect_close(out, hyperbolic, limit, "tanh");
        out = old;
        k.tanh_backward(n, a.data(), b.data(), beta, out.data());
        expect_close(out, slope, tolerance<T>(4e-6, 1e-14), "tanh_backward");
      }
    }
  });
}

TYPED_TEST(KernelElementwise, RoundToBf16) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const std::int64_t n : kCounts) {
      auto x = random_values<T>(n, 1, 1e3);
      if (n > 8) x[3] = -std::numeric_limits<T>::infinity(), x[4] = std::numeric_limits<T>::quiet_NaN();
      std::vector<bf16> y(x.size());
      k.round_bf16(n, x.data(), y.data());
      for (std::size_t i = 0; i < x.size(); ++i)
        ASSERT_EQ(y[i].bits, to_bf16(static_cast<float>(x[i])).bits) << i << " of " << n;
    }
  });
}

TYPED_TEST(KernelElementwise, DropoutFollowsItsRuleExactly) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const double p : {0.0, 1e-12, 0.1, 0.5, 0.75, 0.9999}) {
      const Dropout dropout{p, {0xfedcba9876543210ull, 3, 11}};
      for (const std::int64_t n : {1, 3, 130, 40003}) {
        const auto x = random_values<T>(n, 3);
        std::vector<T> y(x.size()), expected(x.size());
        k.dropout(n, dropout, x.data(), T(0), y.data());
        for (std::int64_t i = 0; i < n; ++i) {
          const auto at = static_cast<std::size_t>(i);
          expected[at] = x[at] * static_cast<T>(dropout_factor(dropout, i));
        }
        EXPECT_EQ(y, expected) << "p = " << p << ", n = " << n;
      }
    }
  });
}

TYPED_TEST(KernelElementwise, DropoutKeepsTheRightShareAndMean) {
  using T = TypeParam;
  const std::int64_t n = 1 << 18;
  const std::vector<T> ones(static_cast<std::size_t>(n), T(1));
  std::vector<T> first(ones.size()), second(ones.size());
  const Kernels<T>& k = kernels<T>(kCpu);
  k.dropout(n, {0.1, {1, 1, 1}}, ones.data(), T(0), first.data());
  k.dropout(n, {0.1, {1, 2, 1}}, ones.data(), T(0), second.data());
  double kept = 0, both = 0, neighbours = 0;
  for (std::size_t i = 0; i < first.size(); ++i) {
    kept += first[i] != 0;
    both += first[i] != 0 && second[i] != 0;
    neighbours += first[i] != 0 && first[(i + 1) % first.size()] != 0;
  }
  // Five standard deviations of a share of n independent draws.
  const double count = static_cast<double>(n);
  EXPECT_NEAR(kept / count, 0.9, 5 * std::sqrt(0.9 * 0.1 / count));
  EXPECT_NEAR(both / count, 0.81, 5 * std::sqrt(0.81 * 0.19 / count)) << "steps must not share masks";
  EXPECT_NEAR(neighbours / count, 0.81, 8 * std::sqrt(0.81 * 0.19 / count))
      << "elements must not share draws";
}

TYPED_TEST(KernelElementwise, RowsAreBroadcastAndSummed) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const auto [rows, cols] : kSizes) {
      const auto x = random_values<T>(rows * cols, 4), bias = random_values<T>(cols, 5);
      std::vector<T> filled(x.size());
      k.fill_rows(rows, cols, bias.data(), filled.data());
      for (std::size_t i = 0; i < filled.size(); ++i) ASSERT_EQ(filled[i], bias[i % bias.size()]);
      for (const T beta : {T(0), T(1)}) {
        auto sum = old_content<T>(cols, beta);
        Doubles expected(sum.size());
        for (std::size_t c = 0; c < sum.size(); ++c) {
          for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r) {
            expected[c] += static_cast<double>(x[r * sum.size() + c]);
          }
          expected[c] = blended(expected[c], beta, sum[c]);
        }
        k.sum_rows(rows, cols, x.data(), beta, sum.data());
        expect_close(sum, expected, tolerance<T>(5e-6), "sum_rows");
      }
    }
  });
}

TYPED_TEST(KernelElementwise, BiasGeluMatchesItsFormula) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const auto [rows, cols] : kSizes) {
      for (const bool biased : {false, true}) {
        for (const T beta : {T(0), T(1)}) {
          const auto x = random_values<T>(rows * cols, 6, 2), bias = random_values<T>(cols, 7);
          const auto dy = random_values<T>(rows * cols, 8);
          auto dx = old_content<T>(rows * cols, beta), dbias = old_content<T>(cols, T(1) - beta);
          std::vector<T> y(x.size());
          Doubles value(x.size()), slope(x.size()), total(dbias.size());
          for (std::size_t c = 0; c < total.size(); ++c) total[c] = blended(0, T(1) - beta, dbias[c]);
          for (std::size_t i = 0; i < x.size(); ++i) {
            const std::size_t c = i % total.size();
            const double z = static_cast<double>(x[i]) + (biased ? static_cast<double>(bias[c]) : 0);
            const double cdf = 0.5 * std::erfc(-z / std::sqrt(2.0));
            const double d =
                static_cast<double>(dy[i]) * (cdf + z * std::exp(-z * z / 2) / std::sqrt(2 * M_PI));
            value[i] = z * cdf;
            slope[i] = blended(d, beta, dx[i]);
            total[c] += d;
          }
          const T* b = biased ? bias.data() : nullptr;
          k.bias_gelu(rows, cols, x.data(), b, y.data());
          expect_close(y, value, tolerance<T>(1e-6), "bias_gelu");
          auto only_dx = dx;
          k.bias_gelu_backward(
              {rows, cols, x.data(), b, dy.data(), {dx.data(), beta}, {dbias.data(), T(1) - beta}});
          expect_close(dx, slope, tolerance<T>(2e-6), "dx");
          expect_close(dbias, total, tolerance<T>(1e-5), "dbias");
          k.bias_gelu_backward({rows, cols, x.data(), b, dy.data(), {only_dx.data(), beta}});
          expect_close(only_dx, slope, tolerance<T>(2e-6), "dx without dbias");
        }
      }
    }
  });
}

}  // namespace
}  // namespace costeff::testing
