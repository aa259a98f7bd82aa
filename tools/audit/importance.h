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

// A removed unit whose score and true change differ. Ranks are among the removed units of its layer, 1 the
// most important.
struct Misjudged {
  std::int64_t layer = 1;
  std::int64_t place = 0;
  double predicted = 0;  // the paper's score
  double change = 0;     // signed
  std::size_t rank_predicted = 1;
  std::size_t rank_true = 1;  // by the signed change
  std::size_t of = 1;
};
// All removed units of one kind, the most over-estimated first: score - |change| descends.
std::vector<Misjudged> misjudged(const ImportanceReport& report, const audit::UnitsAudit& units);

// Heads removed together: the longest list of a layer; the mean over layers that have it of entry k.
std::size_t longest_cumulative(const ImportanceReport& report);
double mean_cumulative(const audit::CumulativeRemoval& removal, std::size_t k);

// Whether the scores are rounding noise: the gradient is 0, as where a model is its own teacher.
bool scores_vanish(const ImportanceReport& report);

// The answer, computed from the numbers.
struct Findings {
  std::string about;  // "Heads"
  std::vector<std::string> sentences;
};
std::string importance_headline(const ImportanceReport& report);
std::vector<Findings> importance_findings(const ImportanceReport& report);
// With a sign, to so many places; 0 without one.
std::string signed_text(double value, int places);

std::string importance_text(const ImportanceReport& report);
Json importance_json(const ImportanceReport& report);
// Throws Error if gnuplot is not installed.
std::string importance_page(const ImportanceReport& report);

}  // namespace costeff
