// AdamW: the formula in long double, the three kernels bit for bit against each other, denormals.
#include <bit>

#include "tests/tensor/kernel_test.h"

namespace costeff::testing {
namespace {

template <class T>
class KernelAdamw : public ::testing::Test {};
TYPED_TEST_SUITE(KernelAdamw, KernelTypes);

math::AdamStep step_at(int t, bool torch) {
  math::AdamStep s;
  const double lr = 1e-2 / (1 + t);
  s.decay = 1 - lr * 0.1;
  s.decay_first = torch;
  const double bias1 = 1 - std::pow(s.beta1, t + 1), bias2 = 1 - std::pow(s.beta2, t + 1);
  s.step_size = torch ? lr / bias1 : lr * std::sqrt(bias2) / bias1;
  s.inv_sqrt_bias2 = torch ? 1 / std::sqrt(bias2) : 1;
  s.gradient_scale = 0.5;
  return s;
}

template <class T>
struct State {
  std::vector<T> w, m, v;
  explicit State(std::int64_t n)
      : w(random_values<T>(n, 51)), m(random_values<T>(n, 52, 0.1)), v(random_values<T>(n, 53, 0.01)) {
    for (T& x : v) x = std::abs(x);
  }
  bool same_bits(const State& other) const {
    const auto same = [](const std::vector<T>& a, const std::vector<T>& b) {
      using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
      for (std::size_t i = 0; i < a.size(); ++i) {
        if (std::bit_cast<Bits>(a[i]) != std::bit_cast<Bits>(b[i])) return false;
      }
      return a.size() == b.size();
    };
    return same(w, other.w) && same(m, other.m) && same(v, other.v);
  }
};

TYPED_TEST(KernelAdamw, MatchesItsFormula) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const bool torch : {true, false}) {
      for (const std::int64_t n : {1, 33, 40001}) {
        State<T> state(n);
        Doubles w(state.w.begin(), state.w.end()), m(state.m.begin(), state.m.end()),
            v(state.v.begin(), state.v.end());
        for (int t = 0; t < 5; ++t) {
          const math::AdamStep s = step_at(t, torch);
          const auto g = random_values<T>(n, 60 + static_cast<unsigned>(t));
          k.adamw(n, s, state.w.data(), g.data(), state.m.data(), state.v.data());
          for (std::size_t i = 0; i < w.size(); ++i) {
            const double d = static_cast<double>(g[i]) * s.gradient_scale;
            m[i] = s.beta1 * m[i] + (1 - s.beta1) * d;
            v[i] = s.beta2 * v[i] + (1 - s.beta2) * d * d;
            if (torch) w[i] *= s.decay;
            w[i] -= s.step_size * m[i] / (std::sqrt(v[i]) * s.inv_sqrt_bias2 + s.epsilon);
            if (!torch) w[i] *= s.decay;
          }
        }
        expect_close(state.w, w, tolerance<T>(2e-6), "w");
        expect_close(state.m, m, tolerance<T>(1e-6), "m");
        expect_close(state.v, v, tolerance<T>(1e-6), "v");
      }
    }
  });
}

// Rows with every kind of past: ordinary, never touched, first moment gone, denormal or negative zero
// moments.
template <class T>
State<T> rows_with_pasts(std::int64_t rows, std::int64_t cols) {
  State<T> s(rows * cols);
  const T tiny = std::numeric_limits<T>::denorm_min() * 1000;
  for (std::int64_t i = 0; i < rows * cols; ++i) {
    const auto at = static_cast<std::size_t>(i);
    switch (i / cols % 6) {
      case 1:
        s.m[at] = s.v[at] = 0;
        break;
      case 2:
        s.m[at] = 0;
        break;
      case 3:
        s.m[at] = tiny, s.v[at] = tiny, s.w[at] = i % 2 == 0 ? tiny : s.w[at];
        break;
      case 4:
        s.m[at] = -T(0), s.v[at] = i % 3 == 0 ? T(0) : s.v[at];
        break;
      case 5:
        s.m[at] = std::numeric_limits<T>::min() * (i % 2 == 0 ? 4 : -4), s.w[at] = -T(0);
        break;
      default:
        break;
    }
  }
  return s;
}

