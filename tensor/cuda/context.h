// What kernels' host code asks of the runtime: the stream, scratch memory, and a launch that is checked.
//
// COSTEFF_GPU is the namespace of the kernels: `cuda`, or another where tests compile them for the host with
// an emulated <cuda_runtime.h>.
#pragma once

#include <cuda_runtime.h>

#include <utility>

#include "tensor/cuda/launch.h"

#ifndef COSTEFF_GPU
#define COSTEFF_GPU cuda
#endif

namespace costeff::COSTEFF_GPU {

using namespace costeff::cuda;  // launch.h

cudaStream_t stream();  // of the device that the calling thread uses
// Scratch on that device until the next call of this; it grows, which waits for the device, and stays.
void* scratch(std::size_t bytes);
// Throw Error where the result is not success: which kernel, cut how, or which call.
void check_launch(cudaError_t result, const char* kernel, const Launch& launch);
void check(cudaError_t result, const char* call);

template <class T>
T* scratch_of(std::int64_t elements) {
  return static_cast<T*>(scratch(static_cast<std::size_t>(elements) * sizeof(T)));
}

// Starts a kernel on the stream; nothing where the grid is empty.
template <class... Parameters, class... Arguments>
void launch(const char* name, const Launch& shape, void (*kernel)(Parameters...), Arguments&&... arguments) {
  if (shape.empty()) return;
  constexpr std::size_t kWithoutAsking = 48 << 10;
  if (shape.shared > kWithoutAsking) {
    check_launch(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(shape.shared)),
                 name, shape);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(shape.grid_x, shape.grid_y, shape.grid_z);
  config.blockDim = dim3(shape.threads, 1, 1);
  config.dynamicSmemBytes = shape.shared;
  config.stream = stream();
  check_launch(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), name, shape);
}

}  // namespace costeff::COSTEFF_GPU
