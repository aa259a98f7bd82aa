// Attention over packed and padded batches against plain loops in f64.
#include "tests/tensor/batch.h"
#include "tests/tensor/kernel_test.h"

namespace costeff::testing {
namespace {

template <class T>
class KernelAttention : public ::testing::Test {};
TYPED_TEST_SUITE(KernelAttention, KernelTypes);

struct Naive {
  Doubles out, probabilities, dqkv;
};

template <class T>
Naive naive_attention(const Batch& batch, std::int64_t heads, std::int64_t d, const std::vector<T>& qkv,
                      const Dropout& dropout, const std::vector<T>& dout) {
  const std::int64_t width = heads * d;
  Naive result{Doubles(static_cast<std::size_t>(batch.tokens() * width)),
               Doubles(static_cast<std::size_t>(heads * batch.pairs.back())), Doubles(qkv.size())};
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
        Doubles dp(static_cast<std::size_t>(keys));
        for (std::int64_t j = 0; j < keys; ++j) {
          p[j] /= sum;
          const double factor = dropout_factor(dropout, row + j);
          for (std::int64_t c = 0; c < d; ++c) {
            const auto o = static_cast<std::size_t>((first + i) * width + h * d + c);
            const double v = static_cast<double>(qkv[input(first + j, 2, h, c)]),
                         g = static_cast<double>(dout[o]);
            result.out[o] += p[j] * factor * v;
            dp[static_cast<std::size_t>(j)] += factor * g * v;
            result.dqkv[input(first + j, 2, h, c)] += p[j] * factor * g;
          }
          dot += p[j] * dp[static_cast<std::size_t>(j)];
        }
        for (std::int64_t j = 0; j < keys; ++j) {
          const double ds = p[j] * (dp[static_cast<std::size_t>(j)] - dot) * scale;
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

template <class T>
void check(const Kernels<T>& k, const Batch& batch, std::int64_t heads, std::int64_t d,
           const Dropout& dropout) {
  SCOPED_TRACE("heads " + std::to_string(heads) + ", head_dim " + std::to_string(d) + ", longest " +
               std::to_string(batch.longest));
  const std::int64_t width = heads * d, tokens = batch.tokens(), pairs = heads * batch.pairs.back();
  const auto qkv = random_values<T>(tokens * 3 * width, 31), dout = random_values<T>(tokens * width, 32);
  const Naive expected = naive_attention(batch, heads, d, qkv, dropout, dout);
  constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
  std::vector<T> workspace(static_cast<std::size_t>(k.attention_workspace(batch.longest, d)), kNaN);
  std::vector<T> out(static_cast<std::size_t>(tokens * width), kNaN),
      p(static_cast<std::size_t>(pairs), kNaN);
  k.attention(batch.view(), heads, d, qkv.data(), dropout, out.data(), p.data(), workspace.data());
  expect_close(out, expected.out, tolerance<T>(1e-5), "out");
  expect_close(p, expected.probabilities, tolerance<T>(2e-6), "probabilities");
  std::vector<T> again(out.size(), kNaN);
  k.attention(batch.view(), heads, d, qkv.data(), dropout, again.data(), nullptr, workspace.data());
  EXPECT_EQ(again, out) << "without keeping the probabilities";
  for (const T beta : {T(0), T(1)}) {
    auto dqkv = old_content<T>(tokens * 3 * width, beta);
    Doubles gradient(dqkv.size());
    for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] = blended(expected.dqkv[i], beta, dqkv[i]);
    std::fill(workspace.begin(), workspace.end(), kNaN);
    k.attention_backward(batch.view(), heads, d, qkv.data(), p.data(), dropout, dout.data(), beta,
                         dqkv.data(), workspace.data());
    expect_close(dqkv, gradient, tolerance<T>(3e-5), "dqkv");
  }
}

TYPED_TEST(KernelAttention, MatchesPlainLoops) {
  for_each_isa<TypeParam>([](const Kernels<TypeParam>& k) {
    for (const std::int64_t d : {1, 6, 16, 32, 40, 64, 72}) {
      check(k, Batch({13, 1, 17, 4}), 3, d, kNoDropout);
      check(k, Batch({5, 33}), 1, d, kSomeDropout);
    }
  });
}

TYPED_TEST(KernelAttention, LongSequencesGoInBlocks) {
  for_each_isa<TypeParam>([](const Kernels<TypeParam>& k) {
    check(k, Batch({130, 64, 65, 2}), 2, 32, kSomeDropout);
    check(k, Batch({200}), 1, 20, kNoDropout);
  });
}

TYPED_TEST(KernelAttention, KeysOfPaddingGetNothing) {
  for_each_isa<TypeParam>([](const Kernels<TypeParam>& k) {
    check(k, Batch({3, 16, 1}, 5), 2, 8, kSomeDropout);
    check(k, Batch({2, 60}, 70), 2, 32, kNoDropout);
  });
}

TYPED_TEST(KernelAttention, WideScoresStayStable) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    const Batch batch({9});
    const auto qkv = random_values<T>(9 * 3 * 4, 33, 60);
    std::vector<T> workspace(static_cast<std::size_t>(k.attention_workspace(9, 4))), out(36), p(81);
    k.attention(batch.view(), 1, 4, qkv.data(), kNoDropout, out.data(), p.data(), workspace.data());
    const Naive expected = naive_attention(batch, 1, 4, qkv, kNoDropout, out);
    expect_close(p, expected.probabilities,
                 tolerance<T>(2e-3, 1e-11));  // scores of 1e4 carry errors of 1e-3 in f32
  });
}

}  // namespace
}  // namespace costeff::testing
