// What the engine needs of a device's memory: one implementation per kind of device.
//
// Everything above sees memory through the caching allocator (tensor/allocator.h) and Tensor; kernels get
// pointers. Copies and kernels of one device happen in the order in which they are asked for.
#pragma once

#include <cstddef>

#include "tensor/device.h"

namespace costeff {

struct DeviceMemory {
  virtual ~DeviceMemory() = default;
  // Aligned to 256 bytes (on the CPU 64); nullptr when it has no more.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* data) noexcept = 0;
  // Ordered after, and before, kernels of this device; `host` may change once it returned.
  virtual void copy_in(void* device, const void* host, std::size_t bytes) = 0;
  virtual void copy_out(void* host, const void* device,
                        std::size_t bytes) = 0;  // returns when they are there
  virtual void copy_within(void* to, const void* from, std::size_t bytes) = 0;
  virtual void zero(void* device, std::size_t bytes) = 0;
  virtual void synchronise() = 0;
};

// Throws Error where the build or the machine has none, saying why and what to do.
DeviceMemory& device_memory(Device device);

}  // namespace costeff
