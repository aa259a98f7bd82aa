#include "tensor/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>

#include "tensor/error.h"

namespace costeff {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
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

class CpuCache {
 public:
  // `capacity` receives the block's true size; with `exact`, that is the bound of the class of `bytes`.
  void* allocate(std::size_t bytes, std::size_t& capacity, bool exact) {
    const SizeClass wanted = size_class(bytes);
    if (wanted.index >= kClasses) fail("cannot allocate {} bytes", bytes);
    const std::lock_guard lock(mutex_);
    // A cached block up to half as large again will do: batches of real sentences differ in size from step to
    // step.
    const int last = std::min(wanted.index + (exact ? 0 : 4), kClasses - 1);
    for (int i = wanted.index; i <= last; ++i) {
      Block*& head = free_[static_cast<std::size_t>(i)];
      if (head == nullptr) continue;
      Block* block = head;
      head = block->next;
      capacity = block->bytes;
      use(capacity);
      return block;
    }
    capacity = wanted.capacity;
    void* data = request(capacity);
    use(capacity);
    return data;
  }

  void free(void* data, std::size_t capacity) noexcept {
    const std::lock_guard lock(mutex_);
    Block*& head = free_[static_cast<std::size_t>(size_class(capacity).index)];
    head = new (data) Block{head, capacity};
    stats_.in_use -= capacity;
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
  struct Block {
    Block* next;
    std::size_t bytes;
  };

  void use(std::size_t capacity) {
    stats_.in_use += capacity;
    if (stats_.in_use > stats_.peak) stats_.peak = stats_.in_use;
  }

  void* request(std::size_t capacity) {
    const std::size_t alignment = capacity >= kHugePage ? kHugePage : kAlignment;
    const std::size_t rounded = (capacity + alignment - 1) / alignment * alignment;
    void* data = std::aligned_alloc(alignment, rounded);
    if (data == nullptr) {
      drop_cached();
      data = std::aligned_alloc(alignment, rounded);
    }
    if (data == nullptr) {
      fail("out of memory: {} bytes wanted, {} in use; a smaller --batch or --max-length needs less",
           capacity, stats_.in_use);
    }
    if (alignment == kHugePage) madvise(data, rounded, MADV_HUGEPAGE);
    stats_.reserved += capacity;
    ++stats_.system_requests;
    return data;
  }

  void drop_cached() {
    for (Block*& head : free_) {
      while (head != nullptr) {
        Block* block = head;
        head = block->next;
        stats_.reserved -= block->bytes;
        std::free(block);
      }
    }
  }

  std::mutex mutex_;
  std::array<Block*, kClasses> free_{};
  AllocatorStats stats_;
};

// Never destroyed: tensors with static lifetime may outlive any order of destruction.
CpuCache& cpu_cache() {
  static auto* cache = new CpuCache;
  return *cache;
}

void require_cpu(Device device) {
  if (device.type != Device::Type::cpu) fail("{}: this build of costeff has no CUDA", to_string(device));
}

}  // namespace

std::string to_string(Device device) {
  return device.type == Device::Type::cpu ? "cpu" : fmt::format("cuda:{}", device.index);
}

Storage* allocate_storage(Device device, std::size_t bytes) {
  require_cpu(device);
  auto* storage = new (allocate_cached(sizeof(Storage))) Storage;
  storage->device = device;
  try {
    storage->data = cpu_cache().allocate(bytes, storage->bytes, false);
  } catch (...) {
    free_cached(storage, sizeof(Storage));
    throw;
  }
  return storage;
}

void release_storage(Storage* storage) noexcept {
  cpu_cache().free(storage->data, storage->bytes);
  free_cached(storage, sizeof(Storage));
}

void* allocate_cached(std::size_t bytes) {
  std::size_t capacity = 0;
  return cpu_cache().allocate(bytes, capacity, true);
}

void free_cached(void* data, std::size_t bytes) noexcept {
  cpu_cache().free(data, size_class(bytes).capacity);
}

AllocatorStats allocator_stats(Device device) {
  require_cpu(device);
  return cpu_cache().stats();
}

void reset_allocator_peak(Device device) {
  require_cpu(device);
  cpu_cache().reset_peak();
}

void empty_allocator_cache(Device device) {
  require_cpu(device);
  cpu_cache().empty();
}

}  // namespace costeff
