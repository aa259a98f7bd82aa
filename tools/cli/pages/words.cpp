#include "tools/cli/pages/words.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "tools/cli/pages/text.h"

namespace costeff {

// Made by the build: the name and the content of each file.
extern const std::vector<std::pair<std::string_view, std::string_view>> kProseFiles;

namespace {

[[noreturn]] void fail_prose(std::string_view key, std::string_view what) {
  throw std::logic_error(fmt::format("prose {}: {}", key, what));
}

struct Entry {
  std::string key;
  Prose prose;
};

// `open`: the line goes on with the last paragraph.
void add_line(std::string_view file, std::string_view line, bool& open, std::vector<Entry>& entries) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  const bool headed = line.starts_with("## ");
  if (headed || line.starts_with("- ")) {
    const std::size_t begin = line.find(' ') + 1, colon = std::min(line.find(": "), line.size());
    const std::string rest(line.substr(std::min(colon + 2, line.size())));
    Entry& entry =
        entries.emplace_back(Entry{fmt::format("{}.{}", file, line.substr(begin, colon - begin)), {}});
    if (headed) entry.prose.heading = rest;
    if (!headed) entry.prose.paragraphs = {rest};
    open = !headed;
  } else if (line.empty()) {
    open = false;
  } else {
    std::vector<std::string>& paragraphs = entries.back().prose.paragraphs;
    if (!open) paragraphs.emplace_back();
    paragraphs.back() += fmt::format("{}{}", open ? " " : "", line);
    open = true;
  }
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all = [] {
    std::vector<Entry> made;
    for (const auto& [file, content] : kProseFiles) {
      bool open = false;
      for (std::size_t at = 0; at < content.size();) {
        const std::size_t end = std::min(content.find('\n', at), content.size());
        add_line(file, content.substr(at, end - at), open, made);
        at = end + 1;
      }
    }
    return made;
  }();
  return all;
}

std::string formatted(std::string_view key, const Json& value, std::string_view format) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_null() || (value.is_number() && std::isnan(value.get<double>()))) return "–";
  if (!value.is_number()) fail_prose(key, "a value is no number and no text");
  if (format.empty() && value.is_number_integer()) return value.dump();
  return format_number(value.get<double>(), format);
}

// Braces that hold no name, as in formulas, stay.
std::string filled(std::string_view key, std::string_view text, const Json& values) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = std::min(text.find('{', at), text.size());
    out += text.substr(at, begin - at);
    const std::size_t end = text.find('}', begin);
    if (end == std::string_view::npos) return out + std::string(text.substr(begin));
    const std::string_view inside = text.substr(begin + 1, end - begin - 1);
    const std::size_t colon = std::min(inside.find(':'), inside.size());
    const std::string name(inside.substr(0, colon));
    if (name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_0123456789") != std::string::npos) {
      out += text.substr(begin, end + 1 - begin);
    } else if (values.contains(name)) {
      out += formatted(key, values[name], inside.substr(std::min(colon + 1, inside.size())));
    } else {
      fail_prose(key, "there is no value for " + name);
    }
    at = end + 1;
  }
  return out;
}

Prose filled(const Entry& entry, const Json& values) {
  Prose out{filled(entry.key, entry.prose.heading, values), {}};
  for (const std::string& paragraph : entry.prose.paragraphs)
    out.paragraphs.push_back(filled(entry.key, paragraph, values));
  return out;
}

}  // namespace

std::string Prose::text() const {
  return fmt::format("{}", fmt::join(paragraphs, " "));
}

Prose prose(std::string_view key, const Json& values) {
  for (const Entry& entry : entries()) {
    if (entry.key == key) return filled(entry, values);
  }
  fail_prose(key, "there is no such entry");
}

std::string words(std::string_view key, const Json& values) {
  return prose(key, values).text();
}

std::vector<Prose> proses(std::string_view prefix, const Json& values) {
  std::vector<Prose> out;
  for (const Entry& entry : entries()) {
    if (entry.key.starts_with(fmt::format("{}.", prefix))) out.push_back(filled(entry, values));
  }
  return out;
}

std::vector<std::string> prose_keys() {
  std::vector<std::string> keys;
  for (const Entry& entry : entries()) keys.push_back(entry.key);
  return keys;
}

}  // namespace costeff
