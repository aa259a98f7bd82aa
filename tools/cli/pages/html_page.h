// An HTML page of one file that needs no other and no network: its frame, and tables whose cells are coloured
// by their values.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace costeff {

struct HtmlPage {
  std::string kicker;      // above the headline
  std::string headline;    // what came out
  std::string facts;       // one line, or nothing
  std::string notes;       // HTML below it, or nothing
  std::string body;        // HTML: sections
  std::string made_by;     // "costeff report"
  std::string style = {};  // CSS beside that of all pages
};
// The whole file; kicker, headline and facts are escaped here.
std::string html_page(const HtmlPage& page);

// A section with a heading that links can point at.
std::string html_section(const std::string& id, const std::string& heading, const std::string& content);

// The section that ends a page: the command that makes it again.
std::string reproduce_section(const std::string& command);

// A heat map that is a table: readable by eye, by keyboard and by screen readers.
struct HeatTable {
  std::string name;  // what the table shows, for those who cannot see it
  std::string corner;
  std::vector<std::string> columns;
  std::vector<std::string> rows;
  // [rows][columns]; nan: an empty cell
  std::vector<std::vector<double>> values;
  std::function<std::string(double)> text;     // of a value
  std::function<double(double)> colour;        // -1 (violet) .. 0 (none) .. 1 (accent)
  std::vector<std::vector<bool>> marked = {};  // cells that are wrong; empty: none
};
std::string heat_table(const HeatTable& table);

}  // namespace costeff
