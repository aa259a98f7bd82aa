#include "tools/cli/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "tools/cli/streams.h"

namespace costeff {
namespace {

constexpr std::size_t kBar = 24;  // columns between the brackets
constexpr std::chrono::milliseconds kRedraw{100};
constexpr std::chrono::seconds kPlain{10};

std::size_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

bool can_redraw() {
  const char* kind = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 && kind != nullptr && std::string_view(kind) != "dumb";
}

}  // namespace

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::ceil(std::clamp(seconds, 0.0, 3.6e9)));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string progress_line(std::size_t width, std::string_view name, std::int64_t done, std::int64_t total,
                          std::string_view figures, double seconds_left) {
  const double share =
      total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 0.0;
  std::string text = fmt::format("{} {:3.0f} %", name, std::floor(100 * share));
  std::string tail = fmt::format("  {}/{}", done, total);
  if (!figures.empty()) tail += fmt::format("  {}", figures);
  if (seconds_left >= 0) tail += fmt::format("  {} left", duration_text(seconds_left));
  if (width != kNoBar && text.size() + tail.size() + kBar + 3 <= width) {
    const auto filled = static_cast<std::size_t>(share * static_cast<double>(kBar));
    text += fmt::format(" [{}{}]", std::string(filled, '#'), std::string(kBar - filled, '.'));
  }
  return (text + tail).substr(0, width);
}

Progress::Progress(std::string name)
    : name_(std::move(name)), terminal_(can_redraw()), shown_(Clock::now()) {}

Progress::~Progress() {
  clear();
}

void Progress::clear() {
  if (drawn_) say("\r\033[K");
  drawn_ = false;
}

double Progress::seconds_left(std::int64_t done, std::int64_t total) {
  if (total != total_) {  // another part of the job
    total_ = total;
    first_ = done;
    started_ = Clock::now();
  }
  if (done <= first_) return -1;
  const std::chrono::duration<double> gone = Clock::now() - started_;
  return gone.count() / static_cast<double>(done - first_) * static_cast<double>(total - done);
}

void Progress::update(std::int64_t done, std::int64_t total, std::string_view figures) {
  const double left = seconds_left(done, total);
  const Clock::time_point now = Clock::now();
  if (now - shown_ < (terminal_ ? Clock::duration(kRedraw) : Clock::duration(kPlain))) return;
  shown_ = now;
  if (terminal_) {  // The last column stays free: some terminals wrap when it is written.
    const std::string line = progress_line(terminal_width() - 1, name_, done, total, figures, left);
    say("\r\033[K" + line);
    drawn_ = true;
  } else {
    say(progress_line(kNoBar, name_, done, total, figures, left) + "\n");
  }
}

void Progress::note(std::string_view line) {
  clear();
  say(fmt::format("{}\n", line));
}

}  // namespace costeff
