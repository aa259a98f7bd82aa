// The caching allocator, one for each device: memory that a tensor gives back is kept and handed to the next
// tensor of its size class, so that a training step in steady state asks the system for nothing.
//
// A block that is handed on may still be read by kernels that were asked for before: on a device whose work
// happens in order (tensor/device_memory.h), what the next owner asks for comes after them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tensor/device.h"

namespace costeff {

// A reference-counted block of device memory, aligned as its DeviceMemory aligns, uninitialised.
struct Storage {
  std::atomic<int> references{0};
  Device device;
  std::size_t bytes = 0;  // capacity: at least what was asked for
  void* data = nullptr;
};

struct AllocatorStats {
  std::size_t in_use = 0;             // bytes held by tensors
  std::size_t peak = 0;               // the most that was in use at once
  std::size_t reserved = 0;           // bytes taken from the device, in use or cached
  std::uint64_t system_requests = 0;  // how often the device was asked
};

// Throws Error when memory runs out, also after the cached blocks were given back, and when the device cannot
// be used.
Storage* allocate_storage(Device device, std::size_t bytes);
void release_storage(Storage* storage) noexcept;  // back to the cache

AllocatorStats allocator_stats(Device device);
void reset_allocator_peak(Device device);
void empty_allocator_cache(Device device);  // gives cached blocks back to the device

// A standard allocator over the cache for the CPU, for the engine's own vectors.
void* allocate_cached(std::size_t bytes);
void free_cached(void* data, std::size_t bytes) noexcept;

template <class T>
struct CachedAllocator {
  using value_type = T;
  CachedAllocator() = default;
  template <class U>
  explicit(false) CachedAllocator(const CachedAllocator<U>& /*other*/) {}
  T* allocate(std::size_t n) { return static_cast<T*>(allocate_cached(n * sizeof(T))); }
  void deallocate(T* p, std::size_t n) noexcept { free_cached(p, n * sizeof(T)); }
  bool operator==(const CachedAllocator&) const = default;
};

template <class T>
using CachedVector = std::vector<T, CachedAllocator<T>>;

}  // namespace costeff
