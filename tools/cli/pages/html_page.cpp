// The HTML renderer of a document.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/cli/pages/document.h"
#include "tools/cli/pages/style.h"
#include "tools/cli/pages/svg.h"
#include "tools/cli/pages/text.h"

namespace costeff {
namespace {

std::string style_sheet() {
  std::string light = "--ground:#f4f6f8;";
  std::string dark = "--ground:#11161c;";
  for (const Ink& ink : kInks) {
    light += fmt::format("--{}:{};", ink.name, ink.light);
    dark += fmt::format("--{}:{};", ink.name, ink.dark);
  }
  return fmt::format(
      "<style>\n:root{{color-scheme:light dark;{}}}\n@media "
      "(prefers-color-scheme:dark){{:root{{{}}}}}{}</style>\n",
      light, dark, kPageStyle);
}

// Escaped, with `code` as an element.
std::string inline_html(std::string_view text) {
  std::string out = escape_markup(text);
  bool open = false;
  for (std::size_t at = 0; (at = out.find('`', at)) != std::string::npos; open = !open)
    out.replace(at, 1, open ? "</code>" : "<code>");
  return open ? out + "</code>" : out;
}

std::string element(const char* name, std::string_view text) {
  return text.empty() ? "" : fmt::format("<{0}>{1}</{0}>\n", name, inline_html(text));
}

std::string list(const std::vector<std::string>& items, const char* label) {
  if (items.empty()) return "";
  return fmt::format("<ul class=\"notes\" aria-label=\"{}\">\n<li>{}</li>\n</ul>\n", label,
                     fmt::join(items, "</li>\n<li>"));
}

std::string cell_html(const Cell& cell, bool heat) {
  std::string attributes = cell.wrong ? " class=\"wrong\"" : "";
  if (heat && cell.colour != 0) {
    attributes +=
        fmt::format(" style=\"background:color-mix(in srgb,var(--{}) {:.0f}%,var(--paper))\"",
                    cell.colour < 0 ? "violet" : "accent", 55 * std::min(1.0, std::abs(cell.colour)));
  }
  std::string out = fmt::format("<td{}>{}{}", attributes, inline_html(cell.text), cell.wrong ? " ✗" : "");
  for (const std::string& line : cell.below) out += element("small", line);
  return out + "</td>";
}

std::string table_html(const Table& table) {
  std::string head, body;
  for (const Column& column : table.columns)
    head += fmt::format("<th scope=\"col\">{}</th>", inline_html(column.title));
  for (const Row& row : table.rows) {
    if ((row.shown & kPage) == 0) continue;
    body += row.chosen ? "<tr class=\"chosen\">" : "<tr>";
    for (std::size_t c = 0; c < row.cells.size(); ++c) {
      body += c == 0 ? fmt::format("<th scope=\"row\">{}</th>", inline_html(row.cells[c].text))
                     : cell_html(row.cells[c], table.heat);
    }
    body += "</tr>\n";
  }
  const std::string name = escape_markup(table.heading.empty() ? table.id : table.heading);
  const std::string grid = fmt::format(
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">\n<table class=\"{}\">\n"
      "<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>\n</table>\n</div>\n",
      name, table.heat ? "heat" : table.style, head, body);
  const std::string caption =
      table.caption.empty() ? "" : fmt::format("<p class=\"small\">{}</p>\n", inline_html(table.caption));
  if (table.folded)
    return fmt::format("<details>\n<summary>{}</summary>\n{}</details>\n", name, grid + caption);
  return element("h3", table.heading) + grid + caption;
}

// The first of an odd number of figures stands in a row of its own, its words beside it.
std::string figures_html(const std::vector<Figure>& figures) {
  if (figures.empty()) return "";
  std::string out;
  for (const Figure& figure : figures) {
    const bool lead = figures.size() > 1 && figures.size() % 2 == 1 && &figure == &figures.front();
    out += fmt::format("<figure{}>\n{}", lead && figure.missing.empty() ? " class=\"lead\"" : "",
                       element("h3", figure.heading));
    if (!figure.missing.empty()) {
      out += fmt::format("<p class=\"missing\">{}</p>\n</figure>\n", inline_html(figure.missing));
      continue;
    }
    out += fmt::format("{}\n<figcaption>{}{}</figcaption>\n</figure>\n", svg_element(figure),
                       inline_html(figure.text),
                       figure.equation.empty() ? "" : element("p", "`" + figure.equation + "`"));
  }
  return fmt::format("<div class=\"figures\">\n{}</div>\n", out);
}

std::string section_html(const std::string& id, const std::string& heading, const std::string& content) {
  return fmt::format("<section aria-labelledby=\"{0}\">\n<h2 id=\"{0}\">{1}</h2>\n{2}</section>\n", id,
                     inline_html(heading), content);
}

std::string section_html(const Section& section) {
  std::string content;
  for (const std::string& paragraph : section.prose.paragraphs) content += element("p", paragraph);
  content += figures_html(section.figures);
  for (const Table& table : section.tables) {
    if ((table.shown & kPage) != 0 && !table.rows.empty()) content += table_html(table);
  }
  std::string terms;
  for (const Prose& term : section.terms) terms += element("dt", term.heading) + element("dd", term.text());
  if (!terms.empty()) content += fmt::format("<dl>\n{}</dl>\n", terms);
  if (!section.code.empty()) {
    content += fmt::format("<pre tabindex=\"0\" aria-label=\"Commands\"><code>{}</code></pre>\n",
                           escape_lines(section.code));
  }
  return content.empty() ? "" : section_html(section.id, section.prose.heading, content);
}

std::string findings_html(const std::vector<Findings>& findings) {
  if (findings.empty()) return "";
  std::string out;
  for (const Findings& part : findings) {
    out += fmt::format("<div class=\"answer\">{}<ul>\n", element("h3", part.about));
    for (const Finding& finding : part.findings) out += element("li", finding.sentence());
    out += "</ul></div>\n";
  }
  return section_html("findings", "In short", out);
}

}  // namespace

std::string html_page(const Document& d) {
  std::vector<std::string> facts, faults, absences;
  for (const std::string& fact : d.facts) facts.push_back(escape_markup(fact));
  for (const Note& fault : d.faults) {
    faults.push_back(
        fmt::format("<strong>{}</strong>: {}", escape_markup(fault.place), escape_markup(fault.what)));
  }
  for (const std::string& absence : d.absences) absences.push_back(escape_markup(absence));
  std::string body = findings_html(d.findings);
  for (const Section& section : d.sections) body += section_html(section);
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'\">\n"
      "<title>{0}</title>\n{1}</head>\n<body>\n<header>\n<p class=\"kicker\">{2}</p>\n<h1>{3}</h1>\n"
      "<p class=\"facts\">{4}</p>\n{5}{6}</header>\n<main>\n{7}</main>\n"
      "<footer>{8} made this page; it holds all it needs, and loads nothing.</footer>\n</body>\n</html>\n",
      escape_markup(fmt::format("{}: {}", d.kicker, d.headline)), style_sheet(), escape_markup(d.kicker),
      escape_markup(d.headline), fmt::join(facts, " · "), list(faults, "Faults"),
      list(absences, "What is not there yet"), body, d.made_by);
}

}  // namespace costeff
