// JSON files that a user hands in.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "tensor/error.h"
#include "tensor/file.h"

namespace costeff {

// The value in a file, a JSON of nlohmann's. Throws Error naming the file if it cannot be read, is not valid
// JSON, or is nested more than 64 deep: whoever prints the value calls himself once for each level.
template <class Json>
Json read_json(const std::string& path) {
  constexpr int kMostLevels = 64;
  const auto check = [&](int depth, nlohmann::detail::parse_event_t, Json&) {
    if (depth > kMostLevels) fail("{}: it is nested more than {} levels deep", path, kMostLevels);
    return true;
  };
  try {
    return Json::parse(read_text(path), check);
  } catch (const nlohmann::detail::exception& error) {
    fail("{}: it is not valid JSON: {}", path, std::string_view(error.what()).substr(0, 200));
  }
}

}  // namespace costeff
