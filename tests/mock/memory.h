// The memory of the mock device, as its kernels' wrappers see it.
#pragma once

#include <cstddef>

#include "tensor/device_memory.h"

namespace costeff::testing::mock {

DeviceMemory& memory();

// Throws Error, in the name of a kernel or copy and of its argument, unless the bytes are inside one live
// allocation.
void require_held(const char* call, const char* argument, const void* data, std::size_t bytes);

// While one lives, all of the memory can be read and written.
class Open {
 public:
  Open();
  ~Open();
  Open(const Open&) = delete;
  Open& operator=(const Open&) = delete;
};

void count_kernel();

}  // namespace costeff::testing::mock
