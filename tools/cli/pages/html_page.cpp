#include "tools/cli/pages/html_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/cli/pages/gnuplot.h"
#include "tools/cli/pages/style.h"
#include "tools/cli/pages/text.h"

namespace costeff {
namespace {

std::string style_sheet(const std::string& own) {
  std::string light = "--ground:#f4f6f8;";
  std::string dark = "--ground:#11161c;";
  for (const Ink& ink : kInks) {
    light += fmt::format("--{}:{};", ink.name, ink.light);
    dark += fmt::format("--{}:{};", ink.name, ink.dark);
  }
  return fmt::format(
      "<style>\n:root{{color-scheme:light dark;{}}}\n@media "
      "(prefers-color-scheme:dark){{:root{{{}}}}}{}{}</style>\n",
      light, dark, kPageStyle, own);
}

std::string heat_cell(const HeatTable& table, std::size_t row, std::size_t column) {
  const double value = table.values[row][column];
  if (std::isnan(value)) return "<td></td>";
  const double colour = std::clamp(table.colour(value), -1.0, 1.0);
  const char* ink = colour < 0 ? "violet" : "accent";
  const bool marked = !table.marked.empty() && table.marked[row][column];
  return fmt::format("<td{} style=\"background:color-mix(in srgb,var(--{}) {:.0f}%,var(--paper))\">{}{}</td>",
                     marked ? " class=\"wrong\"" : "", ink, 55 * std::abs(colour),
                     escape_markup(table.text(value)), marked ? " ✗" : "");
}

}  // namespace

std::string html_page(const HtmlPage& page) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'\">\n"
      "<title>{}</title>\n{}</head>\n<body>\n<header>\n<p "
      "class=\"kicker\">{}</p>\n<h1>{}</h1>\n{}{}</header>\n<main>\n{}</main>\n<footer>{} made this page; it "
      "holds "
      "all it needs, and loads nothing.</footer>\n</body>\n</html>\n",
      escape_markup(fmt::format("{}: {}", page.kicker, page.headline)), style_sheet(page.style),
      escape_markup(page.kicker), escape_markup(page.headline),
      page.facts.empty() ? "" : fmt::format("<p class=\"facts\">{}</p>\n", escape_markup(page.facts)),
      page.notes, page.body, page.made_by);
}

std::string html_section(const std::string& id, const std::string& heading, const std::string& content) {
  return fmt::format("<section aria-labelledby=\"{0}\">\n<h2 id=\"{0}\">{1}</h2>\n{2}</section>\n", id,
                     escape_markup(heading), content);
}

std::string reproduce_section(const std::string& command) {
  return html_section("reproduce", "How to reproduce",
                      fmt::format("<pre tabindex=\"0\" aria-label=\"Command\"><code>{}</code></pre>\n",
                                  escape_markup(command)));
}

std::string heat_table(const HeatTable& table) {
  std::string out = fmt::format(
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">\n<table "
      "class=\"heat\">\n<thead><tr><th "
      "scope=\"col\">{}</th>",
      escape_markup(table.name), escape_markup(table.corner));
  for (const std::string& column : table.columns)
    out += fmt::format("<th scope=\"col\">{}</th>", escape_markup(column));
  out += "</tr></thead>\n<tbody>\n";
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    out += fmt::format("<tr><th scope=\"row\">{}</th>", escape_markup(table.rows[r]));
    for (std::size_t c = 0; c < table.columns.size(); ++c) out += heat_cell(table, r, c);
    out += "</tr>\n";
  }
  return out + "</tbody>\n</table>\n</div>\n";
}

}  // namespace costeff
