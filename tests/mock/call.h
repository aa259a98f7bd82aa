// One call of a kernel: its arrays are named, then checked against each other, then it runs.
#pragma once

#include <cstdint>
#include <vector>

#include "tensor/error.h"
#include "tests/mock/memory.h"

namespace costeff::testing::mock {

class Call {
 public:
  explicit Call(const char* kernel) : kernel_(kernel) {}

  template <class U>
  void in(const char* name, const U* data, std::int64_t count) {
    add(name, data, count, sizeof(U), alignof(U), Role::in);
  }
  template <class U>
  void out(const char* name, U* data, std::int64_t count) {
    add(name, data, count, sizeof(U), alignof(U), Role::out);
  }
  // An output that may be an input itself.
  template <class U>
  void in_place(const char* name, U* data, std::int64_t count) {
    add(name, data, count, sizeof(U), alignof(U), Role::in_place);
  }
  // Those that may be null.
  template <class U>
  void optional_in(const char* name, const U* data, std::int64_t count) {
    if (data != nullptr) in(name, data, count);
  }
  template <class U>
  void optional_out(const char* name, U* data, std::int64_t count) {
    if (data != nullptr) out(name, data, count);
  }
  // An index array; one more than the largest index in it.
  std::int64_t index(const char* name, const std::int32_t* data, std::int64_t count) {
    in(name, data, count);
    const Open open;
    std::int64_t rows = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      if (data[i] < 0) fail("mock: {}: {}[{}] is {}", kernel_, name, i, data[i]);
      rows = std::max(rows, std::int64_t{data[i]} + 1);
    }
    return rows;
  }

  template <class F>
  auto run(F&& f) const {
    require_apart();
    count_kernel();
    const Open open;
    return f();
  }

 private:
  enum class Role : std::uint8_t { in, out, in_place };
  struct Argument {
    const char* name;
    const std::byte* begin;
    const std::byte* end;
    Role role;
  };

  void add(const char* name, const void* data, std::int64_t count, std::size_t size, std::size_t alignment,
           Role role) {
    if (count < 0) fail("mock: {}: {} has {} elements", kernel_, name, count);
    if (count == 0) return;
    const std::size_t bytes = static_cast<std::size_t>(count) * size;
    require_held(kernel_, name, data, bytes);
    if (reinterpret_cast<std::uintptr_t>(data) % alignment != 0)
      fail("mock: {}: {} at {} is not aligned to {} bytes", kernel_, name, data, alignment);
    const auto* begin = static_cast<const std::byte*>(data);
    arguments_.push_back({name, begin, begin + bytes, role});
  }

  void require_apart() const {
    for (const Argument& a : arguments_) {
      for (const Argument& b : arguments_) {
        if (&a == &b || a.role == Role::in || a.begin >= b.end || b.begin >= a.end) continue;
        const bool itself = a.begin == b.begin && a.end == b.end;
        if (a.role == Role::in_place && b.role == Role::in && itself) continue;
        fail("mock: {}: {}, which it writes, overlaps {}: {} and {} bytes", kernel_, a.name, b.name,
             a.end - a.begin, b.end - b.begin);
      }
    }
  }

  const char* kernel_;
  std::vector<Argument> arguments_;
};

}  // namespace costeff::testing::mock
