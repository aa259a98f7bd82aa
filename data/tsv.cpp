#include "data/tsv.h"

#include <algorithm>
#include <utility>

#include "data/text_file.h"
#include "tensor/error.h"

namespace costeff {

namespace {

void check_line(const std::string& name, std::size_t number, std::string_view line) {
  if (line.size() > Tsv::kLongestLine) {
    fail("{}:{}: a line of {} bytes; the limit is 1 MiB ({} bytes). Is this a TSV file?", name, number,
         line.size(), Tsv::kLongestLine);
  }
  const std::size_t nul = line.find('\0');
  if (nul != std::string_view::npos) fail("{}:{}: a NUL byte (byte {} of the line)", name, number, nul + 1);
  const std::size_t invalid = find_invalid_utf8(line);
  if (invalid != std::string_view::npos) {
    fail("{}:{}: invalid UTF-8 (byte {} of the line)", name, number, invalid + 1);
  }
}

void split(std::string_view line, std::vector<std::string_view>& fields) {
  for (;;) {
    const std::size_t tab = line.find('\t');
    fields.push_back(line.substr(0, tab));
    if (tab == std::string_view::npos) return;
    line.remove_prefix(tab + 1);
  }
}

std::string_view without_blank_end(std::string_view content) {
  const std::size_t last = content.find_last_not_of("\r\n");
  return content.substr(0, last == std::string_view::npos ? 0 : last + 1);
}

}  // namespace

Tsv Tsv::read(const std::string& path, const TsvOptions& options) {
  return parse(read_text_file(path), path, options);
}

Tsv Tsv::parse(std::string content, const std::string& name, const TsvOptions& options) {
  Tsv out;
  out.name_ = name;
  out.content_ = std::make_unique<const std::string>(std::move(content));
  out.columns_ = options.columns;
  const std::string_view text = without_blank_end(*out.content_);
  if (text.empty()) fail("{}: the file is empty", name);

  for_each_line(text, [&](std::size_t number, std::string_view line) {
    check_line(name, number, line);
    const std::size_t before = out.fields_.size();
    split(line, out.fields_);
    const std::size_t found = out.fields_.size() - before;
    if (out.columns_ == 0) out.columns_ = found;
    const bool is_header = options.header && number == 1;
    if (found != out.columns_) {
      if (!options.skip_broken_rows || is_header) {
        fail("{}:{}: {} column{}, but {} has {}", name, number, found, found == 1 ? "" : "s",
             options.columns == 0 ? "line 1" : "each line of this task", out.columns_);
      }
      out.fields_.resize(before);
      out.skipped_lines_.push_back(number);
    } else if (is_header) {
      out.header_.swap(out.fields_);
    } else {
      out.lines_.push_back(number);
    }
  });

  for (std::size_t i = 0; i < out.header_.size(); ++i) {
    if (out.find_column(out.header_[i]) != i)
      fail("{}:1: two columns are named \"{}\"", name, out.header_[i]);
  }
  if (out.lines_.empty()) fail("{}: no rows{}", name, options.header ? ", only a header" : "");
  return out;
}

std::optional<std::size_t> Tsv::find_column(std::string_view name) const {
  const auto found = std::find(header_.begin(), header_.end(), name);
  if (found == header_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - header_.begin());
}

std::size_t Tsv::column(std::string_view name) const {
  const std::optional<std::size_t> found = find_column(name);
  if (!found) fail("{}: no column is named \"{}\"; there are: {}", name_, name, fmt::join(header_, ", "));
  return *found;
}

}  // namespace costeff
