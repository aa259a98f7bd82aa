// Values of settings and flags: read from text and from JSON, strictly, and shown as one types them.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

#include "costeff/json.h"
#include "tensor/choice.h"

namespace costeff {

// The whole text as a number; nothing for other text, infinities and nan, and what the type cannot hold.
template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if constexpr (std::is_same_v<T, double>) return std::isfinite(value) ? std::optional(value) : std::nullopt;
  return value;
}

// Which numbers make sense: from `least` to `most`, or `also`.
struct NumberRange {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  double also = std::numeric_limits<double>::quiet_NaN();
  bool above = false;  // `least` itself is out
  bool below = false;  // `most` itself is out

  bool holds(double x) const;
  std::string text() const;  // "at least 1", "from 1 to 65536, or -1"; "" of all numbers
};

// A bool, a number, text, or a Choice. Throws UsageError: "--lr 5x: not a finite number".
template <class T>
void read_value(std::string_view name, std::string_view text, T& value) {
  std::optional<T> read;
  std::string wanted;
  if constexpr (Choice<T>) {
    read = find_choice<T>(text);
    wanted = "must be one of " + choices<T>();
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!text.empty()) read = text;
    wanted = "is empty";
  } else if constexpr (std::is_same_v<T, bool>) {
    if (text == "true" || text == "false") read = text == "true";
    wanted = "must be true or false";
  } else {
    read = parse_number<T>(text);
    wanted = std::is_same_v<T, double>          ? "not a finite number"
             : std::is_same_v<T, std::uint64_t> ? "not a whole number from 0 to 2^64 - 1"
                                                : "not a whole number from -2^63 to 2^63 - 1";
  }
  if (!read) fail_usage("{}{}{}: {}", name, text.empty() ? "" : " ", text, wanted);
  value = *read;
}

// The same from JSON, where text may be empty.
template <class T>
void read_value(std::string_view name, const Json& json, T& value) {
  constexpr bool kText = Choice<T> || std::is_same_v<T, std::string>;
  if (json.is_string() != kText) fail_usage("{} {}: not of its type", name, json.dump());
  if constexpr (std::is_same_v<T, std::string>) {
    value = json.get<std::string>();
  } else {
    const std::string text = kText ? json.get<std::string>() : json.dump();
    read_value(name, std::string_view(text), value);
  }
}

template <class T>
std::string value_text(const T& value) {
  if constexpr (Choice<T>) {
    return std::string(name_of(value));
  } else {
    std::string text = fmt::format("{}", value);
    const std::size_t exponent = text.find("e-0");  // 5e-5
    if (std::is_same_v<T, double> && exponent != std::string::npos) text.erase(exponent + 2, 1);
    return text;
  }
}

}  // namespace costeff
