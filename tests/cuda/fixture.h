// What tests of CUDA kernels share: each runs against the CPU's in f64, on the emulated device, and on a GPU
// where there is one.
#pragma once

#include <cuda_runtime.h>  // the emulated one
#include <fmt/format.h>

#include "tests/cuda/sides.h"
#include "tests/tensor/batch.h"

namespace costeff::testing {

template <class T>
struct Emulated {
  using Value = T;
  static constexpr bool kGpu = false;
};
template <class T>
struct Gpu {
  using Value = T;
  static constexpr bool kGpu = true;
};

template <class D>
class CudaKernel : public ::testing::Test {
 protected:
  using T = typename D::Value;

  void SetUp() override {
    if (D::kGpu && !cuda::unavailable().empty()) GTEST_SKIP() << cuda::unavailable();
  }

  // Calls body(side) on this device and on the CPU, and compares.
  template <class F>
  void compare(const std::string& what, F&& body, double limit = tolerance<T>(1e-5)) {
    if constexpr (D::kGpu) {
      testing::compare(cuda::kernels<T>(0), cuda::memory(0), what, body, limit, [](bool /*again*/) {});
    } else {
      static const Kernels<T> kernels = emulated::kernels<T>();
      static HostMemory memory;
      // Threads in one order, then in another: the result is the same to the bit.
      testing::compare(kernels, memory, what, body, limit, [](bool again) {
        emulation::set_order(again ? emulation::Order::shuffled : emulation::Order::forward);
      });
    }
  }

  static std::vector<Size> sizes() {
    std::vector<Size> all{{0, 5}, {1, 1}, {1, 3}, {5, 1}, {3, 8}, {13, 48}, {4, 129}, {67, 5}, {2, 1030}};
    if (D::kGpu) all.insert(all.end(), {{257, 768}, {1031, 33}, {2, 30522}, {9001, 4}});
    return all;
  }
  static std::vector<std::int64_t> lengths() {
    std::vector<std::int64_t> all{0, 1, 31, 33, 1000, 1028};
    if (D::kGpu) all.insert(all.end(), {65537, 1'000'003});
    return all;
  }
};
using Devices = ::testing::Types<Emulated<float>, Emulated<double>, Gpu<float>, Gpu<double>>;
struct Names {
  template <class D>
  static std::string GetName(int /*index*/) {  // NOLINT(readability-identifier-naming): gtest calls it so
    return std::string(D::kGpu ? "Gpu" : "Emulated") + (sizeof(typename D::Value) == 4 ? "F32" : "F64");
  }
};

inline std::string label(const char* kernel, Size s, double beta = 0) {
  return fmt::format("{} [{}, {}] beta {}", kernel, s.rows, s.cols, beta);
}

template <class S>
Sequences on(S& side, const Batch& b) {
  return {static_cast<std::int64_t>(b.lengths.size()), side.raw(b.offsets), side.raw(b.lengths),
          side.raw(b.pairs), b.longest};
}

}  // namespace costeff::testing