TYPED_TEST(KernelAdamw, CatchUpGivesTheBitsOfTheDenseUpdate) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const bool torch : {true, false}) {
      for (const std::int64_t cols : {1, 48, 131, 384}) {
        constexpr std::int64_t kRows = 13, kSteps = 150;
        State<T> dense = rows_with_pasts<T>(kRows, cols), late = dense;
        std::vector<math::AdamStep> steps;
        steps.reserve(kSteps);
        for (int t = 0; t < kSteps; ++t) steps.push_back(step_at(t, torch));
        const std::vector<T> zero(dense.w.size());
        for (const math::AdamStep& s : steps) {
          k.adamw(kRows * cols, s, dense.w.data(), zero.data(), dense.m.data(), dense.v.data());
        }
        // In two helpings, and one row alone first.
        std::vector<std::int32_t> behind(kRows, 0), all;
        for (std::int32_t r = kRows - 1; r >= 0; --r) all.push_back(r);
        const std::int32_t one = 5;
        k.adamw_catch_up(1, cols, &one, steps.data(), 7, behind.data(), late.w.data(), late.m.data(),
                         late.v.data());
        EXPECT_EQ(behind[5], 7);
        EXPECT_EQ(behind[4], 0);
        for (const std::int64_t until : {std::int64_t{40}, kSteps}) {
          k.adamw_catch_up(kRows, cols, all.data(), steps.data(), until, behind.data(), late.w.data(),
                           late.m.data(), late.v.data());
        }
        EXPECT_EQ(behind, std::vector<std::int32_t>(kRows, kSteps));
        EXPECT_TRUE(late.same_bits(dense)) << "cols " << cols << (torch ? " torch" : " transformers");
      }
    }
  });
}

TYPED_TEST(KernelAdamw, MomentsThatDecayIntoDenormalsBecomeZero) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    const std::int64_t steps_needed = sizeof(T) == 4 ? 1000 : 7500;
    State<T> dense(40), late = dense;
    std::vector<math::AdamStep> steps(static_cast<std::size_t>(steps_needed), step_at(1, true));
    const std::vector<T> zero(40);
    for (const math::AdamStep& s : steps)
      k.adamw(40, s, dense.w.data(), zero.data(), dense.m.data(), dense.v.data());
    std::int32_t behind = 0;
    const std::int32_t row = 0;
    k.adamw_catch_up(1, 40, &row, steps.data(), steps_needed, &behind, late.w.data(), late.m.data(),
                     late.v.data());
    EXPECT_EQ(dense.m, zero);
    EXPECT_TRUE(late.same_bits(dense));
  });
}

TYPED_TEST(KernelAdamw, GivenRowsAreUpdatedAsTheDenseKernelDoes) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const std::int64_t cols : {3, 384}) {
      constexpr std::int64_t kRows = 60;
      State<T> before(kRows * cols), dense = before, sparse = before;
      const auto g = random_values<T>(kRows * cols, 55);
      const std::vector<std::int32_t> some{7, 0, 59, 31};
      k.adamw(kRows * cols, step_at(3, true), dense.w.data(), g.data(), dense.m.data(), dense.v.data());
      k.adamw_rows(4, cols, some.data(), step_at(3, true), sparse.w.data(), g.data(), sparse.m.data(),
                   sparse.v.data());
      for (std::int64_t r = 0; r < kRows; ++r) {
        const bool given = std::find(some.begin(), some.end(), r) != some.end();
        for (std::int64_t c = 0; c < cols; ++c) {
          const auto i = static_cast<std::size_t>(r * cols + c);
          ASSERT_EQ(sparse.w[i], given ? dense.w[i] : before.w[i]);
          ASSERT_EQ(sparse.m[i], given ? dense.m[i] : before.m[i]);
          ASSERT_EQ(sparse.v[i], given ? dense.v[i] : before.v[i]);
        }
      }
    }
  });
}

TEST(KernelAdamwThreads, DenormalsAreBackAfterwards) {
  std::vector<float> w(8, 1), g(8, 1), m(8, 0), v(8, 0);
  kernels<float>(kCpu).adamw(8, step_at(0, true), w.data(), g.data(), m.data(), v.data());
  volatile float tiny = std::numeric_limits<float>::min();
  EXPECT_GT(tiny / 4, 0.0f);
}

}  // namespace
}  // namespace costeff::testing
