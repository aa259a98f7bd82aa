// Reductions of a whole array, accumulated in f64.
#include "tensor/cuda/sums.h"

namespace costeff::COSTEFF_GPU {
namespace {

template <class T>
struct Value {
  const T* x;
  __device__ double operator()(std::int64_t i) const { return static_cast<double>(x[i]); }
};
template <class T>
void sum(std::int64_t n, const T* x, T* out) {
  sum_all("sum", n, Value<T>{x}, 1.0, out);
}

template <class T>
struct ValueProduct {
  const T *x, *y;
  __device__ double operator()(std::int64_t i) const {
    return static_cast<double>(x[i]) * static_cast<double>(y[i]);
  }
};
template <class T>
void dot(std::int64_t n, const T* x, const T* y, double* out) {
  sum_all("dot", n, ValueProduct<T>{x, y}, 1.0, out);
}

template <class T>
__global__ void sum_squares(std::int64_t n, std::int64_t cols, const T* table, const std::int32_t* index,
                            double* out) {
  for_each_row(n, [=](std::int64_t i) {
    const T* row = table + index[i] * cols;
    double sum = 0;
    for_each_column(cols, [&](std::int64_t c) {
      const double x = static_cast<double>(row[c]);
      sum += x * x;
    });
    sum = reduce_block(sum, Add{});
    if (threadIdx.x == 0) out[i] = sum;
  });
}
template <class T>
void squares_of_rows(std::int64_t n, std::int64_t cols, const T* table, const std::int32_t* index,
                     double* out) {
  launch("squares_of_rows", rows_launch(n, cols), sum_squares<T>, n, cols, table, index, out);
}

struct Smaller {
  __device__ double operator()(double a, double b) const { return a < b ? a : b; }
};
// The range of what each thread of the block holds, to one place; non_finite counts.
__device__ inline void write_range(Range mine, Range* out) {
  mine.smallest = reduce_block(mine.smallest, Smaller{});
  mine.largest = reduce_block(mine.largest, Larger{});
  mine.non_finite = reduce_block(static_cast<long long>(mine.non_finite), Add{});
  if (threadIdx.x == 0) *out = mine;
}
__device__ inline Range nothing() {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  return {kInfinity, -kInfinity, 0};
}

template <class T>
__global__ void partial_ranges(std::int64_t n, const T* x, Range* partial) {
  Range mine = nothing();
  const std::int64_t stride = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += stride) {
    if (!(x[i] - x[i] == T(0))) {
      ++mine.non_finite;
      continue;
    }
    const double v = static_cast<double>(x[i]);
    mine.smallest = v < mine.smallest ? v : mine.smallest;
    mine.largest = v > mine.largest ? v : mine.largest;
  }
  write_range(mine, partial + blockIdx.x);
}
__global__ void join_ranges(std::int64_t partials, const Range* partial, Range* out) {
  Range mine = nothing();
  for_each_column(partials, [&](std::int64_t i) {
    mine.smallest = partial[i].smallest < mine.smallest ? partial[i].smallest : mine.smallest;
    mine.largest = partial[i].largest > mine.largest ? partial[i].largest : mine.largest;
    mine.non_finite += partial[i].non_finite;
  });
  write_range(mine, out);
}
template <class T>
Range range(std::int64_t n, const T* x) {
  const std::int64_t partials = reduction_partials(n);
  Range* partial = scratch_of<Range>(partials + 1);
  launch("range", Launch{.grid_x = static_cast<unsigned>(partials)}, partial_ranges<T>, n, x, partial + 1);
  launch("range", Launch{}, join_ranges, partials, static_cast<const Range*>(partial + 1), partial);
  Range all;
  check(cudaMemcpyAsync(&all, partial, sizeof all, cudaMemcpyDeviceToHost, stream()), "cudaMemcpyAsync");
  check(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
  return all.non_finite == n ? Range{0, 0, n} : all;
}

}  // namespace

template <class T>
void fill_reduce(Kernels<T>& k) {
  k.sum = sum<T>;
  k.dot = dot<T>;
  k.squares_of_rows = squares_of_rows<T>;
  k.range = range<T>;
}
template void fill_reduce(Kernels<float>& k);
template void fill_reduce(Kernels<double>& k);

}  // namespace costeff::COSTEFF_GPU
