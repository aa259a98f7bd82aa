// CUDA in a build that has none.
#include "tensor/cuda/runtime.h"
#include "tensor/error.h"

namespace costeff::cuda {

std::string unavailable() {
  return "this build of costeff has no CUDA: it was configured where there was no nvcc";
}

std::vector<DeviceInfo> devices() {
  return {};
}

DeviceMemory& memory(int /*index*/) {
  fail("{}", unavailable());
}

template <>
const Kernels<float>& kernels<float>(int /*index*/) {
  fail("{}", unavailable());
}
template <>
const Kernels<double>& kernels<double>(int /*index*/) {
  fail("{}", unavailable());
}

}  // namespace costeff::cuda
