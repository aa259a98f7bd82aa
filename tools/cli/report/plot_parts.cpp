// Parts of gnuplot scripts that the report's figures share.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/cli/report/figures.h"

namespace costeff {

AxisRange range_of(const std::vector<double>& values, double margin) {
  if (values.empty()) return {};
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  double width = *high - *low;
  if (width <= 0) width = *high == 0 ? 1 : std::fabs(*high) * 0.1;
  return {*low - margin * width, *high + margin * width};
}

std::string range_text(AxisRange range) {
  return fmt::format("[{:.17g}:{:.17g}]", range.low, range.high);
}

std::string log_tics(AxisRange range, std::string (*label)(double)) {
  const int first = static_cast<int>(std::floor(std::log10(range.low)));
  const int last = static_cast<int>(std::ceil(std::log10(range.high)));
  const bool crowded = last - first > 3;
  std::string out;
  for (int power = first; power <= last; ++power) {
    for (const int step : {1, 2, 5}) {
      const double at = step * std::pow(10, power);
      if (at < range.low || at > range.high || (crowded && step > 1)) continue;
      out += fmt::format("{}{} {:.17g}", out.empty() ? "" : ", ", gnuplot_tic(label(at)), at);
    }
  }
  return fmt::format("({})", out);
}

// Hues from 25 to 265 degrees. Blue and violet are darker to the eye than orange and green, so they get more
// light.
std::string ramp(std::size_t i, std::size_t n) {
  const double place = n > 1 ? static_cast<double>(i) / static_cast<double>(n - 1) : 0;
  const double hue = (25 + 240 * place) / 60;
  const double lightness = 0.44 + 0.18 * place;
  const double chroma = 0.62 * (1 - std::fabs(2 * lightness - 1));
  const double second = chroma * (1 - std::fabs(std::fmod(hue, 2) - 1));
  const double base = lightness - chroma / 2;
  double rgb[3] = {base, base, base};
  const auto sector = static_cast<std::size_t>(hue);
  constexpr std::size_t kFirst[] = {0, 1, 1, 2, 2, 0};
  constexpr std::size_t kSecond[] = {1, 0, 2, 1, 0, 2};
  rgb[kFirst[sector]] += chroma;
  rgb[kSecond[sector]] += second;
  const auto byte = [](double x) { return static_cast<int>(std::lround(255 * std::clamp(x, 0.0, 1.0))); };
  return fmt::format("'#{:02x}{:02x}{:02x}'", byte(rgb[0]), byte(rgb[1]), byte(rgb[2]));
}

double tic_step(AxisRange range, int most) {
  const double raw = (range.high - range.low) / most;
  const double unit = std::pow(10, std::floor(std::log10(raw)));
  for (const int step : {1, 2, 5}) {
    if (step * unit >= raw) return step * unit;
  }
  return 10 * unit;
}

std::string edges(const Figure& figure, double upper, double lower) {
  return fmt::format("set tmargin at screen {:.5f}\nset bmargin at screen {:.5f}\n",
                     1 - upper / figure.height, 1 - lower / figure.height);
}

double below_plot(int key_rows) {
  return 60 + 21 * key_rows;
}

std::string key_below(int rows) {
  return fmt::format("set key at screen 0.52, screen 0.01 center bottom horizontal maxrows {} width -2\n",
                     rows);
}

std::string x_label(const std::string& text) {
  return fmt::format("set xlabel {} offset 0,0.3 tc rgb ink\n", gnuplot_string(text));
}

std::string y_label(const std::string& text) {
  return fmt::format("set ylabel {} offset 0.8,0 tc rgb ink\n", gnuplot_string(text));
}

std::string data_block(const std::string& name, const std::string& rows) {
  return fmt::format("${} << EOD\n{}EOD\n", name, rows);
}

void Plot::add(const std::string& rows, const std::string& how) {
  const std::string block = fmt::format("{}{}", name_, parts_.size());
  blocks_ += data_block(block, rows);
  parts_.push_back(fmt::format("${} {}", block, how));
}

std::string Plot::command() const {
  return fmt::format("plot {}\n", fmt::join(parts_, ", "));
}

}  // namespace costeff
