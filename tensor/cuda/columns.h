// Sums over rows in two stages: chunks of rows, then the chunks in their order (tensor/cuda/launch.h).
#pragma once

#include "tensor/cuda/device.h"

namespace costeff::COSTEFF_GPU {

// f(r, c) gives what element (r, c) adds to each of kSums sums, a Values<kSums>; it may write element (r, c)
// of an output.
template <class T, int kSums>
struct Values {
  T x[kSums];
};

// partial[sum][chunk][c]; blocks of kColumnSlots warps, each lane a column.
template <class T, int kSums, class F>
__global__ void sum_chunks(std::int64_t rows, std::int64_t cols, std::int64_t rows_per_chunk, F f,
                           T* partial) {
  __shared__ T of_slot[kSums][kColumnSlots][kWarp];
  const int lane = static_cast<int>(threadIdx.x % kWarp), slot = static_cast<int>(threadIdx.x / kWarp);
  const std::int64_t c = std::int64_t{blockIdx.x} * kWarp + lane;
  const std::int64_t begin = blockIdx.y * rows_per_chunk;
  const std::int64_t end = begin + rows_per_chunk < rows ? begin + rows_per_chunk : rows;
  Values<T, kSums> sums{};
  if (c < cols) {
    for (std::int64_t r = begin + slot; r < end; r += kColumnSlots) {
      const Values<T, kSums> v = f(r, c);
      for (int s = 0; s < kSums; ++s) sums.x[s] += v.x[s];
    }
  }
  for (int s = 0; s < kSums; ++s) of_slot[s][slot][lane] = sums.x[s];
  __syncthreads();
  if (slot != 0 || c >= cols) return;
  for (int s = 0; s < kSums; ++s) {
    T sum = of_slot[s][0][lane];
    for (int other = 1; other < kColumnSlots; ++other) sum += of_slot[s][other][lane];
    partial[(s * std::int64_t{gridDim.y} + blockIdx.y) * cols + c] = sum;
  }
}

// out[c] = sum over chunks of partial[chunk, c] + keep out[c].
template <class T>
__global__ void add_chunks(std::int64_t chunks, std::int64_t cols, const T* partial, T keep, T* out) {
  const std::int64_t c = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (c >= cols) return;
  T sum = 0;
  for (std::int64_t i = 0; i < chunks; ++i) sum += partial[i * cols + c];
  put(out[c], sum, keep);
}

// out[s][cols] = sum over rows of f(r, c).x[s].
template <class T, int kSums, class F>
void sum_columns(const char* name, std::int64_t rows, std::int64_t cols, F f, const Target<T> (&out)[kSums]) {
  const ColumnSums cut = column_sums(rows);
  T* partial = scratch_of<T>(column_sums_workspace(rows, cols, kSums));
  launch(name, column_sums_launch(rows, cols), sum_chunks<T, kSums, F>, rows, cols, cut.rows_per_chunk, f,
         partial);
  const Launch shape{.grid_x = static_cast<unsigned>(divided_up(cols, kThreads))};
  for (int s = 0; s < kSums; ++s) {
    launch(name, shape, add_chunks<T>, cut.chunks, cols,
           static_cast<const T*>(partial + s * cut.chunks * cols), out[s].keep, out[s].data);
  }
}

}  // namespace costeff::COSTEFF_GPU
