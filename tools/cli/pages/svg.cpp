#include "tools/cli/pages/svg.h"

#include <fmt/format.h>

#include <functional>
#include <string_view>

#include "tools/cli/pages/text.h"

namespace costeff {
namespace {

using Rewrite = std::function<std::string(std::string_view attribute, std::string_view value)>;

std::string_view last_word(std::string_view text) {
  const std::size_t end = text.find_last_not_of(" =");
  if (end == std::string_view::npos) return {};
  const std::size_t begin = text.find_last_of(" \n\t<", end);
  return text.substr(begin + 1, end - begin);  // npos + 1 is 0
}

// The markup with each attribute's value replaced by what `rewrite` says. Text between tags stays.
std::string with_attributes(std::string_view svg, const Rewrite& rewrite) {
  std::string out;
  bool in_tag = false;
  for (std::size_t at = 0; at < svg.size(); ++at) {
    const char c = svg[at];
    if (c == '<') in_tag = true;
    if (c == '>') in_tag = false;
    out += c;
    if (!in_tag || (c != '"' && c != '\'')) continue;
    const std::size_t end = svg.find(c, at + 1);
    if (end == std::string_view::npos) break;
    out += rewrite(last_word(svg.substr(0, at)), svg.substr(at + 1, end - at - 1));
    out += c;
    at = end;
  }
  return out;
}

// A colour of gnuplot's as a variable of the page: "#1f2933", "rgb(31,41,51)" and "rgb( 31,  41,  51)".
std::string themed(std::string_view value) {
  std::string packed;
  for (const char c : value) {
    if (c != ' ') packed += static_cast<char>(c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
  }
  if (packed == "black") return "var(--ink)";
  for (const Ink& ink : kInks) {
    const auto channel = [&](std::size_t at) {
      return std::stoi(std::string(ink.light + at, 2), nullptr, 16);
    };
    if (packed == ink.light || packed == fmt::format("rgb({},{},{})", channel(1), channel(3), channel(5)))
      return fmt::format("var(--{})", ink.name);
  }
  return std::string(value);
}

void erase_between(std::string& text, std::string_view begin, std::string_view end) {
  for (std::size_t at = 0; (at = text.find(begin, at)) != std::string::npos;) {
    const std::size_t last = text.find(end, at);
    if (last == std::string::npos) return;
    text.erase(at, last + end.size() - at);
  }
}

// From <svg on, with the figure's words for gnuplot's.
std::string described(const Figure& figure) {
  std::string out = figure.svg.substr(figure.svg.find("<svg"));
  out.resize(out.rfind("</svg>") + 6);
  // gnuplot names the picture and each plot in it ("gnuplot_plot_1"): tooltips that say nothing.
  erase_between(out, "<title>", "</title>");
  erase_between(out, "<desc>", "</desc>");
  const std::size_t head = out.find('>');
  out.insert(head + 1, fmt::format("\n<title id=\"title\">{}</title>\n<desc id=\"text\">{}</desc>",
                                   escape_markup(figure.heading), escape_markup(figure.text)));
  out.insert(head, " role=\"img\" aria-labelledby=\"title text\"");
  return out;
}

}  // namespace

std::string svg_file(const Figure& figure) {
  return fmt::format("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n{}\n", described(figure));
}

std::string svg_element(const Figure& figure) {
  return with_attributes(described(figure), [&](std::string_view attribute, std::string_view value) {
    if (attribute == "id") return fmt::format("{}-{}", figure.name, value);
    if (attribute == "aria-labelledby") return fmt::format("{}-title {}-text", figure.name, figure.name);
    if (attribute == "xlink:href" && value.starts_with('#'))
      return fmt::format("#{}-{}", figure.name, value.substr(1));
    if (attribute == "fill" || attribute == "stroke" || attribute == "color" || attribute == "flood-color")
      return themed(value);
    return std::string(value);
  });
}

}  // namespace costeff
