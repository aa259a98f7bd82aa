// The methods that `costeff run --method` knows.
#pragma once

#include <span>
#include <string_view>

#include "costeff/train/method.h"

namespace costeff {

std::span<const Method> all_methods();             // the first is the default
const Method& find_method(std::string_view name);  // throws UsageError listing the names

// One function a method, in costeff/methods/NAME.cpp.
Method costeff_method();
Method deebert_method();

}  // namespace costeff
