// Tab-separated files as GLUE writes them: UTF-8, one row a line, fields taken literally (a quotation mark is
// an ordinary character). Gzipped files, "\r\n" line ends and a byte-order mark are accepted, and so are
// blank lines at the end of a file.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace costeff {

struct TsvOptions {
  bool header = true;             // the first line names the columns
  std::size_t columns = 0;        // how many each line must have; 0: as many as the first
  bool skip_broken_rows = false;  // leave rows with another number of columns out, and list them
};

// The rows of one file. Fields are views into its text: they are good for as long as the Tsv they came from,
// also after it was moved.
class Tsv {
 public:
  static constexpr std::size_t kLongestLine = std::size_t{1} << 20;  // bytes

  // Throws Error naming the file if it is missing, damaged, empty, or holds nothing but its header; file and
  // line if a line has another number of columns, is not UTF-8, holds a NUL byte, is longer than
  // kLongestLine, or names a column twice.
  static Tsv read(const std::string& path, const TsvOptions& options = {});

  // The same for text in memory; errors call it `name`.
  static Tsv parse(std::string content, const std::string& name, const TsvOptions& options = {});

  const std::string& name() const { return name_; }
  // Empty if the file has none.
  const std::vector<std::string_view>& header() const { return header_; }

  std::size_t rows() const { return lines_.size(); }
  std::string_view field(std::size_t row, std::size_t column) const {
    return fields_[row * columns_ + column];
  }
  // The line of the file, from 1, that a row stands in.
  std::size_t line(std::size_t row) const { return lines_[row]; }
  const std::vector<std::size_t>& skipped_lines() const { return skipped_lines_; }

  // The place of the column with this header.
  std::optional<std::size_t> find_column(std::string_view name) const;
  // As above; throws Error, listing the columns there are, if none has the name.
  std::size_t column(std::string_view name) const;

 private:
  std::string name_;
  std::unique_ptr<const std::string> content_;
  std::size_t columns_ = 0;
  std::vector<std::string_view> header_;
  std::vector<std::string_view> fields_;
  std::vector<std::size_t> lines_;
  std::vector<std::size_t> skipped_lines_;
};

}  // namespace costeff
