// Attention in mixed precision (tensor/kernels.h): as attention.cpp and attention_backward.cpp have it, with
// Q, K, V, P_drop, dO and dS / sqrt(d) rounded to bf16 before they are multiplied. Plain arithmetic in f32:
// it gives the numbers of a GPU, not its speed. P is made anew from the scores and the row's log_sum.
#include <cmath>
#include <limits>
#include <type_traits>

#include "tensor/cpu/attention.h"

namespace costeff::COSTEFF_ISA {
namespace {

float rounded(float x) {
  return to_f32(to_bf16(x));
}

// to[r][c] = from[r][c], rows of `to` filled up with zeros.
void widen_rows(std::int64_t rows, std::int64_t cols, const bf16* from, std::int64_t stride, float* to,
                std::int64_t ld) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < ld; ++c) to[r * ld + c] = c < cols ? to_f32(from[r * stride + c]) : 0;
  }
}
void widen_transposed(std::int64_t rows, std::int64_t cols, const bf16* from, std::int64_t stride, float* to,
                      std::int64_t ld) {
  for (std::int64_t c = 0; c < cols; ++c) {
    for (std::int64_t r = 0; r < ld; ++r) to[c * ld + r] = r < rows ? to_f32(from[r * stride + c]) : 0;
  }
}

// What both directions know of a head.
struct Head {
  Head(const HeadTask<float>& task, std::int64_t heads, std::int64_t head_dim)
      : width(heads * head_dim),
        n(round_up(task.keys, Simd<float>::kLanes)),
        d(round_up(head_dim, Simd<float>::kLanes)),
        corner(task.first_row * 3 * width + task.head * head_dim),
        scale(static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)))) {}
  std::int64_t width, n, d;
  std::int64_t corner;  // of the head's queries in qkv
  float scale;
};

// dropped = P_drop, a row of it, rounded; it may be p itself.
void drop(std::int64_t keys, const float* p, const float* mask, float* dropped) {
  for (std::int64_t c = 0; c < keys; ++c) dropped[c] = rounded(mask == nullptr ? p[c] : p[c] * mask[c]);
}

// log sum_j exp(scale scores[j])
float log_sum(std::int64_t keys, float scale, const float* scores) {
  float top = -std::numeric_limits<float>::infinity();
  for (std::int64_t c = 0; c < keys; ++c) top = scores[c] > top ? scores[c] : top;
  float sum = 0;
  for (std::int64_t c = 0; c < keys; ++c) sum += math::exp((scores[c] - top) * scale);
  return top * scale + std::log(sum);
}

void attention_bf16(const AttentionForward<float, bf16>& call) {
  const std::int64_t heads = call.heads, head_dim = call.head_dim;
  const bf16* qkv = call.qkv;
  float *out = call.out, *log_sums = call.kept;
  for_each_head<float>(call.sequences, heads, head_dim, call.workspace, [=](const HeadTask<float>& task) {
    const Head head(task, heads, head_dim);
    const std::int64_t stride = 3 * head.width, n = head.n, d = head.d;
    const bf16* q = qkv + head.corner;
    ScratchCutter<float> cut{task.scratch};
    float *kt = cut.take(d * n), *v = cut.take(n * d), *q_block = cut.take(kQueryBlock * d),
          *p = cut.take(kQueryBlock * n), *buffer = cut.next;
    widen_transposed(task.keys, head_dim, q + head.width, stride, kt, n);
    widen_rows(task.keys, head_dim, q + 2 * head.width, stride, v, d);
    for (std::int64_t i = 0; i < task.tokens; i += kQueryBlock) {
      const std::int64_t rows = smaller(kQueryBlock, task.tokens - i);
      widen_rows(rows, head_dim, q + i * stride, stride, q_block, d);
      multiply_panel<false>(rows, n, head_dim, q_block, d, 1, kt, n, p, n);
      const float* mask = mask_of_rows(call.dropout, task, i, rows, buffer);
      for (std::int64_t r = 0; r < rows; ++r) {
        float* row = p + r * n;
        const float sum = log_sum(task.keys, head.scale, row);
        if (log_sums != nullptr) log_sums[(task.first_row + i + r) * heads + task.head] = sum;
        for (std::int64_t c = 0; c < task.keys; ++c) row[c] = math::exp(row[c] * head.scale - sum);
        drop(task.keys, row, mask == nullptr ? nullptr : mask + r * task.tokens, row);
      }
      multiply_panel<false>(rows, head_dim, task.keys, p, n, 1, v, d,
                            out + (task.first_row + i) * head.width + task.head * head_dim, head.width);
    }
  });
}

