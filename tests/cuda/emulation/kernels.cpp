#include "tests/cuda/emulation/kernels.h"

#include <cstdlib>
#include <vector>

#include "tensor/cuda/table.h"

namespace costeff::emulated {

cudaStream_t stream() {
  return nullptr;
}
void* scratch(std::size_t bytes) {
  static std::vector<unsigned char> memory;
  memory.assign(bytes + 16, 0xff);  // NaN, as no kernel may read what it did not write
  return memory.data();
}
void check_launch(cudaError_t /*result*/, const char* /*kernel*/, const Launch& /*launch*/) {}
void check(cudaError_t /*result*/, const char* /*call*/) {}

template <class T>
Kernels<T> kernels() {
  Kernels<T> k{};
  fill_families(k);
  return k;
}
template Kernels<float> kernels<float>();
template Kernels<double> kernels<double>();

}  // namespace costeff::emulated
