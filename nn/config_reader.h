// Values of a config.json, with errors that name file, key and what is expected.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace costeff {

inline constexpr std::int64_t kMostSize = std::int64_t{1} << 20;  // of any size in a config

// The value's JSON, cut where it is long.
std::string shown(const nlohmann::json& value);
// Throw Error, beginning with `where`, unless the size is from 1 to kMostSize, or the number is finite and
// `valid`.
void check_size(const std::string& where, std::string_view key, std::int64_t value);
void check_number(const std::string& where, std::string_view key, double value, bool valid,
                  std::string_view range);

// Typed access to the keys of an object, which must outlive it. A key with the value null counts as absent.
// All but find() throw Error when a value is of another type or no size.
class ConfigReader {
 public:
  ConfigReader(const nlohmann::json& object, std::string where);

  const std::string& where() const { return where_; }
  const nlohmann::json* find(const std::string& key) const;  // nullptr: absent

  std::int64_t integer(const char* key, std::int64_t otherwise) const;
  std::int64_t size(const char* key, std::int64_t otherwise) const;
  std::int64_t required_size(const char* key) const;
  std::int64_t optional_size(const char* key) const;  // -1, as an absent key: not used
  // A list, which must be there, of so many sizes.
  std::vector<std::int64_t> sizes(const char* key, std::int64_t length) const;
  double number(const char* key, double otherwise) const;
  bool boolean(const char* key, bool otherwise) const;
  // The key, if it is there, must have the one value that the engine computes.
  void only(const char* key, const nlohmann::json& supported) const;

 private:
  std::int64_t to_integer(const char* key, const nlohmann::json& value) const;

  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace costeff
