// Devices by name, and what each kind is made of: memory and kernels.
#include "tensor/device.h"

#include <sys/mman.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "tensor/backend.h"
#include "tensor/cuda/runtime.h"
#include "tensor/device_memory.h"
#include "tensor/error.h"

namespace costeff {
namespace {

// The host's own memory. Large blocks begin at huge pages: a step's activations need fewer of them.
struct CpuMemory : DeviceMemory {
  static constexpr std::size_t kAlignment = 64;  // a line of the cache; kernels want no more
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

  void* allocate(std::size_t bytes) override {
    const std::size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    void* data = std::aligned_alloc(alignment, rounded);
    if (data != nullptr && alignment == kHugePage) madvise(data, rounded, MADV_HUGEPAGE);
    return data;
  }
  void release(void* data) noexcept override { std::free(data); }
  void copy_in(void* device, const void* host, std::size_t bytes) override {
    std::memmove(device, host, bytes);
  }
  void copy_out(void* host, const void* device, std::size_t bytes) override {
    std::memmove(host, device, bytes);
  }
  void copy_within(void* to, const void* from, std::size_t bytes) override { std::memmove(to, from, bytes); }
  void zero(void* device, std::size_t bytes) override { std::memset(device, 0, bytes); }
  void synchronise() override {}
};

std::optional<MockBackend>& mock() {
  static std::optional<MockBackend> backend;
  return backend;
}

const MockBackend& installed_mock() {
  if (!mock()) fail("there is no mock device: a test installs it first");
  return *mock();
}

// The N of "cuda:N"; 0 for "cuda".
std::optional<std::int8_t> cuda_index(std::string_view name) {
  constexpr std::string_view kCuda = "cuda";
  if (!name.starts_with(kCuda)) return std::nullopt;
  name.remove_prefix(kCuda.size());
  if (name.empty()) return std::int8_t{0};
  std::int8_t index = 0;
  const auto [end, code] = std::from_chars(name.data() + 1, name.data() + name.size(), index);
  const bool whole = code == std::errc() && end == name.data() + name.size();
  return name[0] == ':' && whole && index >= 0 ? std::optional(index) : std::nullopt;
}

}  // namespace

std::string to_string(Device device) {
  switch (device.type) {
    case Device::Type::cuda:
      return fmt::format("cuda:{}", device.index);
    case Device::Type::mock:
      return "mock";
    case Device::Type::cpu:
      break;
  }
  return "cpu";
}

Device device_named(std::string_view name) {
  if (name == "cpu") return kCpu;
  if (name == "mock" && mock()) return {Device::Type::mock, 0};
  const std::string reason = cuda::unavailable();
  if (name == "auto") return reason.empty() ? Device{Device::Type::cuda, 0} : kCpu;
  const std::optional<std::int8_t> index = cuda_index(name);
  if (!index) fail_usage("device {}: must be auto, cpu, cuda, or cuda:N for the N-th GPU from 0", name);
  if (!reason.empty()) fail("device {}: {}; cpu computes without a GPU", name, reason);
  const std::size_t count = cuda::devices().size();
  if (static_cast<std::size_t>(*index) >= count)
    fail("device {}: there are {} GPUs, counted from 0 (costeff devices lists them)", name, count);
  return {Device::Type::cuda, *index};
}

DeviceMemory& device_memory(Device device) {
  static CpuMemory cpu;
  switch (device.type) {
    case Device::Type::cuda:
      return cuda::memory(device.index);
    case Device::Type::mock:
      return *installed_mock().memory;
    case Device::Type::cpu:
      break;
  }
  return cpu;
}

void install_mock(const MockBackend& backend) {
  mock() = backend;
}

template <>
const Kernels<float>& kernels<float>(Device device) {
  static const Kernels<float>& cpu = cpu_kernels<float>(best_isa());
  if (device.type == Device::Type::cpu) return cpu;
  return device.type == Device::Type::cuda ? cuda::kernels<float>(device.index) : *installed_mock().f32;
}
template <>
const Kernels<double>& kernels<double>(Device device) {
  static const Kernels<double>& cpu = cpu_kernels<double>(best_isa());
  if (device.type == Device::Type::cpu) return cpu;
  return device.type == Device::Type::cuda ? cuda::kernels<double>(device.index) : *installed_mock().f64;
}

}  // namespace costeff
