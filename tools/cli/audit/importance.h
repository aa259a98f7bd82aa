// What `costeff audit importance` says of its result: in words, as text, as JSON, as a page.
#pragma once

#include <string>
#include <vector>

#include "costeff/audit/importance.h"
#include "costeff/json.h"

namespace costeff {

struct ImportanceReport {
  std::string model;    // folder
  std::string teacher;  // empty: none
  std::string data;
  std::string command;  // that makes this report again
  std::int64_t sentences = 0;
  std::int64_t first_exit = 1;
  std::int64_t layers = 0;
  audit::ImportanceAudit audit;
};

// The answer, computed from the numbers.
struct Findings {
  std::string about;  // "Heads"
  std::vector<std::string> sentences;
};
std::string importance_headline(const ImportanceReport& report);
std::vector<Findings> importance_findings(const ImportanceReport& report);
const char* singular(const audit::UnitsAudit& units);  // "head"
const char* plural(const audit::UnitsAudit& units);    // "heads"
// With a sign, to so many places; 0 without one.
std::string signed_text(double value, int places);

std::string importance_text(const ImportanceReport& report);
Json importance_json(const ImportanceReport& report);
// Throws Error if gnuplot is not installed.
std::string importance_page(const ImportanceReport& report);

}  // namespace costeff
