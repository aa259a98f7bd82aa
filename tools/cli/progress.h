// How far a long job is, on stderr: one line that is redrawn on a terminal, a plain line now and then
// elsewhere.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace costeff {

// "12 s", "3:07", "2:04:11".
std::string duration_text(double seconds);

constexpr std::size_t kNoBar = static_cast<std::size_t>(-1);

// One line of at most `width` columns: name, share, bar, count, figures, time left (unknown: below 0). What
// does not fit is left out, the bar first; kNoBar as the width leaves out the bar alone.
std::string progress_line(std::size_t width, std::string_view name, std::int64_t done, std::int64_t total,
                          std::string_view figures, double seconds_left);

class Progress {
 public:
  explicit Progress(std::string name);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Shows it at most ten times a second on a terminal, every ten seconds elsewhere. With another total the
  // time left is reckoned anew.
  void update(std::int64_t done, std::int64_t total, std::string_view figures = "");
  // A line that stays.
  void note(std::string_view line);

 private:
  using Clock = std::chrono::steady_clock;

  double seconds_left(std::int64_t done, std::int64_t total);
  void clear();

  std::string name_;
  bool terminal_;
  bool drawn_ = false;
  Clock::time_point shown_;
  Clock::time_point started_;
  std::int64_t total_ = -1;
  std::int64_t first_ = -1;  // the count when the time was started_
};

}  // namespace costeff
