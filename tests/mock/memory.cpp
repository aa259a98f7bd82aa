#include "tests/mock/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "tensor/error.h"
#include "tests/mock/mock.h"

namespace costeff::testing::mock {
namespace {

constexpr std::size_t kPage = 4096;

class Memory : public DeviceMemory {
 public:
  Memory()
      : begin_(static_cast<std::byte*>(
            mmap(nullptr, kMemory, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))),
        used_(begin_) {
    if (begin_ == MAP_FAILED) fail("mock: no {} bytes of address space", kMemory);
  }

  // The first gap that has room, with a page behind that belongs to nobody; filled with NaN.
  void* allocate(std::size_t bytes) override {
    const std::size_t size = (std::max<std::size_t>(bytes, 1) + kPage - 1) / kPage * kPage;
    if (held_ + bytes > limit) return nullptr;
    std::byte* at = begin_;
    for (const auto& [data, length] : live_) {
      if (static_cast<std::size_t>(data - at) >= size + kPage) break;
      at = data + (length + kPage - 1) / kPage * kPage + kPage;
    }
    if (at + size + kPage > begin_ + kMemory) return nullptr;
    used_ = std::max(used_, at + size);
    live_[at] = bytes;
    held_ += bytes;
    const Open open;
    std::memset(at, 0xff, size);
    return at;
  }
  void release(void* data) noexcept override {
    const auto found = live_.find(static_cast<std::byte*>(data));
    held_ -= found->second;
    live_.erase(found);
  }
  void copy_in(void* device, const void* host, std::size_t bytes) override {
    require_held("copy_in", "device", device, bytes);
    require_host("copy_in", host);
    ++counts.copies_in;
    const Open open;
    std::memcpy(device, host, bytes);
  }
  void copy_out(void* host, const void* device, std::size_t bytes) override {
    require_host("copy_out", host);
    require_held("copy_out", "device", device, bytes);
    ++counts.copies_out;
    const Open open;
    std::memcpy(host, device, bytes);
  }
  void copy_within(void* to, const void* from, std::size_t bytes) override {
    require_held("copy_within", "to", to, bytes);
    require_held("copy_within", "from", from, bytes);
    const Open open;
    std::memmove(to, from, bytes);
  }
  void zero(void* device, std::size_t bytes) override {
    require_held("zero", "device", device, bytes);
    const Open open;
    std::memset(device, 0, bytes);
  }
  void synchronise() override {}

  // Whether the bytes are inside one live allocation.
  bool holds(const void* data, std::size_t bytes) const {
    auto next = live_.upper_bound(static_cast<std::byte*>(const_cast<void*>(data)));
    if (next == live_.begin()) return false;
    const auto& [begin, length] = *--next;
    const auto at = static_cast<std::size_t>(static_cast<const std::byte*>(data) - begin);
    return at <= length && bytes <= length - at;
  }
  void protect(int access) const {
    if (used_ > begin_) mprotect(begin_, static_cast<std::size_t>(used_ - begin_), access);
  }

  Counts counts;
  std::size_t limit = kMemory;
  int users = 0;  // Opens that live

 private:
  void require_host(const char* call, const void* host) const {
    const auto* at = static_cast<const std::byte*>(host);
    if (at >= begin_ && at < begin_ + kMemory) fail("mock: {}: host is memory of the device", call);
  }

  std::byte* begin_;
  std::byte* used_;  // nothing was ever allocated beyond
  std::size_t held_ = 0;
  std::map<std::byte*, std::size_t> live_;
};

// Never destroyed: tensors may outlive any order of destruction.
Memory& the_memory() {
  static auto* only = new Memory;
  return *only;
}

}  // namespace

DeviceMemory& memory() {
  return the_memory();
}

void require_held(const char* call, const char* argument, const void* data, std::size_t bytes) {
  if (!the_memory().holds(data, bytes))
    fail("mock: {}: {}: {} bytes at {} are not inside one allocation of the device", call, argument, bytes,
         data);
}

Open::Open() {
  if (the_memory().users++ == 0) the_memory().protect(PROT_READ | PROT_WRITE);
}

Open::~Open() {
  if (--the_memory().users == 0) the_memory().protect(PROT_NONE);
}

void count_kernel() {
  ++the_memory().counts.kernels;
}

Counts counts() {
  return the_memory().counts;
}

void set_memory(std::size_t bytes) {
  the_memory().limit = bytes;
}

}  // namespace costeff::testing::mock
