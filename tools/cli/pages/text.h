// How pages and figures write things: numbers for readers, text from files for HTML and SVG.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace costeff {

// For HTML and XML, in text and in attributes. Control characters, bytes that are not UTF-8 and the two code
// points that XML forbids become "?", ends of lines become spaces.
std::string escape_markup(std::string_view text);
std::string escape_lines(std::string_view text);  // the same of each line
// The same replacements without the escapes, for text that gnuplot will escape; cut after `most` code points.
std::string plain_text(std::string_view text, std::size_t most = 200);

// As fmt's format of a number says ("" is "g"), or "percent", "count", "signed" with the functions below.
std::string format_number(double number, std::string_view format);
std::string signed_text(double number, int places);  // "+0.0123"; 0 without a sign
std::string count_text(double number);               // "22.7 M", "1.9 G", "812"
std::string percent_text(double share);              // 0.946: "94.6 %"
std::string ratio_text(double part, double whole);   // "1/8", or "62 %" where no fraction is near
std::string shell_quoted(const std::string& word);   // as one word of a POSIX shell

// A metric as a word: "acc" and "mnli/acc" are "accuracy".
std::string metric_name(std::string_view metric);
// Shares of right answers are read as percentages, correlations are not.
bool is_percentage(std::string_view metric);
std::string score_text(std::string_view metric, double score);  // "85.8 %" or "0.612"

}  // namespace costeff
