// Attention within each sequence: P = softmax(Q K^T / sqrt(d)) over the real keys, out = dropout(P) V, by a
// running softmax (Milakov and Gimelshein 2018; Dao et al. 2022): no row of scores is in memory unless
// the probabilities are kept.
#include <cmath>

#include "tensor/cuda/attention.h"

namespace costeff::COSTEFF_GPU {
namespace {

// Writes the rows of P that the warp put scores into; each lane reads what it wrote itself.
template <class T>
__device__ void finish_probabilities(const Head& head, std::int64_t row, T top, T inverse, T* p) {
  if (row >= head.tokens) return;
  for (std::int64_t j = threadIdx.x % kWarp; j < head.tokens; j += kWarp)
    p[row * head.tokens + j] = j < head.keys ? math::exp(p[row * head.tokens + j] - top) * inverse : T(0);
}

template <class T>
__global__ void attention_kernel(Sequences sequences, std::int64_t head_dim, const T* qkv, T scale,
                                 Mask<T> mask, T* out, T* probabilities) {
  const std::int64_t width = gridDim.y * head_dim, d = padded_dim(head_dim);
  const std::int64_t first = std::int64_t{blockIdx.x} * kTileRows;
  const int warp = static_cast<int>(threadIdx.x / kWarp), lane = static_cast<int>(threadIdx.x % kWarp);
  T* q_tile = shared_memory<T>();           // [kTileRows, d]
  T* sums = q_tile + kTileRows * d;         // [kTileRows, d]
  T* v_tile = sums + kTileRows * d;         // [kWarp, d]
  T* weights = v_tile + kWarp * d;          // [kTileRows, kWarp]
  T* k_tile = weights + kTileRows * kWarp;  // [kWarp, d + 1]
  const T* my_q = q_tile + warp * kRowsOfWarp * d;
  T* my_sums = sums + warp * kRowsOfWarp * d;
  T* my_weights = weights + warp * kRowsOfWarp * kWarp;

  for (std::int64_t s = blockIdx.z; s < sequences.count; s += gridDim.z) {
    const Head head = head_of(sequences, s);
    if (first >= head.tokens) continue;
    const T* q = qkv + head.first_row * 3 * width + blockIdx.y * head_dim;  // k and v beside it
    T* p = probabilities == nullptr ? nullptr : probabilities + head.first_pair;
    __syncthreads();  // the tiles of the sequence before have been read
    load_tile(kTileRows, first, head.tokens, head_dim, q, 3 * width, q_tile, d);
    clear(kTileRows * d, sums);
    T top[kRowsOfWarp], total[kRowsOfWarp];
    for (int r = 0; r < kRowsOfWarp; ++r) {
      top[r] = -std::numeric_limits<T>::infinity();
      total[r] = T(0);
    }
    for (std::int64_t key = 0; key < head.keys; key += kWarp) {
      __syncthreads();  // the tiles before have been read
      load_tile(kWarp, key, head.keys, head_dim, q + width, 3 * width, k_tile, d + 1);
      load_tile(kWarp, key, head.keys, head_dim, q + 2 * width, 3 * width, v_tile, d);
      __syncthreads();
      const std::int64_t j = key + lane;
      T score[kRowsOfWarp], shrink[kRowsOfWarp];
      dots_of_lane(d, my_q, k_tile, score);
      for (int r = 0; r < kRowsOfWarp; ++r) {
        const std::int64_t row = first + warp * kRowsOfWarp + r;
        const T x = j < head.keys ? score[r] * scale : -std::numeric_limits<T>::infinity();
        if (p != nullptr && j < head.keys && row < head.tokens) p[row * head.tokens + j] = x;
        // Finite from the first tile on, as each tile has a real key.
        const T new_top = Larger{}(reduce_warp(x, Larger{}), top[r]);
        const T e = j < head.keys ? math::exp(x - new_top) : T(0);
        shrink[r] = math::exp(top[r] - new_top);
        total[r] = total[r] * shrink[r] + reduce_warp(e, Add{});
        top[r] = new_top;
        const bool wanted = j < head.keys && row < head.tokens;
        my_weights[r * kWarp + lane] =
            wanted ? e * factor(mask, head.first_pair + row * head.tokens + j) : T(0);
      }
      __syncwarp();
      add_weighted_rows(d, my_weights, v_tile, d, shrink, my_sums);
      __syncwarp();
    }
    for (int r = 0; r < kRowsOfWarp; ++r) {
      const std::int64_t row = first + warp * kRowsOfWarp + r;
      const T inverse = T(1) / total[r];
      if (row < head.tokens) {
        T* o = out + (head.first_row + row) * width + blockIdx.y * head_dim;
        for (std::int64_t c = lane; c < head_dim; c += kWarp) o[c] = my_sums[r * d + c] * inverse;
      }
      if (p != nullptr) finish_probabilities(head, row, top[r], inverse, p);
    }
  }
}

template <class T>
void attention(const AttentionForward<T>& call) {
  const std::size_t shared = static_cast<std::size_t>(attention_shared(call.head_dim)) * sizeof(T);
  launch("attention", attention_launch(call.sequences.count, call.heads, call.sequences.longest, shared),
         attention_kernel<T>, call.sequences, call.head_dim, call.qkv, scale_of<T>(call.head_dim),
         mask_of<T>(call.dropout), call.out, call.kept);
}

// Nothing: what the kernels keep between two launches lies in the device's scratch memory, because its size
// takes the number of heads and sequences.
std::int64_t attention_workspace(std::int64_t /*longest*/, std::int64_t /*head_dim*/) {
  return 0;
}

}  // namespace

template <class T>
void fill_attention(Kernels<T>& k) {
  k.attention_workspace = attention_workspace;
  k.attention = attention<T>;
}
template void fill_attention(Kernels<float>& k);
template void fill_attention(Kernels<double>& k);

}  // namespace costeff::COSTEFF_GPU
