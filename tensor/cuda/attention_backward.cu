// Gradients of attention, as AttentionBackward in tensor/kernels.h has them; `ds` is dS / sqrt(d). One kernel
// has rows of queries and makes rowsum(P dP) and dQ, a second has rows of keys and makes dK and dV: each
// gradient has one owner, so no atomics and a fixed order. dP is worked out anew instead of kept.
#include <cmath>

#include "tensor/cuda/attention.h"

namespace costeff::COSTEFF_GPU {
namespace {

// The rows of the warp, and what a score at (query, key) needs.
template <class T>
struct Gradients {
  AttentionBackward<T> call;
  T scale;
  Mask<T> mask;
  T* row_dots;  // [count, heads, longest]: rowsum(P dP)
};

// d_row[c] = sums[c] + keep d_row[c], lanes over the columns.
template <class T>
__device__ void write_row(std::int64_t head_dim, bool real, const T* sums, T keep, T* row) {
  for (std::int64_t c = threadIdx.x % kWarp; c < head_dim; c += kWarp)
    put(row[c], real ? sums[c] : T(0), keep);
}

template <class T>
__global__ void query_gradients(Sequences sequences, Gradients<T> g) {
  const std::int64_t width = g.call.heads * g.call.head_dim, stride = 3 * width,
                     d = padded_dim(g.call.head_dim);
  const std::int64_t first = std::int64_t{blockIdx.x} * kTileRows;
  const int warp = static_cast<int>(threadIdx.x / kWarp), lane = static_cast<int>(threadIdx.x % kWarp);
  T* do_tile = shared_memory<T>();          // [kTileRows, d]
  T* sums = do_tile + kTileRows * d;        // [kTileRows, d]: dQ
  T* k_tile = sums + kTileRows * d;         // [kWarp, d]
  T* weights = k_tile + kWarp * d;          // [kTileRows, kWarp]: dS / sqrt(d)
  T* v_tile = weights + kTileRows * kWarp;  // [kWarp, d + 1]
  const T* my_do = do_tile + warp * kRowsOfWarp * d;
  T* my_sums = sums + warp * kRowsOfWarp * d;
  T* my_weights = weights + warp * kRowsOfWarp * kWarp;
  T ones[kRowsOfWarp];
  for (T& x : ones) x = T(1);

  for (std::int64_t s = blockIdx.z; s < sequences.count; s += gridDim.z) {
    const Head head = head_of(sequences, s);
    if (first >= head.tokens) continue;
    const std::int64_t corner = head.first_row * stride + blockIdx.y * g.call.head_dim;
    const T *k = g.call.qkv + corner + width, *v = k + width, *p = g.call.kept + head.first_pair;
    __syncthreads();  // the tiles of the sequence before have been read
    load_tile(kTileRows, first, head.tokens, g.call.head_dim,
              g.call.dout + head.first_row * width + blockIdx.y * g.call.head_dim, width, do_tile, d);
    clear(kTileRows * d, sums);
    // Of each of the warp's rows with this lane's key: P and dP, 0 outside.
    T prob[kRowsOfWarp], dp[kRowsOfWarp], dot[kRowsOfWarp] = {};
    const auto scores = [&](std::int64_t j) {
      dots_of_lane(d, my_do, static_cast<const T*>(v_tile), dp);
      for (int r = 0; r < kRowsOfWarp; ++r) {
        const std::int64_t row = first + warp * kRowsOfWarp + r, at = row * head.tokens + j;
        const bool real = j < head.keys && row < head.tokens;
        prob[r] = real ? p[at] : T(0);
        dp[r] = real ? dp[r] * factor(g.mask, head.first_pair + at) : T(0);
      }
    };
    for (std::int64_t key = 0; key < head.keys; key += kWarp) {
      __syncthreads();  // the tile before has been read
      load_tile(kWarp, key, head.keys, g.call.head_dim, v, stride, v_tile, d + 1);
      __syncthreads();
      scores(key + lane);
      for (int r = 0; r < kRowsOfWarp; ++r) dot[r] += prob[r] * dp[r];
    }
    for (int r = 0; r < kRowsOfWarp; ++r) {
      dot[r] = reduce_warp(dot[r], Add{});
      const std::int64_t row = first + warp * kRowsOfWarp + r;
      if (lane == 0 && row < head.tokens)
        g.row_dots[(s * g.call.heads + blockIdx.y) * sequences.longest + row] = dot[r];
    }
    for (std::int64_t key = 0; key < head.keys; key += kWarp) {
      __syncthreads();
      load_tile(kWarp, key, head.keys, g.call.head_dim, v, stride, v_tile, d + 1);
      load_tile(kWarp, key, head.keys, g.call.head_dim, k, stride, k_tile, d);
      __syncthreads();
      scores(key + lane);
      for (int r = 0; r < kRowsOfWarp; ++r)
        my_weights[r * kWarp + lane] = prob[r] * (dp[r] - dot[r]) * g.scale;
      __syncwarp();
      add_weighted_rows(d, my_weights, k_tile, d, ones, my_sums);
      __syncwarp();
    }
    for (int r = 0; r < kRowsOfWarp; ++r) {
      const std::int64_t row = first + warp * kRowsOfWarp + r;
      if (row < head.tokens)
        write_row(g.call.head_dim, true, my_sums + r * d, g.call.dqkv.keep,
                  g.call.dqkv.data + corner + row * stride);
    }
  }
}

template <class T>
__global__ void key_gradients(Sequences sequences, Gradients<T> g) {
  const std::int64_t width = g.call.heads * g.call.head_dim, stride = 3 * width,
                     d = padded_dim(g.call.head_dim);
  const std::int64_t first = std::int64_t{blockIdx.x} * kTileRows;
  const int warp = static_cast<int>(threadIdx.x / kWarp), lane = static_cast<int>(threadIdx.x % kWarp);
  T* v_tile = shared_memory<T>();       // [kTileRows, d]
  T* dk = v_tile + kTileRows * d;       // [kTileRows, d]
  T* dv = dk + kTileRows * d;           // [kTileRows, d]
  T* q_tile = dv + kTileRows * d;       // [kWarp, d]
  T* dropped = q_tile + kWarp * d;      // [kTileRows, kWarp]: P_drop transposed
  T* ds = dropped + kTileRows * kWarp;  // [kTileRows, kWarp]: dS / sqrt(d) transposed
  T* do_tile = ds + kTileRows * kWarp;  // [kWarp, d + 1]
  const std::int64_t my_row = warp * kRowsOfWarp;
  T ones[kRowsOfWarp];
  for (T& x : ones) x = T(1);

  for (std::int64_t s = blockIdx.z; s < sequences.count; s += gridDim.z) {
    const Head head = head_of(sequences, s);
    if (first >= head.tokens) continue;
    const std::int64_t corner = head.first_row * stride + blockIdx.y * g.call.head_dim;
    const T *q = g.call.qkv + corner, *p = g.call.kept + head.first_pair;
    const T* dout = g.call.dout + head.first_row * width + blockIdx.y * g.call.head_dim;
    const T* row_dots = g.row_dots + (s * g.call.heads + blockIdx.y) * sequences.longest;
    __syncthreads();  // the tiles of the sequence before have been read
    load_tile(kTileRows, first, head.keys, g.call.head_dim, q + 2 * width, stride, v_tile, d);
    clear(kTileRows * d, dk);
    clear(kTileRows * d, dv);
    for (std::int64_t query = 0; query < head.tokens; query += kWarp) {
      __syncthreads();  // the tiles before have been read
      load_tile(kWarp, query, head.tokens, g.call.head_dim, dout, width, do_tile, d + 1);
      load_tile(kWarp, query, head.tokens, g.call.head_dim, q, stride, q_tile, d);
      __syncthreads();
      const std::int64_t i = query + lane;
      const T dot = i < head.tokens ? row_dots[i] : T(0);
      T dp[kRowsOfWarp];
      dots_of_lane(d, v_tile + my_row * d, do_tile, dp);
      for (int r = 0; r < kRowsOfWarp; ++r) {
        const std::int64_t key = first + my_row + r, at = i * head.tokens + key;
        const bool real = i < head.tokens && key < head.keys;
        const T prob = real ? p[at] : T(0), keeps = real ? factor(g.mask, head.first_pair + at) : T(0);
        dropped[(my_row + r) * kWarp + lane] = prob * keeps;
        ds[(my_row + r) * kWarp + lane] = prob * (dp[r] * keeps - dot) * g.scale;
      }
      __syncwarp();
      add_weighted_rows(d, dropped + my_row * kWarp, do_tile, d + 1, ones, dv + my_row * d);
      add_weighted_rows(d, ds + my_row * kWarp, q_tile, d, ones, dk + my_row * d);
      __syncwarp();
    }
    for (int r = 0; r < kRowsOfWarp; ++r) {
      const std::int64_t key = first + my_row + r;
      if (key >= head.tokens) continue;
      T* to = g.call.dqkv.data + corner + key * stride + width;
      write_row(g.call.head_dim, key < head.keys, dk + (my_row + r) * d, g.call.dqkv.keep, to);
      write_row(g.call.head_dim, key < head.keys, dv + (my_row + r) * d, g.call.dqkv.keep, to + width);
    }
  }
}

template <class T>
void attention_backward(const AttentionBackward<T>& call) {
  const Sequences& sequences = call.sequences;
  T* row_dots = scratch_of<T>(attention_backward_workspace(sequences.count, call.heads, sequences.longest));
  const Gradients<T> g{call, scale_of<T>(call.head_dim), mask_of<T>(call.dropout), row_dots};
  const auto shape = [&](std::int64_t shared) {
    return attention_launch(sequences.count, call.heads, sequences.longest,
                            static_cast<std::size_t>(shared) * sizeof(T));
  };
  launch("attention_backward (dQ)", shape(attention_queries_shared(call.head_dim)), query_gradients<T>,
         sequences, g);
  launch("attention_backward (dK, dV)", shape(attention_keys_shared(call.head_dim)), key_gradients<T>,
         sequences, g);
}

}  // namespace

template <class T>
void fill_attention_backward(Kernels<T>& k) {
  k.attention_backward = attention_backward<T>;
}
template void fill_attention_backward(Kernels<float>& k);
template void fill_attention_backward(Kernels<double>& k);

}  // namespace costeff::COSTEFF_GPU
