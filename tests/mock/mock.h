// A device that needs no GPU and forgives nothing: for proving that the engine runs on one.
//
// Its memory is pages of its own, which can be touched only while one of its kernels or copies runs: the host
// that reads or writes it is killed by SIGSEGV. Its kernels are the CPU's, so its bits are too; before each
// runs, the contract of the call is checked (tensor/kernels.h): every array lies, as long as the shapes make
// it, inside one live allocation, aligned to its elements; no output overlaps another argument, but where it
// may be an input. What is violated throws Error naming kernel, argument and sizes.
#pragma once

#include <cstddef>

#include "tensor/device.h"

namespace costeff::testing::mock {

inline constexpr Device kMock{Device::Type::mock, 0};

// Makes Device::Type::mock this device. As often as one likes.
void install();

struct Counts {
  std::size_t copies_in = 0;   // from the host
  std::size_t copies_out = 0;  // to the host; each waits for the device
  std::size_t kernels = 0;
};
Counts counts();  // since the program began

// Allocations beyond so many bytes in all are refused from now on.
void set_memory(std::size_t bytes);
inline constexpr std::size_t kMemory = std::size_t{1} << 30;  // what there is at first, and at most

}  // namespace costeff::testing::mock
