// What a command found, once: text for a terminal, JSON for programs and an HTML page are made from it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "costeff/json.h"
#include "tools/cli/pages/gnuplot.h"
#include "tools/cli/pages/words.h"

namespace costeff {

// Which outputs show something.
enum Shown : unsigned { kTerminal = 1, kPage = 2, kJson = 4, kReaders = kTerminal | kPage, kEverywhere = 7 };

// A value for programs, and its text for readers.
struct Cell {
  Json value;
  std::string text;
  double colour = 0;                    // of a heat table: -1 (violet) .. 0 (none) .. 1 (accent)
  bool wrong = false;                   // marked
  std::vector<std::string> below = {};  // small lines under the text

  Cell() = default;  // empty
  Cell(std::string words) : value(words), text(std::move(words)) {}
  Cell(const char* words) : Cell(std::string(words)) {}
  Cell(Json json, std::string words, double shade = 0)
      : value(std::move(json)), text(std::move(words)), colour(shade) {}
};
// The format is that of prose, as "{:.3g}" without its braces; nan is null and "–".
Cell number(double value, std::string_view format = ".3g", double colour = 0);
Cell share_cell(double share);  // "17 %", coloured so that a sixth is seen

struct Column {
  std::string key;    // for programs
  std::string title;  // for readers
};

struct Row {
  std::vector<Cell> cells;  // one for each column
  unsigned shown = kEverywhere;
  bool chosen = false;  // stands out
};

// The first column names the rows.
struct Table {
  std::string id;  // JSON's key, and the element's
  std::string heading = {};
  std::vector<Column> columns = {};
  std::vector<Row> rows = {};
  std::string caption = {};
  unsigned shown = kEverywhere;
  bool heat = false;    // cells are coloured
  bool folded = false;  // behind its heading, on a page
  const char* style = "";

  void add_column(const std::string& name) { columns.push_back({name, name}); }
  void add(std::vector<Cell> cells, unsigned where = kEverywhere) {
    rows.push_back({std::move(cells), where});
  }
};
// With columns whose names for programs and readers are alike.
Table table_of(std::string id, std::string heading, const std::vector<std::string>& columns,
               unsigned shown = kEverywhere);

struct Section {
  std::string id;
  Prose prose;  // the paragraphs stand on the page alone
  std::vector<Figure> figures = {};
  std::vector<Table> tables = {};
  std::vector<Prose> terms = {};  // a glossary
  std::string code = {};          // commands
};

// One thing that was found: the sentence is the prose "file.kind", filled with the values.
struct Finding {
  std::string kind;  // "gradients.conflict"
  Json values = Json::object();

  std::string sentence() const { return words(kind, values); }
};
struct Findings {
  std::string about;  // a question, or what they speak of
  std::vector<Finding> findings;
};

// What is wrong or absent.
struct Note {
  std::string place, what;
};

struct Document {
  std::string kicker, headline;
  std::string made_by;                     // the command: "costeff report"
  std::vector<std::string> facts = {};     // of the subject, in a line below the headline
  Json values = Json::object();            // for programs alone
  std::vector<Note> faults = {};           // "place: what"
  std::vector<std::string> absences = {};  // what a reader will miss
  std::vector<Findings> findings = {};
  std::vector<Section> sections = {};
};

// The section that ends a page: the commands that make it again.
Section reproduce_section(const std::string& commands, const std::string& note = "");

std::string terminal_text(const Document& document);
// Headline, findings, faults and values by their names; each table under its id, an array of objects.
Json json_of(const Document& document);
// A page of one file that needs no other and no network. The figures must have been drawn.
std::string html_page(const Document& document);

// Draws what is not drawn yet. Throws Error if gnuplot is not installed.
void draw_figures(Document& document);

}  // namespace costeff
