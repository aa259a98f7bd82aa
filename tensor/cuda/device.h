// What device code shares: groups of elements, outputs with a keep, dropout, sums of a block.
#pragma once

#include <cuda_runtime.h>

#include <limits>

#include "tensor/cuda/table.h"

namespace costeff::COSTEFF_GPU {

inline constexpr unsigned kAllLanes = 0xffffffffu;

// ---- groups of four elements, read and written at once where pointers allow it

template <class T>
struct alignas(16) Group {
  T x[kGroup];
};

// Whether each pointer may be read in whole groups; null says nothing.
template <class... Ts>
bool aligned(const Ts*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

// Elements i .. i + 3 of n, 0 beyond the end; and their way back.
template <class T>
__device__ Group<T> load(const T* p, std::int64_t i, std::int64_t n, bool aligned) {
  if (aligned && i + kGroup <= n) return *reinterpret_cast<const Group<T>*>(p + i);
  Group<T> g{};
  for (int l = 0; l < kGroup; ++l) {
    if (i + l < n) g.x[l] = p[i + l];
  }
  return g;
}
template <class T>
__device__ void store(T* p, std::int64_t i, std::int64_t n, bool aligned, const Group<T>& g) {
  if (aligned && i + kGroup <= n) {
    *reinterpret_cast<Group<T>*>(p + i) = g;
    return;
  }
  for (int l = 0; l < kGroup; ++l) {
    if (i + l < n) p[i + l] = g.x[l];
  }
}
// p = g + keep p; with keep = 0 the old content is not read.
template <class T>
__device__ void store(T* p, std::int64_t i, std::int64_t n, bool aligned, Group<T> g, T keep) {
  if (keep != T(0)) {
    const Group<T> old = load(p, i, n, aligned);
    for (int l = 0; l < kGroup; ++l) g.x[l] = g.x[l] + keep * old.x[l];
  }
  store(p, i, n, aligned, g);
}
template <class T>
__device__ void put(T& out, T result, T keep) {
  out = keep == T(0) ? result : result + keep * out;
}

// The groups of n elements of this thread, f(first element).
template <class F>
__device__ void for_each_group(std::int64_t n, F f) {
  const std::int64_t stride = std::int64_t{gridDim.x} * blockDim.x * kGroup;
  for (std::int64_t i = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kGroup; i < n; i += stride)
    f(i);
}
// The rows of this block.
template <class F>
__device__ void for_each_row(std::int64_t rows, F f) {
  for (std::int64_t r = blockIdx.x; r < rows; r += gridDim.x) f(r);
}
// The groups of a row of this thread.
template <class F>
__device__ void for_each_group_of_row(std::int64_t cols, F f) {
  for (std::int64_t c = std::int64_t{threadIdx.x} * kGroup; c < cols; c += std::int64_t{blockDim.x} * kGroup)
    f(c);
}
// The columns of a row of this thread.
template <class F>
__device__ void for_each_column(std::int64_t cols, F f) {
  for (std::int64_t c = threadIdx.x; c < cols; c += blockDim.x) f(c);
}

// ---- dropout

// The rule of Dropout in tensor/kernels.h: a word is below p 2^32 exactly when it does not exceed `last`.
template <class T>
struct Mask {
  std::uint32_t last = 0;
  T keeps = 1;
  bool off = true;
  RandomSite site;
};

template <class T>
Mask<T> mask_of(const Dropout& dropout) {
  if (dropout.p == 0) return {};
  const double bound = dropout.p * 4294967296.0;
  const std::uint64_t whole = static_cast<std::uint64_t>(bound);
  return {static_cast<std::uint32_t>(static_cast<double>(whole) < bound ? whole : whole - 1),
          static_cast<T>(1.0 / (1.0 - dropout.p)), false, dropout.site};
}

__device__ inline PhiloxBlock words_of(const RandomSite& site, std::int64_t block) {
  const std::uint64_t b = static_cast<std::uint64_t>(block);
  return philox_block(static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(b >> 32), site.step,
                      site.site, static_cast<std::uint32_t>(site.seed),
                      static_cast<std::uint32_t>(site.seed >> 32));
}
// Word i < 4. Asked so instead of words.x[i], the words stay in registers.
__device__ inline std::uint32_t word_of(const PhiloxBlock& words, std::int64_t i) {
  const std::uint32_t low = i % 2 == 0 ? words.x[0] : words.x[1], high = i % 2 == 0 ? words.x[2] : words.x[3];
  return i < 2 ? low : high;
}
// The factors of elements i .. i + 3, i any.
template <class T>
__device__ Group<T> factors(const Mask<T>& mask, std::int64_t i) {
  Group<T> g;
  PhiloxBlock words = words_of(mask.site, i / 4);
  int next = static_cast<int>(i % 4);
  for (int l = 0; l < kGroup; ++l) {
    if (next == 4) {
      words = words_of(mask.site, i / 4 + 1);
      next = 0;
    }
    g.x[l] = words.x[next++] <= mask.last ? T(0) : mask.keeps;
  }
  return g;
}
template <class T>
__device__ T factor(const Mask<T>& mask, std::int64_t i) {
  if (mask.off) return T(1);
  const PhiloxBlock words = words_of(mask.site, i / 4);
  return word_of(words, i % 4) <= mask.last ? T(0) : mask.keeps;
}

// ---- sums (or the largest) over the lanes of a warp and the threads of a block, the same in each

struct Add {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Larger {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

template <class Op, class T>
__device__ T reduce_warp(T value, Op op) {
  for (int lanes = 16; lanes > 0; lanes /= 2) value = op(value, __shfl_xor_sync(kAllLanes, value, lanes));
  return value;
}

// Every thread of the block comes here.
template <class Op, class T>
__device__ T reduce_block(T value, Op op) {
  __shared__ T of_warp[kThreads / kWarp];
  value = reduce_warp(value, op);
  if (blockDim.x == kWarp) return value;
  __syncthreads();  // of_warp may still be read from the time before
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = of_warp[0];
  for (unsigned w = 1; w < blockDim.x / kWarp; ++w) value = op(value, of_warp[w]);
  return value;
}

// The dynamic shared memory of the block.
template <class T>
__device__ T* shared_memory() {
#if defined(__CUDACC__)
  extern __shared__ __align__(16) unsigned char bytes[];
  return reinterpret_cast<T*>(bytes);
#else
  return static_cast<T*>(emulated_shared_memory());
#endif
}

}  // namespace costeff::COSTEFF_GPU
