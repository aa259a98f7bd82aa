// One body of a kernel's test for two sides: the device under test in T, and the CPU's kernels in f64. The
// body gets a side, makes its arrays there, calls one kernel and returns; the side's outputs are then
// compared.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <string>
#include <vector>

#include "tensor/backend.h"
#include "tensor/cuda/runtime.h"
#include "tests/cuda/emulation/kernels.h"
#include "tests/tensor/kernel_test.h"

namespace costeff::testing {

// The host's memory, for the CPU's kernels and the emulated device.
struct HostMemory : DeviceMemory {
  void* allocate(std::size_t bytes) override { return std::aligned_alloc(256, (bytes + 255) / 256 * 256); }
  void release(void* data) noexcept override { std::free(data); }
  void copy_in(void* device, const void* host, std::size_t bytes) override {
    std::memcpy(device, host, bytes);
  }
  void copy_out(void* host, const void* device, std::size_t bytes) override {
    std::memcpy(host, device, bytes);
  }
  void copy_within(void* to, const void* from, std::size_t bytes) override { std::memmove(to, from, bytes); }
  void zero(void* device, std::size_t bytes) override { std::memset(device, 0, bytes); }
  void synchronise() override {}
};

template <class T>
class Side {
 public:
  using Value = T;
  Side(const Kernels<T>& kernels, DeviceMemory& memory) : k(kernels), memory_(memory) {}
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;
  ~Side() {
    for (const Block& b : blocks_) memory_.release(b.device);
  }

  const Kernels<T>& k;

  const T* input(const Doubles& values) { return place(converted(values), "input"); }
  // An input `shift` elements off a whole group.
  const T* input_off(const Doubles& values, std::int64_t shift) {
    Doubles moved(static_cast<std::size_t>(shift), 0.0);
    moved.insert(moved.end(), values.begin(), values.end());
    return place(converted(moved), "input") + shift;
  }
  template <class U>
  U* raw(const std::vector<U>& values, const char* name = "raw") {
    return place(values, name);
  }
  // What a kernel writes: before, NaN where beta is 0, else numbers.
  T* output(const char* name, std::int64_t n, double beta, unsigned seed = 99) {
    Doubles old(static_cast<std::size_t>(n), std::numeric_limits<double>::quiet_NaN());
    if (beta != 0) {
      const auto floats = random_values<float>(n, seed);
      old.assign(floats.begin(), floats.end());
    }
    return updated(name, old);
  }
  T* updated(const char* name, const Doubles& old) {
    T* p = place(converted(old), name);
    blocks_.back().output = true;
    return p;
  }
  double* scalar(const char* name) { return scalars(name, 1); }
  double* scalars(const char* name, std::size_t n) {
    double* p = place(Doubles(n, std::numeric_limits<double>::quiet_NaN()), name);
    blocks_.back().output = blocks_.back().of_doubles = true;
    return p;
  }
  std::int32_t* indices_out(const char* name, const std::vector<std::int32_t>& old) {
    std::int32_t* p = place(old, name);
    blocks_.back().output = blocks_.back().of_indices = true;
    return p;
  }

  bf16* bf16_out(const char* name, std::int64_t n) {
    bf16* p = place(std::vector<bf16>(static_cast<std::size_t>(n), bf16{0x7fff}), name);
    blocks_.back().output = blocks_.back().of_bf16 = true;
    return p;
  }

  // The last output is no output but scratch of the kernel.
  void forget() { blocks_.back().output = false; }

  struct Output {
    std::string name;
    Doubles values;
  };
  // Of the outputs, in the order in which they were made. Fails the test when a kernel wrote beside an array.
  std::vector<Output> outputs(const std::string& what) {
    std::vector<Output> all;
    for (const Block& b : blocks_) {
      std::vector<unsigned char> bytes(b.bytes + 2 * kGuard);
      memory_.copy_out(bytes.data(), b.device, bytes.size());
      for (std::size_t i = 0; i < kGuard; ++i) {
        EXPECT_EQ(bytes[i], kPattern) << what << ": wrote before the array \"" << b.name << "\"";
        EXPECT_EQ(bytes[kGuard + b.bytes + i], kPattern) << what << ": wrote after \"" << b.name << "\"";
        if (::testing::Test::HasFailure()) break;
      }
      if (!b.output) continue;
      const unsigned char* data = bytes.data() + kGuard;
      all.push_back({b.name, b.of_indices   ? read<std::int32_t>(data, b.bytes)
                             : b.of_bf16    ? read<bf16>(data, b.bytes)
                             : b.of_doubles ? read<double>(data, b.bytes)
                                            : read<T>(data, b.bytes)});
    }
    return all;
  }

