#include "nn/config_reader.h"

#include <cmath>
#include <utility>

#include "tensor/error.h"

namespace costeff {

using nlohmann::json;

std::string shown(const json& value) {
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

void check_size(const std::string& where, std::string_view key, std::int64_t value) {
  if (value < 1 || value > kMostSize) {
    fail("{}: '{}' is {}; it must be from 1 to {}", where, key, value, kMostSize);
  }
}

void check_number(const std::string& where, std::string_view key, double value, bool valid,
                  std::string_view range) {
  if (!valid || !std::isfinite(value)) fail("{}: '{}' is {}; it must be {}", where, key, value, range);
}

ConfigReader::ConfigReader(const json& object, std::string where)
    : object_(object), where_(std::move(where)) {
  if (!object.is_object()) fail("{}: it is not a JSON object", where_);
}

const json* ConfigReader::find(const std::string& key) const {
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::int64_t ConfigReader::to_integer(const char* key, const json& value) const {
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<std::uint64_t>() <= std::uint64_t{1} << 62);
  if (!fits) fail("{}: '{}' is {}; it must be an integer from 1 to {}", where_, key, shown(value), kMostSize);
  return value.get<std::int64_t>();
}

std::int64_t ConfigReader::integer(const char* key, std::int64_t otherwise) const {
  const json* value = find(key);
  return value == nullptr ? otherwise : to_integer(key, *value);
}

std::int64_t ConfigReader::size(const char* key, std::int64_t otherwise) const {
  const std::int64_t value = integer(key, otherwise);
  check_size(where_, key, value);
  return value;
}

std::int64_t ConfigReader::required_size(const char* key) const {
  if (find(key) == nullptr) fail("{}: the key '{}' is missing", where_, key);
  return size(key, 0);
}

std::int64_t ConfigReader::optional_size(const char* key) const {
  return integer(key, -1) == -1 ? -1 : size(key, -1);
}

std::vector<std::int64_t> ConfigReader::sizes(const char* key, std::int64_t length) const {
  const json* list = find(key);
  if (!list->is_array() || static_cast<std::int64_t>(list->size()) != length) {
    fail("{}: '{}' must be a list of {} sizes, one per layer", where_, key, length);
  }
  std::vector<std::int64_t> values;
  for (const json& value : *list) {
    values.push_back(to_integer(key, value));
    check_size(where_, key, values.back());
  }
  return values;
}

double ConfigReader::number(const char* key, double otherwise) const {
  const json* value = find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_number()) fail("{}: '{}' is {}; it must be a number", where_, key, shown(*value));
  return value->get<double>();
}

bool ConfigReader::boolean(const char* key, bool otherwise) const {
  const json* value = find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) fail("{}: '{}' is {}; it must be true or false", where_, key, shown(*value));
  return value->get<bool>();
}

void ConfigReader::only(const char* key, const json& supported) const {
  const json* value = find(key);
  if (value != nullptr && *value != supported) {
    fail("{}: '{}' is {}; only {} is supported", where_, key, shown(*value), shown(supported));
  }
}

}  // namespace costeff
