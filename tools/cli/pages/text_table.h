// A table for a terminal: the first column is a name, the others stand right, as numbers do.
#pragma once

#include <string>
#include <vector>

namespace costeff {

class TextTable {
 public:
  // A row; rows may have fewer cells than others.
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  // Column c stands left.
  void left(std::size_t c) { left_.push_back(c); }
  // With two spaces between columns; no spaces at the ends of lines.
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::size_t> left_ = {0};
};

}  // namespace costeff