 private:
  static constexpr std::size_t kGuard = 256;       // bytes before and after each array
  static constexpr unsigned char kPattern = 0xff;  // NaN, should a kernel read it

  struct Block {
    std::string name;
    void* device;
    std::size_t bytes;
    bool output = false, of_doubles = false, of_indices = false, of_bf16 = false;
  };

  static std::vector<T> converted(const Doubles& values) {
    return std::vector<T>(values.begin(), values.end());
  }
  template <class U>
  static Doubles read(const unsigned char* data, std::size_t bytes) {
    std::vector<U> values(bytes / sizeof(U));
    if (bytes > 0) std::memcpy(values.data(), data, bytes);
    if constexpr (std::is_same_v<U, bf16>) {
      Doubles wide;
      for (const bf16 x : values) wide.push_back(to_f32(x));
      return wide;
    } else {
      return Doubles(values.begin(), values.end());
    }
  }
  template <class U>
  U* place(const std::vector<U>& values, const char* name) {
    const std::size_t bytes = values.size() * sizeof(U);
    std::vector<unsigned char> all(bytes + 2 * kGuard, kPattern);
    if (bytes > 0) std::memcpy(all.data() + kGuard, values.data(), bytes);
    void* device = memory_.allocate(all.size());
    memory_.copy_in(device, all.data(), all.size());
    blocks_.push_back({name, device, bytes});
    return reinterpret_cast<U*>(static_cast<unsigned char*>(device) + kGuard);
  }

  DeviceMemory& memory_;
  std::deque<Block> blocks_;
};

// Runs body on the device twice, before(again) before each, and on the CPU in f64. Twice gives the same bits;
// device and CPU agree to `limit`, relative to numbers above 1.
template <class T, class F, class Before>
void compare(const Kernels<T>& kernels, DeviceMemory& memory, const std::string& what, F&& body, double limit,
             Before&& before) {
  HostMemory host;
  Side<double> cpu(cpu_kernels<double>(best_isa()), host);
  Side<T> device(kernels, memory), again(kernels, memory);
  body(cpu);
  before(false);
  body(device);
  before(true);
  body(again);
  const auto expected = cpu.outputs(what + " on the CPU");
  const auto actual = device.outputs(what);
  const auto repeated = again.outputs(what);
  ASSERT_FALSE(actual.empty());
  for (std::size_t o = 0; o < actual.size(); ++o) {
    const Doubles &a = actual[o].values, &e = expected[o].values, &r = repeated[o].values;
    ASSERT_EQ(a.size(), e.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      ASSERT_EQ(std::memcmp(&a[i], &r[i], sizeof(double)), 0)
          << what << ": " << actual[o].name << "[" << i << "] of " << a.size() << " is " << a[i]
          << ", and a second time " << r[i];
      const double error = std::abs(a[i] - e[i]) / std::max(1.0, std::abs(e[i]));
      const bool same =
          std::isfinite(e[i]) ? error <= limit : a[i] == e[i] || (std::isnan(a[i]) && std::isnan(e[i]));
      ASSERT_TRUE(same) << what << ": " << actual[o].name << "[" << i << "] of " << a.size() << " is " << a[i]
                        << ", the CPU's " << e[i] << ", off by " << error << " where " << limit
                        << " is allowed";
    }
  }
}

// Numbers that f32 holds, so that both sides get the same.
inline Doubles numbers(std::int64_t n, unsigned seed, double spread = 1) {
  const auto floats = random_values<float>(n, seed, spread);
  return Doubles(floats.begin(), floats.end());
}

}  // namespace costeff::testing
