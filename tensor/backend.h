// Which kernels run: the backend of a device, chosen by what the machine has.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tensor/device_memory.h"
#include "tensor/kernels.h"

namespace costeff {

// The kernels of a device; throws Error when this build has none for it.
template <class T>
const Kernels<T>& kernels(Device device);

template <>
const Kernels<float>& kernels<float>(Device device);
template <>
const Kernels<double>& kernels<double>(Device device);

// The device that tests run the engine on where there is no GPU (tests/mock): what Device::Type::mock means
// from now on. Nothing is taken over; all must live as long as tensors on it do.
struct MockBackend {
  DeviceMemory* memory = nullptr;
  const Kernels<float>* f32 = nullptr;
  const Kernels<double>* f64 = nullptr;
};
void install_mock(const MockBackend& backend);

// Instruction sets the CPU kernels were compiled for, as in x86-64-v2 (SSE4.2), v3 (AVX2, FMA), v4 (AVX-512).
enum class Isa : std::uint8_t { v2, v3, v4 };

std::string_view name_of(Isa isa);
Isa best_isa();  // what this processor can run; COSTEFF_ISA=v2|v3|v4 in the environment lowers it
// The kernels of one instruction set, for comparing them; `isa` must not exceed best_isa().
template <class T>
const Kernels<T>& cpu_kernels(Isa isa);

// Prepares the process for fast kernels; call it first in main(). Some libraries read their settings from the
// environment when they are loaded, so where one is missing this sets it and starts the program again in
// place (execv): OPENBLAS_CORETYPE, because OpenBLAS 0.3.21 takes newer AMD cores for AVX2 ones;
// GOMP_SPINCOUNT, because threads that spin at a barrier make a step many times slower
// when another process wants the same cores. What the user set stays.
void tune_process(char** argv);

void set_threads(int threads);  // of kernels and OpenBLAS; throws Error below 1
int threads();
int available_cores();  // that this process may run on

struct CpuInfo {
  std::string processor;     // as the system names it
  std::string isa;           // of our kernels: "x86-64-v4 (AVX-512)"
  std::string blas;          // "OpenBLAS 0.3.21"
  std::string blas_kernels;  // "SkylakeX"
  int blas_threads = 0;      // as OpenBLAS answers
};
CpuInfo cpu_info();

}  // namespace costeff
