// Standard input and output as the commands use them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace costeff {

// Once, first: a closed pipe and a limit on file sizes become errors of write(2) instead of signals, and the
// three standard descriptors are taken even if the caller closed them, so that no file that is opened later
// gets written by accident.
void prepare_streams();

// Throws Error when standard output cannot be written.
void write_output(std::string_view text);
void flush_output();
// To stderr; when nobody can read it, that is no error of its own.
void say(std::string_view text);

bool input_is_terminal();

// One line of standard input: a text, or two with a tab between them.
struct InputText {
  std::string text;
  std::optional<std::string> pair;
};

// The lines of standard input, with "\n" or "\r\n" ends; a byte-order mark at the start is left out.
class InputTexts {
 public:
  // False at the end. Throws Error naming the line if it is too long, is not UTF-8, holds a NUL byte or more
  // than one tab; the lines before it were returned.
  bool next(InputText& text);

 private:
  bool next_line(std::string& line);
  bool fill();
  [[noreturn]] void refuse(const std::string& why) const;

  std::string buffer_;
  std::size_t begin_ = 0;  // of what was not returned yet
  std::size_t number_ = 0;
  bool ended_ = false;
};

}  // namespace costeff
