// Lists in messages.
#pragma once

#include <string>
#include <string_view>

namespace costeff {

// The items, with `separator` between two of them.
template <class Items>
std::string join(const Items& items, std::string_view separator) {
  std::string out;
  for (const auto& item : items) {
    if (!out.empty()) out += separator;
    out += item;
  }
  return out;
}

}  // namespace costeff
