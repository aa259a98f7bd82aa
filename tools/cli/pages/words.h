// The prose of pages and terminal outputs. It stands in Markdown files beside the code, which the build
// embeds:
//
//   ## key: Heading
//   Text with `code` and placeholders, {name} or {name:.2f}.
//
//   A second paragraph.
//   - other: Text of an entry without a heading.
//
// The entry `key` of gradients.md is "gradients.key".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "costeff/json.h"

namespace costeff {

// An object of names and values in turn: named("step", 3, "loss", 0.5).
inline Json named() {
  return Json::object();
}
template <class Value, class... Rest>
Json named(const char* name, const Value& value, const Rest&... rest) {
  Json json{{name, value}};
  json.update(named(rest...));
  return json;
}

struct Prose {
  std::string heading;
  std::vector<std::string> paragraphs;

  std::string text() const;  // all paragraphs in one line
};

// An entry with its placeholders filled from `values`, an object. A placeholder's format is fmt's of a
// number, or "percent" (a share), "count" ("22.7 M"), "signed" (+0.0123, four places). Throws
// std::logic_error for an unknown key, a missing value or a wrong format.
Prose prose(std::string_view key, const Json& values = Json::object());
std::string words(std::string_view key, const Json& values = Json::object());             // its text
std::vector<Prose> proses(std::string_view prefix, const Json& values = Json::object());  // all of "prefix.*"

std::vector<std::string> prose_keys();  // in the order of the files

}  // namespace costeff
