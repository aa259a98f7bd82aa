// Attention within each sequence: P = softmax(Q K^T / sqrt(d)) over the real keys, out = dropout(P) V.
#include "tensor/cpu/attention.h"

#include <cmath>
#include <limits>

namespace costeff::COSTEFF_ISA {
namespace {

constexpr std::int64_t kGroup = 256;  // scores

// (score - the row's largest) / sqrt(d) for one row of scores [keys, rounded up to n]: the exponents of
// softmax.
template <class T>
COSTEFF_INLINE void shift_row(std::int64_t n, T scale, typename Simd<T>::Vec tail, T* row) {
  using S = Simd<T>;
  using Vec = typename S::Vec;
  Vec top = S::load(row + n - S::kLanes) + tail;
  S::store(row + n - S::kLanes, top);
  for (std::int64_t c = 0; c < n - S::kLanes; c += S::kLanes) {
    const Vec x = S::load(row + c);
    top = x > top ? x : top;
  }
  const Vec largest = S::broadcast(reduce_lanes<true, T>(top));
  for (std::int64_t c = 0; c < n; c += S::kLanes) S::store(row + c, (S::load(row + c) - largest) * scale);
}

// Turns a row of exponentials [n] into probabilities after dropout; those before it go to `kept` [tokens], if
// wanted.
template <class T>
COSTEFF_INLINE void normalise_row(std::int64_t n, std::int64_t tokens, T* row, const T* mask, T* kept) {
  using S = Simd<T>;
  using Vec = typename S::Vec;
  Vec sum = S::load(row);
  for (std::int64_t c = S::kLanes; c < n; c += S::kLanes) sum += S::load(row + c);
  const Vec inverse = S::broadcast(T(1) / reduce_lanes<false, T>(sum));
  for (std::int64_t c = 0; c < n; c += S::kLanes) {
    Vec p = S::load(row + c) * inverse;
    if (kept != nullptr) store_up_to(kept, c, tokens, p);
    if (mask != nullptr) p *= load_up_to(mask, c, tokens);
    S::store(row + c, p);
  }
  if (kept != nullptr) {
    for (std::int64_t c = n; c < tokens; ++c) kept[c] = 0;
  }
}

template <class T>
void attention(const AttentionForward<T>& call) {
  using S = Simd<T>;
  const std::int64_t heads = call.heads, head_dim = call.head_dim;
  const T* qkv = call.qkv;
  const std::int64_t width = heads * head_dim, stride = 3 * width, d = round_up(head_dim, S::kLanes);
  const T scale = static_cast<T>(1.0 / std::sqrt(static_cast<double>(head_dim)));
  for_each_head<T>(call.sequences, heads, head_dim, call.workspace, [=](const HeadTask<T>& task) {
    const std::int64_t n = round_up(task.keys, S::kLanes);
    const T* q = qkv + task.first_row * stride +
                 task.head * head_dim;  // [tokens, head_dim], rows `stride` apart; k and v likewise
    ScratchCutter<T> cut{task.scratch};
    T *kt = cut.take(d * n), *v = cut.take(n * d), *scores = cut.take(kQueryBlock * n), *buffer = cut.next;
    pack_transposed(task.keys, head_dim, q + width, stride, kt, n);
    pack_rows(task.keys, head_dim, q + 2 * width, stride, v, d);
    typename S::Vec tail{};
    for (std::int64_t l = 0; l < S::kLanes; ++l)
      tail[l] = n - S::kLanes + l < task.keys ? T(0) : -std::numeric_limits<T>::infinity();
    // Rows of scores that go through softmax together: enough for their exponentials to overlap, few enough
    // for what is written to memory to drain meanwhile.
    const std::int64_t group = n < kGroup ? kGroup / n : 1;
    for (std::int64_t i = 0; i < task.tokens; i += kQueryBlock) {
      const std::int64_t rows = smaller(kQueryBlock, task.tokens - i);
      multiply_panel<false>(rows, n, head_dim, q + i * stride, stride, 1, kt, n, scores, n);
      const T* mask = mask_of_rows(call.dropout, task, i, rows, buffer);
      T* kept = call.kept == nullptr ? nullptr : call.kept + task.first_pair + i * task.tokens;
      for (std::int64_t g = 0; g < rows; g += group) {
        const std::int64_t until = smaller(g + group, rows);
        for (std::int64_t r = g; r < until; ++r) shift_row<T>(n, scale, tail, scores + r * n);
#pragma omp simd
        for (std::int64_t c = g * n; c < until * n; ++c) scores[c] = math::exp(scores[c]);
        for (std::int64_t r = g; r < until; ++r) {
          normalise_row<T>(n, task.tokens, scores + r * n, mask == nullptr ? nullptr : mask + r * task.tokens,
                           kept == nullptr ? nullptr : kept + r * task.tokens);
          for (std::int64_t part = 0; task.has_next && part < 3; ++part) {
            prefetch_next_head(q + (i + r) * stride + part * width, head_dim);
          }
        }
      }
      T* o = call.out + (task.first_row + i) * width + task.head * head_dim;
      multiply_panel<false>(rows, head_dim, task.keys, scores, n, 1, v, d, o, width);
    }
  });
}

template <class T>
std::int64_t attention_workspace(std::int64_t longest, std::int64_t head_dim) {
  return omp_get_max_threads() * scratch_of_thread<T>(longest, head_dim) +
         64 / static_cast<std::int64_t>(sizeof(T));
}

}  // namespace

template <class T>
void fill_attention(Kernels<T>& k) {
  k.attention_workspace = attention_workspace<T>;
  k.attention = attention<T>;
}
template void fill_attention(Kernels<float>& k);
template void fill_attention(Kernels<double>& k);

}  // namespace costeff::COSTEFF_ISA
