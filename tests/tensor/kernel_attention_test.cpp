// Attention over packed and padded batches against plain loops in f64.
#include "tests/tensor/naive_attention.h"

namespace costeff::testing {
namespace {

template <class T>
class KernelAttention : public ::testing::Test {};
TYPED_TEST_SUITE(KernelAttention, KernelTypes);

template <class T>
void check(const Kernels<T>& k, const Batch& batch, std::int64_t heads, std::int64_t d,
           const Dropout& dropout) {
  SCOPED_TRACE("heads " + std::to_string(heads) + ", head_dim " + std::to_string(d) + ", longest " +
               std::to_string(batch.longest));
  const std::int64_t width = heads * d, tokens = batch.tokens(), pairs = heads * batch.pairs.back();
  const auto qkv = random_values<T>(tokens * 3 * width, 31), dout = random_values<T>(tokens * width, 32);
  const NaiveAttention expected = naive_attention(batch, heads, d, qkv, dropout, dout);
  constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
  std::vector<T> workspace(static_cast<std::size_t>(k.attention_workspace(batch.longest, d)), kNaN);
  std::vector<T> out(static_cast<std::size_t>(tokens * width), kNaN),
      p(static_cast<std::size_t>(pairs), kNaN);
  k.attention({batch.view(), heads, d, dropout, qkv.data(), out.data(), p.data(), workspace.data()});
  expect_close(out, expected.out, tolerance<T>(1e-5), "out");
  expect_close(p, expected.probabilities, tolerance<T>(2e-6), "probabilities");
  std::vector<T> again(out.size(), kNaN);
  k.attention({batch.view(), heads, d, dropout, qkv.data(), again.data(), nullptr, workspace.data()});
  EXPECT_EQ(again, out) << "without keeping the probabilities";
  for (const T beta : {T(0), T(1)}) {
    auto dqkv = old_content<T>(tokens * 3 * width, beta);
    Doubles gradient(dqkv.size());
    for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] = blended(expected.dqkv[i], beta, dqkv[i]);
    std::fill(workspace.begin(), workspace.end(), kNaN);
    k.attention_backward({batch.view(),
                          heads,
                          d,
                          dropout,
                          qkv.data(),
                          p.data(),
                          dout.data(),
                          {dqkv.data(), beta},
                          workspace.data()});
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
    k.attention({batch.view(), 1, 4, kNoDropout, qkv.data(), out.data(), p.data(), workspace.data()});
    const NaiveAttention expected = naive_attention(batch, 1, 4, qkv, kNoDropout, out);
    expect_close(p, expected.probabilities,
                 tolerance<T>(2e-3, 1e-11));  // scores of 1e4 carry errors of 1e-3 in f32
  });
}

// ---- in mixed precision

std::vector<bf16> narrowed(const std::vector<float>& values) {
  std::vector<bf16> narrow;
  narrow.reserve(values.size());
  for (const float x : values) narrow.push_back(to_bf16(x));
  return narrow;
}
std::vector<float> widened(const std::vector<bf16>& values) {
  std::vector<float> wide;
  wide.reserve(values.size());
  for (const bf16 x : values) wide.push_back(to_f32(x));
  return wide;
}

// A number that lies between two bf16 may be rounded either way, by an error of f32: then what it is summed
// up into is off by up to 1 part in 256 of it, and P_drop is 1.5 at most. That happens to few.
void expect_rounded_alike(const std::vector<float>& actual, const Doubles& expected, const char* what) {
  expect_close(actual, expected, 0x1p-7, what);
  std::size_t otherwise = 0;
  for (std::size_t i = 0; i < actual.size(); ++i)
    otherwise += std::abs(actual[i] - expected[i]) > 1e-5 * std::max(1.0, std::abs(expected[i])) ? 1 : 0;
  EXPECT_LE(50 * otherwise, actual.size()) << what;
}

void check_mixed(const Kernels<float>& k, const Batch& batch, std::int64_t heads, std::int64_t d,
                 const Dropout& dropout) {
  SCOPED_TRACE("heads " + std::to_string(heads) + ", head_dim " + std::to_string(d) + ", longest " +
               std::to_string(batch.longest));
  const std::int64_t width = heads * d, tokens = batch.tokens();
  const auto qkv = narrowed(random_values<float>(tokens * 3 * width, 31)),
             dout = narrowed(random_values<float>(tokens * width, 32));
  const NaiveAttention expected =
      naive_attention(batch, heads, d, widened(qkv), dropout, widened(dout), true);
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> workspace(static_cast<std::size_t>(k.attention_workspace(batch.longest, d)), kNaN),
      out(static_cast<std::size_t>(tokens * width), kNaN),
      log_sums(static_cast<std::size_t>(tokens * heads), kNaN);
  k.attention_bf16(
      {batch.view(), heads, d, dropout, qkv.data(), out.data(), log_sums.data(), workspace.data()});
  expect_rounded_alike(out, expected.out, "out");
  expect_close(log_sums, expected.log_sums, 2e-6, "log_sums");
  std::vector<float> again(out.size(), kNaN);
  k.attention_bf16({batch.view(), heads, d, dropout, qkv.data(), again.data(), nullptr, workspace.data()});
  EXPECT_EQ(again, out) << "without keeping the sums";
  for (const float beta : {0.0F, 1.0F}) {
    auto dqkv = old_content<float>(tokens * 3 * width, beta);
    Doubles gradient(dqkv.size());
    for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] = blended(expected.dqkv[i], beta, dqkv[i]);
    std::fill(workspace.begin(), workspace.end(), kNaN);
    k.attention_bf16_backward({batch.view(),
                               heads,
                               d,
                               dropout,
                               qkv.data(),
                               log_sums.data(),
                               dout.data(),
                               {dqkv.data(), beta},
                               workspace.data()});
    expect_rounded_alike(dqkv, gradient, "dqkv");
  }
}

TEST(KernelAttentionBf16, MatchesPlainLoopsThatRound) {
  for_each_isa<float>([](const Kernels<float>& k) {
    for (const std::int64_t d : {1, 6, 32, 72}) {
      check_mixed(k, Batch({13, 1, 17, 4}), 3, d, kNoDropout);
      check_mixed(k, Batch({5, 33}), 1, d, kSomeDropout);
    }
    check_mixed(k, Batch({130, 64, 65, 2}), 2, 32, kSomeDropout);
    check_mixed(k, Batch({3, 16, 1}, 5), 2, 8, kSomeDropout);
    check_mixed(k, Batch({2, 60}, 70), 2, 32, kNoDropout);
  });
}

}  // namespace
}  // namespace costeff::testing
