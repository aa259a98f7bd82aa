// Sums of a whole array to one number, in f64 and two stages: a partial result a block, then these in their
// order (tensor/cuda/launch.h).
#pragma once

#include "tensor/cuda/device.h"

namespace costeff::COSTEFF_GPU {

template <class F>
__global__ void partial_sums(std::int64_t n, F f, double* partial) {
  double sum = 0;
  const std::int64_t stride = std::int64_t{gridDim.x} * blockDim.x;
  for (std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += stride) sum += f(i);
  sum = reduce_block(sum, Add{});
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// One block: out = factor * the sum of the partial sums.
template <class Out>
__global__ void add_partials(std::int64_t partials, const double* partial, double factor, Out* out) {
  double sum = 0;
  for_each_column(partials, [&](std::int64_t i) { sum += partial[i]; });
  sum = reduce_block(sum, Add{});
  if (threadIdx.x == 0) *out = static_cast<Out>(factor * sum);
}

// out = factor * sum of f(i) over i < n.
template <class F, class Out>
void sum_all(const char* name, std::int64_t n, F f, double factor, Out* out) {
  const std::int64_t partials = reduction_partials(n);
  double* partial = scratch_of<double>(partials);
  launch(name, Launch{.grid_x = static_cast<unsigned>(partials)}, partial_sums<F>, n, f, partial);
  launch(name, Launch{}, add_partials<Out>, partials, static_cast<const double*>(partial), factor, out);
}

}  // namespace costeff::COSTEFF_GPU
