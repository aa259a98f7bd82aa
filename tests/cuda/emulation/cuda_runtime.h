// CUDA on the host, as far as the kernels of tensor/cuda need it: they are compiled by the host compiler with
// this in place of NVIDIA's header, and run. The threads of a block are fibres that change at barriers only;
// blocks, and the threads between two barriers, run in an order that set_order() chooses, so that a missing
// barrier shows. A barrier or shuffle that not all threads reach ends the program and says so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>

// NOLINTBEGIN(readability-identifier-naming): the names are NVIDIA's

#define __global__
#define __device__
#define __host__
#define __shared__ static

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;  // of the fibre that runs

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess };
enum cudaMemcpyKind { cudaMemcpyDeviceToHost };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

namespace emulation {

enum class Order : std::uint8_t { forward, shuffled };
void set_order(Order order);

void run(const cudaLaunchConfig_t& config, const std::function<void()>& kernel);
void wait_for_block();
void wait_for_warp();
// What the lanes of this warp hand each other: `put` before a barrier, `get` behind it, any number of times.
void put(std::uint64_t value);
std::uint64_t get(unsigned lane);
unsigned lane();
int& slot_of_thread(unsigned thread);

}  // namespace emulation

void* emulated_shared_memory();

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  emulation::run(*config, [&] { kernel(arguments...); });
  return cudaSuccess;
}
template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*)(Parameters...), cudaFuncAttribute, int) {
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind,
                                   cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) {
  return cudaSuccess;
}

inline void __syncthreads() {
  emulation::wait_for_block();
}
inline void __syncwarp() {
  emulation::wait_for_warp();
}

template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  static_assert(sizeof(T) <= 8);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  emulation::put(bits);
  emulation::wait_for_warp();
  bits = emulation::get(emulation::lane() ^ static_cast<unsigned>(mask));
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline unsigned __ballot_sync(unsigned, bool mine) {
  emulation::put(mine ? 1 : 0);
  emulation::wait_for_warp();
  unsigned all = 0;
  for (unsigned l = 0; l < 32; ++l) all |= static_cast<unsigned>(emulation::get(l)) << l;
  return all;
}
inline int __syncthreads_or(int mine) {
  emulation::slot_of_thread(threadIdx.x) = mine;
  emulation::wait_for_block();
  int any = 0;
  for (unsigned t = 0; t < blockDim.x; ++t) any |= emulation::slot_of_thread(t);
  emulation::wait_for_block();
  return any != 0 ? 1 : 0;
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}

// PTX's mma.m16n8k16 on bf16 (tensor/cuda/mma.h says which lane holds what): c += a b.
void emulated_mma(const unsigned (&a)[4], const unsigned (&b)[2], float (&c)[4]);

// NOLINTEND(readability-identifier-naming)
