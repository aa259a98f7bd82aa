// The CUDA kernels of attention against the CPU's.
#include "tests/cuda/fixture.h"
#include "tests/tensor/naive_attention.h"

namespace costeff::testing {
namespace {

template <class D>
class CudaAttention : public CudaKernel<D> {};
TYPED_TEST_SUITE(CudaAttention, Devices, Names);

TYPED_TEST(CudaAttention, MatchesTheCpu) {
  std::vector<Batch> batches{Batch{}, Batch({5, 1}, 2), Batch{33, 16}};
  if (TypeParam::kGpu) batches.insert(batches.end(), {Batch({128, 31, 512, 7}, 9), Batch{700, 1, 33}});
  const std::vector<std::int64_t> dims =
      TypeParam::kGpu ? std::vector<std::int64_t>{1, 6, 40, 64, 72, 128} : std::vector<std::int64_t>{3, 40};
  for (const Batch& batch : batches) {
    for (const std::int64_t d : dims) {
      for (const Dropout& dropout : {kNoDropout, kSomeDropout}) {
        const std::int64_t heads = 2, width = heads * d, tokens = batch.tokens();
        const std::int64_t pairs = heads * batch.pairs.back();
        const auto what = fmt::format("attention of {} tokens, longest {}, head_dim {}, p {}", tokens,
                                      batch.longest, d, dropout.p);
        const Doubles qkv = numbers(tokens * 3 * width, 1);
        for (const bool kept : {false, true}) {
          this->compare(what, [&](auto& side) {
            auto* workspace = side.output("workspace", side.k.attention_workspace(batch.longest, d), 0);
            side.forget();
            side.k.attention({on(side, batch), heads, d, dropout, side.input(qkv),
                              side.output("out", tokens * width, 0),
                              kept ? side.output("probabilities", pairs, 0) : nullptr, workspace});
          });
        }
        // Any numbers do for probabilities; they are 0 beyond the real keys.
        Doubles p = numbers(pairs, 2);
        for (std::size_t s = 0; s < batch.lengths.size(); ++s) {
          const std::int64_t n = batch.offsets[s + 1] - batch.offsets[s];
          for (std::int64_t i = 0; i < heads * n * n; ++i) {
            if (i % n >= batch.lengths[s]) p[static_cast<std::size_t>(heads * batch.pairs[s] + i)] = 0;
          }
        }
        for (double& x : p) x = static_cast<double>(static_cast<float>(x / 8));
        for (const double beta : {0.0, 1.0}) {
          this->compare(
              fmt::format("backward, beta {}, of {}", beta, what),
              [&](auto& side) {
                using V = typename std::decay_t<decltype(side)>::Value;
                auto* workspace = side.output("workspace", side.k.attention_workspace(batch.longest, d), 0);
                side.forget();
                side.k.attention_backward({on(side, batch),
                                           heads,
                                           d,
                                           dropout,
                                           side.input(qkv),
                                           side.input(p),
                                           side.input(numbers(tokens * width, 3)),
                                           {side.output("dqkv", tokens * 3 * width, beta), V(beta)},
                                           workspace});
              },
              tolerance<typename TypeParam::Value>(3e-5));
        }
      }
    }
  }
}

// Numbers rounded to bf16, which `wide` gets too.
std::vector<bf16> narrow(std::int64_t n, unsigned seed, Doubles& wide) {
  std::vector<bf16> values;
  for (const float x : random_values<float>(n, seed)) values.push_back(to_bf16(x));
  for (const bf16 x : values) wide.push_back(to_f32(x));
  return values;
}

// Against plain loops in f64, which round where the kernels do: a number between two bf16 may go either way,
// and then is off by 1 part in 256.
TYPED_TEST(CudaAttention, InMixedPrecision) {
  if (sizeof(typename TypeParam::Value) != 4) GTEST_SKIP() << "mixed precision is of f32";
  std::vector<Batch> batches{Batch{}, Batch({5, 1}, 2), Batch({70, 33}, 1)};
  if (TypeParam::kGpu) batches.insert(batches.end(), {Batch({128, 31, 512, 7}, 9), Batch{700, 1, 33}});
  const std::vector<std::int64_t> dims =
      TypeParam::kGpu ? std::vector<std::int64_t>{1, 6, 40, 64, 72, 128} : std::vector<std::int64_t>{3, 72};
  for (const Batch& batch : batches) {
    for (const std::int64_t d : dims) {
      for (const Dropout& dropout : {kNoDropout, kSomeDropout}) {
        if (!TypeParam::kGpu && batch.longest > 64 && dropout.p == 0) continue;  // an emulated one takes long
        const std::int64_t heads = 2, width = heads * d, tokens = batch.tokens();
        Doubles wide_qkv, wide_dout;
        const std::vector<bf16> qkv = narrow(tokens * 3 * width, 1, wide_qkv),
                                dout = narrow(tokens * width, 3, wide_dout);
        const NaiveAttention naive = naive_attention(batch, heads, d, wide_qkv, dropout, wide_dout, true);
        const auto what =
            fmt::format("attention in mixed precision of {} tokens, longest {}, head_dim {}, p {}", tokens,
                        batch.longest, d, dropout.p);
        this->compare(
            what,
            [&](auto& side) {
              using V = typename std::decay_t<decltype(side)>::Value;
              V *out = side.output("out", tokens * width, 0),
                *log_sums = side.output("log_sums", tokens * heads, 0);
              if constexpr (std::is_same_v<V, float>) {
                side.k.attention_bf16({on(side, batch), heads, d, dropout, side.raw(qkv), out, log_sums});
              } else {
                std::copy(naive.out.begin(), naive.out.end(), out);
                std::copy(naive.log_sums.begin(), naive.log_sums.end(), log_sums);
              }
            },
            0x1p-7);
        for (const double beta : {0.0, 1.0}) {
          this->compare(
              fmt::format("backward, beta {}, of {}", beta, what),
              [&](auto& side) {
                using V = typename std::decay_t<decltype(side)>::Value;
                V* dqkv = side.output("dqkv", tokens * 3 * width, beta);
                if constexpr (std::is_same_v<V, float>) {
                  side.k.attention_bf16_backward({on(side, batch),
                                                  heads,
                                                  d,
                                                  dropout,
                                                  side.raw(qkv),
                                                  side.input(naive.log_sums),
                                                  side.raw(dout),
                                                  {dqkv, V(beta)}});
                } else {
                  for (std::size_t i = 0; i < naive.dqkv.size(); ++i)
                    dqkv[i] = naive.dqkv[i] + (beta == 0 ? 0 : dqkv[i]);
                }
              },
              0x1p-7);
        }
      }
    }
  }
}

}  // namespace
}  // namespace costeff::testing
