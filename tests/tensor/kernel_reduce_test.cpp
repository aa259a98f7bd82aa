// Reductions and losses.
#include "tests/tensor/kernel_test.h"

namespace costeff::testing {
namespace {

template <class T>
class KernelReduce : public ::testing::Test {};
TYPED_TEST_SUITE(KernelReduce, KernelTypes);

TYPED_TEST(KernelReduce, SumsMatchPlainLoops) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const std::int64_t n : {1, 5, 63, 1000, 100003}) {
      const auto a = random_values<T>(n, 41), b = random_values<T>(n, 42);
      long double sum = 0, squares = 0, product = 0, error = 0;
      for (std::size_t i = 0; i < a.size(); ++i) {
        const long double x = static_cast<long double>(a[i]), d = x - static_cast<long double>(b[i]);
        sum += x;
        squares += x * x;
        product += x * static_cast<long double>(b[i]);
        error += d * d / static_cast<long double>(n);
      }
      T out = 0;
      double wide = 0;
      k.sum(n, a.data(), &out);
      expect_close<T>({out}, {static_cast<double>(sum)}, tolerance<T>(1e-6, 1e-11), "sum");
      k.dot(n, a.data(), a.data(), &wide);
      expect_close<double>({wide}, {static_cast<double>(squares)}, 1e-13, "dot with itself");
      k.dot(n, a.data(), b.data(), &wide);
      EXPECT_NEAR(wide, static_cast<double>(product), 1e-13 * static_cast<double>(squares)) << "dot";
      const std::int32_t rows[] = {2, 0};
      const auto table = random_values<T>(3 * n, 43);
      Doubles found(2), each(2);
      for (std::size_t i = 0; i < 2; ++i) {
        for (std::int64_t c = 0; c < n; ++c)
          each[i] += std::pow(static_cast<double>(table[static_cast<std::size_t>(rows[i] * n + c)]), 2);
      }
      k.squares_of_rows(2, n, table.data(), rows, found.data());
      expect_close<double>(found, each, 1e-13, "squares_of_rows");
      k.squared_error(1, n, nullptr, static_cast<T>(1.0L / static_cast<long double>(n)), a.data(), b.data(),
                      &out);
      expect_close<T>({out}, {static_cast<double>(error)}, tolerance<T>(1e-6, 1e-13), "squared_error");
      for (const T beta : {T(0), T(1)}) {
        auto da = old_content<T>(n, beta);
        Doubles expected(da.size());
        for (std::size_t i = 0; i < da.size(); ++i) {
          expected[i] = blended(0.25 * (static_cast<double>(a[i]) - static_cast<double>(b[i])), beta, da[i]);
        }
        k.squared_error_backward(1, n, nullptr, T(0.25), a.data(), b.data(), beta, da.data());
        expect_close(da, expected, tolerance<T>(1e-6), "squared_error_backward");
      }
    }
  });
}

TYPED_TEST(KernelReduce, SquaredErrorWeighsRows) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    constexpr std::int64_t kRows = 37, kCols = 19;
    const auto a = random_values<T>(kRows * kCols, 44), b = random_values<T>(kRows * kCols, 45);
    const auto w = random_values<T>(kRows, 46);
    double sum = 0;
    Doubles gradient;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      const double weight = static_cast<double>(w[i / kCols]);
      sum += 0.5 * weight * d * d;
      gradient.push_back(3 + 0.5 * weight * d);
    }
    T out = 0;
    k.squared_error(kRows, kCols, w.data(), T(0.5), a.data(), b.data(), &out);
    expect_close<T>({out}, {sum}, tolerance<T>(1e-5, 1e-13), "squared_error");
    std::vector<T> da(a.size(), T(3));
    k.squared_error_backward(kRows, kCols, w.data(), T(0.5), a.data(), b.data(), T(1), da.data());
    expect_close(da, gradient, tolerance<T>(1e-6), "squared_error_backward");
  });
}

TYPED_TEST(KernelReduce, DotDoesNotOverflow) {
  const std::vector<TypeParam> x(7, static_cast<TypeParam>(1e30));
  double out = 0;
  kernels<TypeParam>(kCpu).dot(7, x.data(), x.data(), &out);
  EXPECT_NEAR(out / 7e60, 1, 1e-6);
}

TYPED_TEST(KernelReduce, RangeSeesFiniteElementsAndCountsTheRest) {
  using T = TypeParam;
  constexpr T kInfinity = std::numeric_limits<T>::infinity(), kNaN = std::numeric_limits<T>::quiet_NaN();
  for_each_isa<T>([](const Kernels<T>& k) {
    auto x = random_values<T>(50021, 43);
    x[7] = kNaN;
    x[20000] = kInfinity;
    x[50020] = -kInfinity;
    x[31000] = T(77.5);
    x[0] = T(-66.25);
    const Range range = k.range(static_cast<std::int64_t>(x.size()), x.data());
    EXPECT_EQ(range.smallest, -66.25);
    EXPECT_EQ(range.largest, 77.5);
    EXPECT_EQ(range.non_finite, 3);
    const std::vector<T> none{kNaN, kInfinity};
    const Range empty = k.range(2, none.data());
    EXPECT_EQ(empty.smallest, 0);
    EXPECT_EQ(empty.largest, 0);
    EXPECT_EQ(empty.non_finite, 2);
    const Range nothing = k.range(0, none.data());
    EXPECT_EQ(nothing.smallest, 0);
    EXPECT_EQ(nothing.non_finite, 0);
  });
}

TYPED_TEST(KernelReduce, CrossEntropyMatchesItsFormula) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const auto [rows, classes] : kSizes) {
      auto log_p = random_values<T>(rows * classes, 44), target = random_values<T>(rows * classes, 45);
      for (T& x : log_p) x = -std::abs(x);
      double loss = 0;
      for (std::size_t i = 0; i < target.size(); ++i) {
        loss -= static_cast<double>(target[i]) * static_cast<double>(log_p[i]) / static_cast<double>(rows);
      }
      T out = 0;
      k.cross_entropy(rows, classes, log_p.data(), target.data(), &out);
      expect_close<T>({out}, {loss}, tolerance<T>(1e-5), "cross_entropy");
      for (const T beta : {T(0), T(1)}) {
        auto dz = old_content<T>(rows * classes, beta);
        Doubles expected(dz.size());
        for (std::int64_t r = 0; r < rows; ++r) {
          double mass = 0;
          for (std::int64_t c = 0; c < classes; ++c)
            mass += static_cast<double>(target[static_cast<std::size_t>(r * classes + c)]);
          for (std::int64_t c = 0; c < classes; ++c) {
            const auto i = static_cast<std::size_t>(r * classes + c);
            const double d = std::exp(static_cast<double>(log_p[i])) * mass - static_cast<double>(target[i]);
            expected[i] = blended(0.125 * d, beta, dz[i]);
          }
        }
        k.cross_entropy_backward(rows, classes, log_p.data(), target.data(), T(0.125), beta, dz.data());
        expect_close(dz, expected, tolerance<T>(1e-5), "cross_entropy_backward");
      }
    }
  });
}

TYPED_TEST(KernelReduce, CrossEntropyOfAnImpossibleClassWithoutTargetIsFinite) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    const std::vector<T> log_p{T(0), -std::numeric_limits<T>::infinity()}, target{1, 0};
    T out = 1;
    k.cross_entropy(1, 2, log_p.data(), target.data(), &out);
    EXPECT_EQ(out, T(0));
  });
}

}  // namespace
}  // namespace costeff::testing
