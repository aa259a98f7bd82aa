// Rows picked by index, and means over the rows of a sequence.
#include "tensor/cuda/device.h"

namespace costeff::COSTEFF_GPU {
namespace {

template <class T>
__global__ void gather_rows_kernel(std::int64_t n, std::int64_t cols, bool whole, const T* table,
                                   const std::int32_t* index, T* y) {
  for_each_row(n, [=](std::int64_t i) {
    const T* row = table + index[i] * cols;
    for_each_group_of_row(
        cols, [=](std::int64_t c) { store(y + i * cols, c, cols, whole, load(row, c, cols, whole)); });
  });
}
template <class T>
void gather_rows(std::int64_t n, std::int64_t cols, const T* table, const std::int32_t* index, T* y) {
  launch("gather_rows", rows_launch(n, divided_up(cols, kGroup)), gather_rows_kernel<T>, n, cols,
         cols % kGroup == 0 && aligned(table, y), table, index, y);
}

// The block of the first i that names a row of the table adds every i that names it, in their order. Whoever
// comes later finds that out and leaves. Looking for equals takes n^2 comparisons in all, of indices that lie
// in the caches; no sorting, no scratch. blockIdx.y is a tile of blockDim.x columns.
template <class T>
__global__ void scatter_add_rows_kernel(std::int64_t n, std::int64_t cols, const T* y,
                                        const std::int32_t* index, T* table) {
  __shared__ unsigned matches[kThreads / kWarp];
  const std::int64_t c = std::int64_t{blockIdx.y} * kThreads + threadIdx.x;
  for (std::int64_t i = blockIdx.x; i < n; i += gridDim.x) {
    const std::int32_t row = index[i];
    int earlier = 0;
    for (std::int64_t j = threadIdx.x; j < i && earlier == 0; j += kThreads)
      earlier = index[j] == row ? 1 : 0;
    if (__syncthreads_or(earlier) != 0) continue;
    T sum = c < cols ? table[row * cols + c] : T(0);
    for (std::int64_t tile = i; tile < n; tile += kThreads) {
      const std::int64_t j = tile + threadIdx.x;
      const unsigned mine = __ballot_sync(kAllLanes, j < n && index[j] == row);
      __syncthreads();  // the matches of the tile before have been read
      if (threadIdx.x % kWarp == 0) matches[threadIdx.x / kWarp] = mine;
      __syncthreads();
      if (c >= cols) continue;
      for (int w = 0; w < kThreads / kWarp; ++w) {
        for (unsigned left = matches[w]; left != 0; left &= left - 1)
          sum += y[(tile + w * kWarp + __ffs(static_cast<int>(left)) - 1) * cols + c];
      }
    }
    if (c < cols) table[row * cols + c] = sum;
  }
}
template <class T>
void scatter_add_rows(std::int64_t n, std::int64_t cols, const T* y, const std::int32_t* index, T* table) {
  launch("scatter_add_rows", tiles_launch(n, cols), scatter_add_rows_kernel<T>, n, cols, y, index, table);
}

template <class T>
__global__ void add_gathered_rows_kernel(std::int64_t n, std::int64_t cols, bool whole, const T* x,
                                         const T* a, const std::int32_t* ia, const T* b,
                                         const std::int32_t* ib, T* y) {
  for_each_row(n, [=](std::int64_t i) {
    const T *row_a = a + ia[i] * cols, *row_b = b + ib[i] * cols;
    for_each_group_of_row(cols, [=](std::int64_t c) {
      Group<T> z = load(x + i * cols, c, cols, whole);
      const Group<T> za = load(row_a, c, cols, whole), zb = load(row_b, c, cols, whole);
      for (int l = 0; l < kGroup; ++l) z.x[l] = z.x[l] + za.x[l] + zb.x[l];
      store(y + i * cols, c, cols, whole, z);
    });
  });
}
template <class T>
void add_gathered_rows(std::int64_t n, std::int64_t cols, const T* x, const T* a, const std::int32_t* ia,
                       const T* b, const std::int32_t* ib, T* y) {
  launch("add_gathered_rows", rows_launch(n, divided_up(cols, kGroup)), add_gathered_rows_kernel<T>, n, cols,
         cols % kGroup == 0 && aligned(x, a, b, y), x, a, ia, b, ib, y);
}

// blockIdx.y is a tile of columns, one a thread.
template <class T>
__global__ void sequence_mean_kernel(Sequences sequences, std::int64_t cols, const T* x, T* mean) {
  const std::int64_t c = std::int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (c >= cols) return;
  for_each_row(sequences.count, [=](std::int64_t s) {
    const T* rows = x + sequences.offsets[s] * cols;
    T sum = 0;
    for (std::int64_t i = 0; i < sequences.lengths[s]; ++i) sum += rows[i * cols + c];
    mean[s * cols + c] = sum / static_cast<T>(sequences.lengths[s]);
  });
}
template <class T>
void sequence_mean(Sequences sequences, std::int64_t cols, const T* x, T* mean) {
  launch("sequence_mean", tiles_launch(sequences.count, cols), sequence_mean_kernel<T>, sequences, cols, x,
         mean);
}

template <class T>
__global__ void sequence_mean_backward_kernel(Sequences sequences, std::int64_t cols, const T* dmean, T keep,
                                              T* dx) {
  const std::int64_t c = std::int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (c >= cols) return;
  for_each_row(sequences.count, [=](std::int64_t s) {
    const std::int64_t first = sequences.offsets[s], rows = sequences.offsets[s + 1] - first;
    const T d = dmean[s * cols + c] / static_cast<T>(sequences.lengths[s]);
    for (std::int64_t i = 0; i < rows; ++i)
      put(dx[(first + i) * cols + c], i < sequences.lengths[s] ? d : T(0), keep);
  });
}
template <class T>
void sequence_mean_backward(Sequences sequences, std::int64_t cols, const T* dmean, T keep, T* dx) {
  launch("sequence_mean_backward", tiles_launch(sequences.count, cols), sequence_mean_backward_kernel<T>,
         sequences, cols, dmean, keep, dx);
}

}  // namespace

template <class T>
void fill_rows(Kernels<T>& k) {
  k.gather_rows = gather_rows<T>;
  k.scatter_add_rows = scatter_add_rows<T>;
  k.add_gathered_rows = add_gathered_rows<T>;
  k.sequence_mean = sequence_mean<T>;
  k.sequence_mean_backward = sequence_mean_backward<T>;
}
template void fill_rows(Kernels<float>& k);
template void fill_rows(Kernels<double>& k);

}  // namespace costeff::COSTEFF_GPU
