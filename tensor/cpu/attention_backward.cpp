// Gradients of attention, as AttentionBackward in tensor/kernels.h has them. Scratch holds dS / sqrt(d), so
// that dQ and dK need no more scaling.
#include <cmath>

#include "tensor/cpu/attention.h"

namespace costeff::COSTEFF_ISA {
namespace {

// dropped[keys] = P_drop for one row.
template <class T>
COSTEFF_INLINE void drop_row(std::int64_t keys, const T* p, const T* mask, T* dropped) {
  using S = Simd<T>;
  for (std::int64_t c = 0; c < keys; c += S::kLanes) {
    const auto x = load_up_to(p, c, keys);
    S::store(dropped + c, mask == nullptr ? x : x * load_up_to(mask, c, keys));
  }
}

// ds[keys] holds dP_drop and becomes dS / sqrt(d), for one row: as dP = dP_drop Z, P dP = P_drop dP_drop.
template <class T>
COSTEFF_INLINE void softmax_backward_row(std::int64_t keys, T scale, const T* p, const T* dropped, T* ds) {
  using S = Simd<T>;
  typename S::Vec sum{};
  for (std::int64_t c = 0; c < keys; c += S::kLanes) sum += S::load(dropped + c) * S::load(ds + c);
  const typename S::Vec dot = S::broadcast(reduce_lanes<false, T>(sum));
  for (std::int64_t c = 0; c < keys; c += S::kLanes) {
    S::store(ds + c, (S::load(dropped + c) * S::load(ds + c) - load_up_to(p, c, keys) * dot) * scale);
  }
}

// The gradient of the keys or values of a head from scratch [keys, d] to its place; 0 for padding.
template <bool kAdd, class T>
COSTEFF_INLINE void write_rows(const HeadTask<T>& task, std::int64_t head_dim, const T* from, std::int64_t d,
                               T* to, std::int64_t stride) {
  for (std::int64_t r = 0; r < task.tokens; ++r) {
    const bool real = r < task.keys;
#pragma omp simd
    for (std::int64_t c = 0; c < head_dim; ++c)
      put<kAdd>(to[r * stride + c], real ? from[r * d + c] : T(0), T(1));
  }
}

template <bool kAdd, class T>
void head_backward(const HeadTask<T>& task, const AttentionBackward<T>& call) {
  using S = Simd<T>;
  const std::int64_t heads = call.heads, head_dim = call.head_dim;
  const std::int64_t width = heads * head_dim, stride = 3 * width, d = round_up(head_dim, S::kLanes);
  const std::int64_t n = round_up(task.keys, S::kLanes);
  const T scale = static_cast<T>(1.0 / std::sqrt(static_cast<double>(head_dim)));
  const std::int64_t corner = task.first_row * stride + task.head * head_dim;
  const T* q = call.qkv + corner;  // [tokens, head_dim], rows `stride` apart; k and v likewise
  T* dq = call.dqkv.data + corner;
  ScratchCutter<T> cut{task.scratch};
  T *vt = cut.take(d * n), *k = cut.take(n * d), *dk = cut.take(n * d), *dv = cut.take(n * d);
  T *q_block = cut.take(kQueryBlock * d), *do_block = cut.take(kQueryBlock * d);
  T *dropped = cut.take(kQueryBlock * n), *ds = cut.take(kQueryBlock * n), *buffer = cut.next;
  pack_transposed(task.keys, head_dim, q + 2 * width, stride, vt, n);
  pack_rows(task.keys, head_dim, q + width, stride, k, d);
  for (std::int64_t i = 0; i < task.tokens; i += kQueryBlock) {
    const std::int64_t rows = smaller(kQueryBlock, task.tokens - i);
    const T* p = call.kept + task.first_pair + i * task.tokens;  // [rows, tokens]
    const T* mask = mask_of_rows(call.dropout, task, i, rows, buffer);
    pack_rows(rows, head_dim, q + i * stride, stride, q_block, d);
    const T* do_rows = call.dout + (task.first_row + i) * width + task.head * head_dim;
    pack_rows(rows, head_dim, do_rows, width, do_block, d);
    for (std::int64_t r = 0; r < rows; ++r) {
      drop_row(task.keys, p + r * task.tokens, mask == nullptr ? nullptr : mask + r * task.tokens,
               dropped + r * n);
    }
    multiply_panel<false>(rows, n, head_dim, do_block, d, 1, vt, n, ds, n);
    for (std::int64_t r = 0; r < rows; ++r) {
      softmax_backward_row(task.keys, scale, p + r * task.tokens, dropped + r * n, ds + r * n);
      if (!task.has_next) continue;
      prefetch_next_head(do_rows + r * width, head_dim);
      for (std::int64_t part = 0; part < 3; ++part) {
        prefetch_next_head(q + (i + r) * stride + part * width, head_dim);
        prefetch_next_head(dq + (i + r) * stride + part * width, head_dim);
      }
    }
    multiply_panel<kAdd>(rows, head_dim, task.keys, ds, n, 1, k, d, dq + i * stride, stride);
    if (i == 0) {
      multiply_panel<false>(task.keys, d, rows, dropped, 1, n, do_block, d, dv, d);
      multiply_panel<false>(task.keys, d, rows, ds, 1, n, q_block, d, dk, d);
    } else {
      multiply_panel<true>(task.keys, d, rows, dropped, 1, n, do_block, d, dv, d);
      multiply_panel<true>(task.keys, d, rows, ds, 1, n, q_block, d, dk, d);
    }
  }
  write_rows<kAdd>(task, head_dim, dk, d, dq + width, stride);
  write_rows<kAdd>(task, head_dim, dv, d, dq + 2 * width, stride);
}

template <class T>
void attention_backward(const AttentionBackward<T>& call) {
  for_each_head<T>(call.sequences, call.heads, call.head_dim, call.workspace, [=](const HeadTask<T>& task) {
    if (call.dqkv.keep == T(0)) {
      head_backward<false>(task, call);
    } else {
      head_backward<true>(task, call);
    }
  });
}

}  // namespace

template <class T>
void fill_attention_backward(Kernels<T>& k) {
  k.attention_backward = attention_backward<T>;
}
template void fill_attention_backward(Kernels<float>& k);
template void fill_attention_backward(Kernels<double>& k);

}  // namespace costeff::COSTEFF_ISA
