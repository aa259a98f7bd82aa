// Enumerations whose values have names: one array a type, from which text is read and written.
//
//   enum class Budget : std::uint8_t { layer, global };
//   constexpr auto names_of(Budget) {
//     return std::to_array<Name<Budget>>({{Budget::layer, "layer"}, {Budget::global, "global"}});
//   }
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "tensor/error.h"

namespace costeff {

template <class E>
struct Name {
  E value;
  std::string_view text;
};

template <class E>
concept Choice = std::is_enum_v<E> && requires(E value) {
  names_of(value);
};

template <Choice E>
constexpr std::string_view name_of(E value) {
  for (const Name<E>& name : names_of(value)) {
    if (name.value == value) return name.text;
  }
  return "";
}

template <Choice E>
constexpr std::optional<E> find_choice(std::string_view text) {
  for (const Name<E>& name : names_of(E{})) {
    if (name.text == text) return name.value;
  }
  return std::nullopt;
}

// "paper, release, tuned"
template <Choice E>
std::string choices() {
  std::string list;
  for (const Name<E>& name : names_of(E{})) list.append(list.empty() ? "" : ", ").append(name.text);
  return list;
}

// Throws UsageError, which lists the names, for another one.
template <Choice E>
E choice_named(std::string_view text) {
  if (const std::optional<E> value = find_choice<E>(text)) return *value;
  fail_usage("'{}' is none of {}", text, choices<E>());
}

}  // namespace costeff
