// Whole text files in memory, plain or gzipped, and the UTF-8 they are made of.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace costeff {

// The bytes of a file. A file that begins with the gzip magic is unpacked (several members too), whatever its
// name. A UTF-8 byte-order mark at its start is left out. Throws Error, naming the file, if it cannot be
// opened or read, or if the gzip stream is damaged or cut short.
std::string read_text_file(const std::string& path);

// Calls line(number, text) for each line, numbers from 1, without its end ("\n" or "\r\n"). What follows the
// last "\n" is a line unless it is empty.
template <class Line>
void for_each_line(std::string_view content, Line line) {
  std::size_t number = 0;
  while (!content.empty()) {
    const std::size_t end = content.find('\n');
    std::string_view text = content.substr(0, end);
    content.remove_prefix(end == std::string_view::npos ? content.size() : end + 1);
    if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
    line(++number, text);
  }
}

// Where the first byte stands that is no part of well-formed UTF-8 (surrogates, overlong forms and values
// beyond U+10FFFF are not well-formed); npos if there is none.
std::size_t find_invalid_utf8(std::string_view text);

}  // namespace costeff
