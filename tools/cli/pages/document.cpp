#include "tools/cli/pages/document.h"

#include <fmt/format.h>

#include <cmath>

#include "tools/cli/pages/text.h"
#include "tools/cli/pages/text_table.h"

namespace costeff {
namespace {

// In lines of at most about 100 columns, the first begun by `first`, the others by as many spaces.
std::string wrapped(std::string_view first, std::string_view text) {
  constexpr std::size_t kWidth = 100;
  const std::size_t width = kWidth - first.size();
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = text.size() - at <= width ? text.size() : text.rfind(' ', at + width);
    if (end == std::string_view::npos || end <= at) end = text.find(' ', at + 1);
    end = std::min(end, text.size());
    out += fmt::format("{}{}\n", at == 0 ? std::string(first) : std::string(first.size(), ' '),
                       text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

std::string table_text(const Table& table) {
  TextTable text;
  std::vector<std::string> head;
  for (const Column& column : table.columns) head.push_back(column.title);
  text.add(std::move(head));
  for (const Row& row : table.rows) {
    if ((row.shown & kTerminal) == 0) continue;
    std::vector<std::string> cells;
    for (const Cell& cell : row.cells) cells.push_back(cell.text + (cell.wrong ? " ✗" : ""));
    text.add(std::move(cells));
  }
  return (table.heading.empty() ? "" : table.heading + "\n") + text.text() + "\n";
}

Json rows_json(const Table& table) {
  Json rows = Json::array();
  for (const Row& row : table.rows) {
    if ((row.shown & kJson) == 0) continue;
    rows.push_back(Json::object());
    for (std::size_t c = 0; c < row.cells.size(); ++c) rows.back()[table.columns[c].key] = row.cells[c].value;
  }
  return rows;
}

}  // namespace

Cell number(double value, std::string_view format, double colour) {
  return std::isnan(value) ? Cell(Json(), "–") : Cell(value, format_number(value, format), colour);
}

Cell share_cell(double share) {
  if (std::isnan(share)) return number(share);
  return {share, fmt::format("{:.0f} %", std::abs(share) < 0.005 ? 0.0 : 100 * share),
          std::copysign(std::sqrt(std::abs(share)), share)};
}

Table table_of(std::string id, std::string heading, const std::vector<std::string>& columns, unsigned shown) {
  Table table{.id = std::move(id), .heading = std::move(heading), .shown = shown};
  for (const std::string& column : columns) table.add_column(column);
  return table;
}

Section reproduce_section(const std::string& commands, const std::string& note) {
  Section section{
      .id = "reproduce", .prose = {.heading = "How to reproduce", .paragraphs = {}}, .code = commands};
  if (!note.empty()) section.prose.paragraphs = {note};
  return section;
}

std::string terminal_text(const Document& document) {
  std::string out = document.headline.empty() ? "" : document.headline + "\n";
  if (!document.facts.empty()) out += wrapped("", fmt::format("{}", fmt::join(document.facts, " · ")));
  out += out.empty() ? "" : "\n";
  for (const Findings& part : document.findings) {
    out += part.about + "\n";
    for (const Finding& finding : part.findings) out += wrapped("- ", finding.sentence());
    out += "\n";
  }
  for (const Section& section : document.sections) {
    for (const Table& table : section.tables) {
      if ((table.shown & kTerminal) != 0 && !table.rows.empty()) out += table_text(table);
    }
  }
  for (const Note& fault : document.faults) out += fmt::format("FAULT {}: {}\n", fault.place, fault.what);
  return out;
}

Json json_of(const Document& document) {
  Json json{{"headline", document.headline}};
  json.update(document.values);
  json["findings"] = Json::array();
  for (const Findings& part : document.findings) {
    for (const Finding& finding : part.findings) {
      json["findings"].push_back(named("about", part.about, "kind",
                                       finding.kind.substr(finding.kind.find('.') + 1), "values",
                                       finding.values, "text", finding.sentence()));
    }
  }
  json["faults"] = Json::array();
  for (const Note& fault : document.faults)
    json["faults"].push_back(named("place", fault.place, "what", fault.what));
  for (const Section& section : document.sections) {
    for (const Table& table : section.tables) {
      if ((table.shown & kJson) != 0) json[table.id] = rows_json(table);
    }
    if (section.id == "reproduce") json["command"] = section.code;
  }
  return json;
}

void draw_figures(Document& document) {
  for (Section& section : document.sections) {
    for (Figure& figure : section.figures) {
      if (figure.missing.empty() && figure.svg.empty()) figure.svg = draw(figure);
    }
  }
}

}  // namespace costeff
