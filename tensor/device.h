// Where a tensor lives. The device of an operation is that of its operands.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace costeff {

struct Device {
  enum class Type : std::uint8_t { cpu, cuda, mock };  // mock: one that tests install (tensor/backend.h)
  Type type = Type::cpu;
  std::int8_t index = 0;
  bool operator==(const Device&) const = default;
};

inline constexpr Device kCpu{};

std::string to_string(Device device);  // "cpu", "cuda:0"

// The device that a user's word means: "cpu", "cuda", "cuda:1", or "auto", which is the first GPU where there
// is one that can be used, else the CPU. Throws UsageError for another word, Error for a GPU that cannot be
// used, saying why.
Device device_named(std::string_view name);

}  // namespace costeff
