#include "tools/cli/streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "data/text_file.h"
#include "data/tsv.h"
#include "tensor/error.h"

namespace costeff {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 16;

[[noreturn]] void output_failed() {
  fail("cannot write standard output: {}", std::strerror(errno));
}

}  // namespace

void prepare_streams() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    if (fcntl(descriptor, F_GETFD) >= 0) continue;
    // Opened the wrong way round, so that using it stays the error that it was; nobody hears stderr anyway.
    const int opened = open("/dev/null", descriptor == STDOUT_FILENO ? O_RDONLY : O_WRONLY);
    if (opened >= 0 && opened != descriptor) close(opened);
  }
}

void write_output(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) output_failed();
}

void flush_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) output_failed();
}

void say(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stderr) != text.size()) std::clearerr(stderr);
}

bool input_is_terminal() {
  return isatty(STDIN_FILENO) == 1;
}

void InputTexts::refuse(const std::string& why) const {
  fail("standard input:{}: {}", number_, why);
}

bool InputTexts::fill() {
  if (ended_) return false;
  buffer_.erase(0, begin_);
  begin_ = 0;
  const std::size_t size = buffer_.size();
  buffer_.resize(size + kChunk);
  ssize_t count = -1;
  do {
    count = read(STDIN_FILENO, buffer_.data() + size, kChunk);
  } while (count < 0 && errno == EINTR);
  const int error = errno;
  buffer_.resize(size + static_cast<std::size_t>(count > 0 ? count : 0));
  if (count < 0) fail("cannot read standard input: {}", std::strerror(error));
  ended_ = count == 0;
  return !ended_;
}

bool InputTexts::next_line(std::string& line) {
  std::size_t searched = 0;
  std::size_t end = std::string::npos;
  while ((end = buffer_.find('\n', begin_ + searched)) == std::string::npos) {
    searched = buffer_.size() - begin_;
    if (searched > Tsv::kLongestLine || !fill()) break;
  }
  if (end == std::string::npos) end = buffer_.size();
  if (end == begin_ && end == buffer_.size()) return false;
  ++number_;
  if (end - begin_ > Tsv::kLongestLine) refuse(fmt::format("longer than {} bytes", Tsv::kLongestLine));
  line.assign(buffer_, begin_, end - begin_);
  begin_ = end == buffer_.size() ? end : end + 1;
  if (line.ends_with('\r')) line.pop_back();
  if (number_ == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
  return true;
}

bool InputTexts::next(InputText& text) {
  std::string line;
  if (!next_line(line)) return false;
  if (const std::size_t at = find_invalid_utf8(line); at != std::string_view::npos) {
    refuse(fmt::format("not UTF-8 (byte {} of the line)", at + 1));
  }
  if (const std::size_t at = line.find('\0'); at != std::string::npos) {
    refuse(fmt::format("a NUL byte (byte {} of the line)", at + 1));
  }
  const std::size_t tab = line.find('\t');
  if (tab != std::string::npos && line.find('\t', tab + 1) != std::string::npos) {
    refuse("more than one tab; a line is a text, or two with a tab between them");
  }
  text.pair = tab == std::string::npos ? std::nullopt : std::optional(line.substr(tab + 1));
  text.text = tab == std::string::npos ? std::move(line) : line.substr(0, tab);
  return true;
}

}  // namespace costeff
