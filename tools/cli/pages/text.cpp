#include "tools/cli/pages/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "data/text_file.h"

namespace costeff {
namespace {

// Well-formed XML without markup: see the header.
std::string clean(std::string_view text) {
  std::string out(text);
  for (std::size_t at = 0; (at = find_invalid_utf8(out)) != std::string::npos;) out[at] = '?';
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n' || c == '\t' || c == '\r') c = ' ';
    if (byte == 0x7f || (byte < 0x20 && c != ' ')) c = '?';
  }
  for (const char* forbidden : {"\xef\xbf\xbe", "\xef\xbf\xbf"}) {  // U+FFFE, U+FFFF
    for (std::size_t at = 0; (at = out.find(forbidden)) != std::string::npos;) out.replace(at, 3, 1, '?');
  }
  return out;
}

std::string_view without_prefix(std::string_view metric) {
  return metric.substr(metric.rfind('/') + 1);  // npos + 1 is 0
}

}  // namespace

std::string escape_markup(std::string_view text) {
  std::string out;
  for (const char c : clean(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string plain_text(std::string_view text, std::size_t most) {
  std::string out = clean(text);
  std::size_t points = 0;
  for (std::size_t at = 0; at < out.size(); ++at) {
    const bool begins = (static_cast<unsigned char>(out[at]) & 0xc0) != 0x80;
    if (begins && points++ == most) return fmt::format("{}…", std::string_view(out).substr(0, at));
  }
  return out;
}

std::string escape_lines(std::string_view text) {
  const std::size_t end = text.find('\n');
  if (end == std::string_view::npos) return escape_markup(text);
  return fmt::format("{}\n{}", escape_markup(text.substr(0, end)), escape_lines(text.substr(end + 1)));
}

std::string format_number(double number, std::string_view format) {
  if (format == "percent") return percent_text(number);
  if (format == "count") return count_text(number);
  if (format == "signed") return signed_text(number, 4);
  return fmt::format(fmt::runtime(fmt::format("{{:{}}}", format.empty() ? "g" : format)), number);
}

std::string signed_text(double number, int places) {
  if (std::abs(number) < std::pow(10, -places) / 2) return fmt::format("{:.{}f}", 0.0, places);
  return fmt::format("{:+.{}f}", number, places);
}

std::string count_text(double number) {
  constexpr std::array<std::pair<double, const char*>, 4> kUnits = {
      {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}};
  for (const auto& [unit, letter] : kUnits) {
    const double value = number / unit;
    if (std::fabs(value) < 1) continue;
    return fmt::format("{:.{}f} {}", value, std::fabs(value) < 99.95 ? 1 : 0, letter);
  }
  return fmt::format("{:.{}f}", number, number == std::floor(number) ? 0 : 1);
}

std::string percent_text(double share) {
  return fmt::format("{:.1f} %", 100 * share);
}

std::string ratio_text(double part, double whole) {
  const double times = whole / part;
  const double rounded = std::round(times);
  if (times >= 1.8 && std::isfinite(times) && std::fabs(times - rounded) <= 0.06 * rounded)
    return fmt::format("1/{:.0f}", rounded);
  return fmt::format("{:.0f} %", 100 * part / whole);
}

std::string shell_quoted(const std::string& word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("/._-+=:,@%").find(c) != std::string_view::npos;
  });
  if (plain) return word;
  std::string out = "'";
  for (const char c : word) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  out += '\'';
  return out;
}

std::string metric_name(std::string_view metric) {
  constexpr std::array<std::pair<std::string_view, const char*>, 7> kNames = {{
      {"acc", "accuracy"},
      {"f1", "F1"},
      {"acc_and_f1", "mean of accuracy and F1"},
      {"mcc", "Matthews correlation"},
      {"pearson", "Pearson correlation"},
      {"spearmanr", "Spearman correlation"},
      {"corr", "correlation"},
  }};
  const std::string_view name = without_prefix(metric);
  for (const auto& [key, words] : kNames) {
    if (name == key) return words;
  }
  return name.empty() ? "score" : std::string(name);
}

bool is_percentage(std::string_view metric) {
  const std::string_view name = without_prefix(metric);
  return name == "acc" || name == "accuracy" || name == "f1" || name == "acc_and_f1";
}

std::string score_text(std::string_view metric, double score) {
  return is_percentage(metric) ? percent_text(score) : fmt::format("{:.3f}", score);
}

}  // namespace costeff
