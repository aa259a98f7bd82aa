#include "tensor/allocator.h"

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <mutex>
#include <new>
#include <utility>

#include "tensor/device_memory.h"
#include "tensor/error.h"

namespace costeff {
namespace {

constexpr int kClasses = 8 * 48;

// Size classes: eight to each doubling, from 128 bytes. A class's blocks all have its upper bound as
// capacity.
struct SizeClass {
  int index;
  std::size_t capacity;
};

SizeClass size_class(std::size_t bytes) {
  if (bytes < 128) bytes = 128;
  const int octave = static_cast<int>(std::bit_width(bytes - 1)) - 1;  // 2^octave < bytes <= 2^(octave + 1)
  const std::size_t step = (std::size_t{1} << octave) / 8;
  const std::size_t steps = (bytes - (std::size_t{1} << octave) + step - 1) / step;
  return {octave * 8 + static_cast<int>(steps) - 1, (std::size_t{1} << octave) + steps * step};
}

// A cached block. It stands in host memory: on the CPU in the block itself, else where the Storage of the
// block's last owner stood.
struct FreeBlock {
  FreeBlock* next;
  void* data;
  std::size_t bytes;
};
static_assert(sizeof(FreeBlock) <= sizeof(Storage));

class Cache {
 public:
  explicit Cache(Device device) : device_(device), memory_(device_memory(device)) {}

  struct Taken {
    void* data = nullptr;
    std::size_t bytes = 0;       // its true size; with `exact`, the bound of the class of what was asked for
    void* free_block = nullptr;  // where it stood in the cache; null for memory that is new
  };

  Taken take(std::size_t bytes, bool exact) {
    const SizeClass wanted = size_class(bytes);
    if (wanted.index >= kClasses) fail("cannot allocate {} bytes", bytes);
    const std::lock_guard lock(mutex_);
    // A cached block up to half as large again will do: batches of real sentences differ in size from step to
    // step.
    const int last = std::min(wanted.index + (exact ? 0 : 4), kClasses - 1);
    for (int i = wanted.index; i <= last; ++i) {
      FreeBlock*& head = free_[static_cast<std::size_t>(i)];
      if (head == nullptr) continue;
      const Taken taken{head->data, head->bytes, head};
      head = head->next;
      use(taken.bytes);
      return taken;
    }
    void* data = request(wanted.capacity);
    use(wanted.capacity);
    return {data, wanted.capacity, nullptr};
  }

  // `place` is host memory for a FreeBlock, which the cache owns from now on.
  void give(void* place, void* data, std::size_t bytes) noexcept {
    const std::lock_guard lock(mutex_);
    FreeBlock*& head = free_[static_cast<std::size_t>(size_class(bytes).index)];
    head = new (place) FreeBlock{head, data, bytes};
    stats_.in_use -= bytes;
  }

  void empty() {
    const std::lock_guard lock(mutex_);
    drop_cached();
  }

  AllocatorStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    const std::lock_guard lock(mutex_);
    stats_.peak = stats_.in_use;
  }

 private:
  void use(std::size_t capacity) {
    stats_.in_use += capacity;
    if (stats_.in_use > stats_.peak) stats_.peak = stats_.in_use;
  }

  void* request(std::size_t capacity) {
    void* data = memory_.allocate(capacity);
    if (data == nullptr) {
      drop_cached();
      data = memory_.allocate(capacity);
    }
    if (data == nullptr) {
      fail("out of memory{}: {} bytes wanted, {} in use; smaller batches or shorter sequences need less",
           device_ == kCpu ? "" : fmt::format(" on {}", to_string(device_)), capacity, stats_.in_use);
    }
    stats_.reserved += capacity;
    ++stats_.system_requests;
    return data;
  }

  void drop_cached() {
    for (FreeBlock*& head : free_) {
      while (head != nullptr) {
        const FreeBlock block = *head;
        if (block.data != head) free_cached(head, sizeof(Storage));
        head = block.next;
        stats_.reserved -= block.bytes;
        memory_.release(block.data);
      }
    }
  }

  Device device_;
  DeviceMemory& memory_;
  std::mutex mutex_;
  std::array<FreeBlock*, kClasses> free_{};
  AllocatorStats stats_;
};

// Caches are never destroyed: tensors with static lifetime may outlive any order of destruction.
Cache& cpu_cache() {
  static auto* cache = new Cache(kCpu);
  return *cache;
}

Cache& cache_of(Device device) {
  if (device == kCpu) return cpu_cache();
  static auto* mutex = new std::mutex;
  static auto* caches = new std::map<std::pair<Device::Type, int>, Cache>;
  const std::lock_guard lock(*mutex);
  return caches->try_emplace({device.type, device.index}, device).first->second;
}

}  // namespace

Storage* allocate_storage(Device device, std::size_t bytes) {
  void* place = allocate_cached(sizeof(Storage));
  Cache::Taken taken;
  try {
    taken = cache_of(device).take(bytes, false);
  } catch (...) {
    free_cached(place, sizeof(Storage));
    throw;
  }
  if (device != kCpu && taken.free_block != nullptr) free_cached(taken.free_block, sizeof(Storage));
  auto* storage = new (place) Storage;
  storage->device = device;
  storage->data = taken.data;
  storage->bytes = taken.bytes;
  return storage;
}

void release_storage(Storage* storage) noexcept {
  const Device device = storage->device;
  void* data = storage->data;
  const std::size_t bytes = storage->bytes;
  if (device != kCpu) return cache_of(device).give(storage, data, bytes);
  cpu_cache().give(data, data, bytes);
  free_cached(storage, sizeof(Storage));
}

void* allocate_cached(std::size_t bytes) {
  return cpu_cache().take(bytes, true).data;
}

void free_cached(void* data, std::size_t bytes) noexcept {
  cpu_cache().give(data, data, size_class(bytes).capacity);
}

AllocatorStats allocator_stats(Device device) {
  return cache_of(device).stats();
}

void reset_allocator_peak(Device device) {
  cache_of(device).reset_peak();
}

void empty_allocator_cache(Device device) {
  cache_of(device).empty();
}

}  // namespace costeff