// The gradient of the keys or values from scratch [keys, d] to its place; 0 for padding.
void write_rows(const HeadTask<float>& task, std::int64_t head_dim, const float* from, std::int64_t d,
                float keep, float* to, std::int64_t stride) {
  for (std::int64_t r = 0; r < task.tokens; ++r) {
    for (std::int64_t c = 0; c < head_dim; ++c) {
      const float gradient = r < task.keys ? from[r * d + c] : 0;
      to[r * stride + c] = keep == 0 ? gradient : gradient + to[r * stride + c];
    }
  }
}

void head_backward(const HeadTask<float>& task, const AttentionBackward<float, bf16>& call) {
  const std::int64_t heads = call.heads, head_dim = call.head_dim;
  const bf16 *qkv = call.qkv, *dout = call.dout;
  const float* log_sums = call.kept;
  float* dqkv = call.dqkv.data;
  const float keep = call.dqkv.keep;
  const Head head(task, heads, head_dim);
  const std::int64_t stride = 3 * head.width, n = head.n, d = head.d;
  const bf16* q = qkv + head.corner;
  float* dq = dqkv + head.corner;
  ScratchCutter<float> cut{task.scratch};
  float *kt = cut.take(d * n), *vt = cut.take(d * n), *k = cut.take(n * d), *dk = cut.take(n * d),
        *dv = cut.take(n * d), *q_block = cut.take(kQueryBlock * d), *do_block = cut.take(kQueryBlock * d),
        *p = cut.take(kQueryBlock * n), *dropped = cut.take(kQueryBlock * n), *ds = cut.take(kQueryBlock * n),
        *buffer = cut.next;
  widen_transposed(task.keys, head_dim, q + head.width, stride, kt, n);
  widen_transposed(task.keys, head_dim, q + 2 * head.width, stride, vt, n);
  widen_rows(task.keys, head_dim, q + head.width, stride, k, d);
  for (std::int64_t i = 0; i < n * d; ++i) dk[i] = dv[i] = 0;
  for (std::int64_t i = 0; i < task.tokens; i += kQueryBlock) {
    const std::int64_t rows = smaller(kQueryBlock, task.tokens - i);
    const float* mask = mask_of_rows(call.dropout, task, i, rows, buffer);
    widen_rows(rows, head_dim, q + i * stride, stride, q_block, d);
    widen_rows(rows, head_dim, dout + (task.first_row + i) * head.width + task.head * head_dim, head.width,
               do_block, d);
    multiply_panel<false>(rows, n, head_dim, q_block, d, 1, kt, n, p, n);
    multiply_panel<false>(rows, n, head_dim, do_block, d, 1, vt, n, ds, n);
    for (std::int64_t r = 0; r < rows; ++r) {
      float *p_row = p + r * n, *ds_row = ds + r * n;
      const float* mask_row = mask == nullptr ? nullptr : mask + r * task.tokens;
      const float sum = log_sums[(task.first_row + i + r) * heads + task.head];
      float dot = 0;
      for (std::int64_t c = 0; c < task.keys; ++c) {
        p_row[c] = math::exp(p_row[c] * head.scale - sum);
        if (mask_row != nullptr) ds_row[c] *= mask_row[c];
        dot += p_row[c] * ds_row[c];
      }
      drop(task.keys, p_row, mask_row, dropped + r * n);
      for (std::int64_t c = 0; c < task.keys; ++c)
        ds_row[c] = rounded(p_row[c] * (ds_row[c] - dot) * head.scale);
    }
    if (keep == 0) {
      multiply_panel<false>(rows, head_dim, task.keys, ds, n, 1, k, d, dq + i * stride, stride);
    } else {
      multiply_panel<true>(rows, head_dim, task.keys, ds, n, 1, k, d, dq + i * stride, stride);
    }
    multiply_panel<true>(task.keys, d, rows, dropped, 1, n, do_block, d, dv, d);
    multiply_panel<true>(task.keys, d, rows, ds, 1, n, q_block, d, dk, d);
  }
  write_rows(task, head_dim, dk, d, keep, dq + head.width, stride);
  write_rows(task, head_dim, dv, d, keep, dq + 2 * head.width, stride);
}

void attention_bf16_backward(const AttentionBackward<float, bf16>& call) {
  for_each_head<float>(call.sequences, call.heads, call.head_dim, call.workspace,
                       [=](const HeadTask<float>& task) { head_backward(task, call); });
}

}  // namespace

template <class T>
void fill_attention_bf16(Kernels<T>& k) {
  if constexpr (std::is_same_v<T, float>) {
    k.attention_bf16 = attention_bf16;
    k.attention_bf16_backward = attention_bf16_backward;
  }
}
template void fill_attention_bf16(Kernels<float>& k);
template void fill_attention_bf16(Kernels<double>& k);

}  // namespace costeff::COSTEFF_ISA
