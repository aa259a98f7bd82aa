// Where a tensor lives. The device of an operation is that of its operands.
#pragma once

#include <cstdint>
#include <string>

namespace costeff {

struct Device {
  enum class Type : std::uint8_t { cpu, cuda };
  Type type = Type::cpu;
  std::int8_t index = 0;
  bool operator==(const Device&) const = default;
};

inline constexpr Device kCpu{};

std::string to_string(Device device);  // "cpu", "cuda:0"

}  // namespace costeff
