// What the rest of the tree needs of CUDA. No CUDA header is included here: a build without it has
// tensor/cuda_absent.cpp instead.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tensor/device_memory.h"
#include "tensor/kernels.h"

namespace costeff::cuda {

struct DeviceInfo {
  std::string name;
  int major = 0;  // compute capability
  int minor = 0;
  std::size_t memory = 0;  // bytes
  std::size_t free_memory = 0;
  int multiprocessors = 0;
  int driver = 0;  // versions as CUDA counts them: 13000 is 13.0
  int runtime = 0;
};

// Why no device can be used, for a user; empty when one can.
std::string unavailable();
std::vector<DeviceInfo> devices();  // none where unavailable() says why
// Of one device; throws Error when it cannot be used.
DeviceMemory& memory(int index);
template <class T>
const Kernels<T>& kernels(int index);

template <>
const Kernels<float>& kernels<float>(int index);
template <>
const Kernels<double>& kernels<double>(int index);

}  // namespace costeff::cuda
