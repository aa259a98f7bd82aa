// What the attention kernels share: which rows a block takes, tiles in shared memory, products of tiles.
//
// A block has kTileRows rows of one head of one sequence (`row` side), kRowsOfWarp a warp, and goes over the
// `lane` side kWarp rows at a time. Each lane then holds the scores of the warp's rows with its own row of
// the lane side; sums over the lane side go by shared memory, each lane taking columns of head_dim.
#pragma once

#include <cmath>

#include "tensor/cuda/device.h"

namespace costeff::COSTEFF_GPU {

// 1 / sqrt(d)
template <class T>
T scale_of(std::int64_t head_dim) {
  return static_cast<T>(1.0 / std::sqrt(static_cast<double>(head_dim)));
}

// One head of one sequence.
struct Head {
  std::int64_t tokens;      // rows of queries
  std::int64_t keys;        // real tokens: those that are attended to
  std::int64_t first_row;   // of the packed batch
  std::int64_t first_pair;  // of the probabilities, and of the dropout mask
};

__device__ inline Head head_of(const Sequences& sequences, std::int64_t s) {
  const std::int64_t first = sequences.offsets[s], tokens = sequences.offsets[s + 1] - first;
  const std::int64_t heads = gridDim.y, head = blockIdx.y;
  return {tokens, sequences.lengths[s], first, heads * sequences.pairs[s] + head * tokens * tokens};
}

// tile[r][c], rows `stride` apart, = from[first + r][c] for c < head_dim, 0 up to d and in rows from `rows`
// on. The whole block takes part; it synchronises before it reads.
template <class T>
__device__ void load_tile(std::int64_t tile_rows, std::int64_t first, std::int64_t rows,
                          std::int64_t head_dim, const T* from, std::int64_t from_stride, T* tile,
                          std::int64_t stride) {
  const unsigned d = static_cast<unsigned>(padded_dim(head_dim));  // divided by in 32 bits
  for (unsigned i = threadIdx.x; i < tile_rows * d; i += blockDim.x) {
    const unsigned r = i / d, c = i % d;
    tile[r * stride + c] = first + r < rows && c < head_dim ? from[(first + r) * from_stride + c] : T(0);
  }
}
template <class T>
__device__ void clear(std::int64_t n, T* tile) {
  for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) tile[i] = T(0);
}

// dots[q] = the product of row q of the warp's rows [kRowsOfWarp, d] and this lane's row of tile [kWarp, d +
// 1].
template <class T>
__device__ void dots_of_lane(std::int64_t d, const T* rows, const T* tile, T (&dots)[kRowsOfWarp]) {
  const T* mine = tile + threadIdx.x % kWarp * (d + 1);
  for (T& x : dots) x = T(0);
  for (std::int64_t c = 0; c < d; c += kGroup) {
    for (int q = 0; q < kRowsOfWarp; ++q) {
      const Group<T> row = *reinterpret_cast<const Group<T>*>(rows + q * d + c);
      for (int l = 0; l < kGroup; ++l) dots[q] += row.x[l] * mine[c + l];
    }
  }
}

// sums[q][c] = scale[q] * sums[q][c] + sum over lanes of weights[q][lane] * tile[lane][c], for the warp's
// rows; tile rows are `stride` apart.
template <class T>
__device__ void add_weighted_rows(std::int64_t d, const T* weights, const T* tile, std::int64_t stride,
                                  const T (&scale)[kRowsOfWarp], T* sums) {
  for (std::int64_t c = threadIdx.x % kWarp; c < d; c += kWarp) {
    T of_row[kRowsOfWarp] = {};
    for (int lane = 0; lane < kWarp; ++lane) {
      const T x = tile[lane * stride + c];
      for (int q = 0; q < kRowsOfWarp; ++q) of_row[q] += weights[q * kWarp + lane] * x;
    }
    for (int q = 0; q < kRowsOfWarp; ++q) sums[q * d + c] = scale[q] * sums[q * d + c] + of_row[q];
  }
}

}  // namespace costeff::COSTEFF_GPU
