// JSON whose objects keep the order that they were written in.
#pragma once

#include <nlohmann/json.hpp>

namespace costeff {

using Json = nlohmann::ordered_json;

}  // namespace costeff
