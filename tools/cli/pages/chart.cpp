#include "tools/cli/pages/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace costeff {

AxisRange range_of(const std::vector<double>& values, double margin) {
  if (values.empty()) return {};
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  double width = *high - *low;
  if (width <= 0) width = *high == 0 ? 1 : std::fabs(*high) * 0.1;
  return {*low - margin * width, *high + margin * width};
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

bool in_key(std::size_t i, std::size_t n) {
  return n <= 6 || i == 0 || i + 1 == n || i == n / 2;
}

std::string point(double x, double y) {
  return fmt::format("{:.10g} {:.10g}\n", x, y);
}

void Chart::add(const std::string& rows, const std::string& how, const std::string& title) {
  blocks.push_back(rows);
  parts.push_back(fmt::format("$NAME{} {} {}", blocks.size() - 1, how,
                              title.empty() ? "notitle" : "title " + gnuplot_string(title)));
}

void Chart::label(std::string_view text, std::string_view place, std::string_view ink) {
  settings += fmt::format("set label {} at {} tc rgb {}\n", gnuplot_string(text), place, ink);
}

std::string Chart::script(const std::string& name) const {
  std::string out;
  for (std::size_t i = 0; i < blocks.size(); ++i)
    out += fmt::format("${}{} << EOD\n{}EOD\n", name, i, blocks[i]);
  for (const auto& [axis, letter, offset] : {std::tuple(&x, 'x', "0,0.3"), std::tuple(&y, 'y', "0.8,0")}) {
    if (axis->logarithmic) out += fmt::format("set logscale {}\n", letter);
    if (axis->range)
      out += fmt::format("set {}range [{:.10g}:{:.10g}]\n", letter, axis->range->low, axis->range->high);
    if (axis->most_tics > 0)
      out += fmt::format("set {}tics {:.6g}\n", letter, tic_step(*axis->range, axis->most_tics));
    if (!axis->tics.empty()) out += fmt::format("set {}tics {}\n", letter, axis->tics);
    if (!axis->label.empty())
      out +=
          fmt::format("set {}label {} offset {} tc rgb ink\n", letter, gnuplot_string(axis->label), offset);
  }
  if (key_rows > 0) {
    out += fmt::format("set key at screen 0.52, screen 0.01 center bottom horizontal maxrows {} width -2\n",
                       key_rows);
  }
  std::string plot = fmt::format("plot {}\n", fmt::join(parts, ", "));
  for (std::size_t at = 0; (at = plot.find("$NAME", at)) != std::string::npos;) plot.replace(at + 1, 4, name);
  return out + settings + plot;
}

Chart bars(const std::vector<std::string>& names, const std::string& x_label, AxisRange range) {
  std::vector<std::string> tics;
  for (std::size_t i = 0; i < names.size(); ++i)
    tics.push_back(fmt::format("{} {}", gnuplot_tic(names[i]), i));
  Chart chart{.x = {.label = x_label, .range = range},
              .y = {.range = AxisRange{static_cast<double>(names.size()) - 0.4, -0.6},
                    .tics = fmt::format("({}) scale 0 tc rgb ink", fmt::join(tics, ", "))}};
  chart.settings =
      "set lmargin at screen 0.38\nunset grid\nset grid xtics lt 1 lw 1 lc rgb rule\nset border 1 lc rgb "
      "muted\n";
  return chart;
}

namespace {

// Upper and lower edge of a plot, in pixels from the picture's top.
std::string edges(const Figure& figure, double upper, double lower) {
  return fmt::format("set tmargin at screen {:.5f}\nset bmargin at screen {:.5f}\n",
                     1 - upper / figure.height, 1 - lower / figure.height);
}

}  // namespace

std::string script(const Figure& figure, const Chart& chart, double top) {
  return edges(figure, top, figure.height - chart.below()) + chart.script("data");
}

void stack(Figure& figure, std::vector<Chart> charts, const std::vector<double>& heights, double top,
           double gap) {
  double height = top - gap;
  int key_rows = 0;
  for (std::size_t i = 0; i < charts.size(); ++i) {
    height += heights[i] + gap;
    key_rows = std::max(key_rows, charts[i].key_rows);
  }
  charts.back().key_rows = std::max(charts.back().key_rows, key_rows);
  figure.height = static_cast<int>(height + charts.back().below());
  figure.script = "set multiplot\n";
  for (std::size_t i = 0; i < charts.size(); ++i, top += gap) {
    figure.script +=
        fmt::format("unset label\nunset arrow\nunset xlabel\nunset logscale\nset format x '{}'\n{}{}",
                    i + 1 == charts.size() ? "%g" : "", edges(figure, top, top + heights[i]),
                    charts[i].script(fmt::format("data{}x", i)));
    top += heights[i];
  }
  figure.script += "unset multiplot\n";
}

Figure figure_of(std::string name, std::string_view key, const Json& values) {
  Prose text = prose(key, values);
  Figure figure{.name = std::move(name), .heading = text.heading};
  if (text.paragraphs.size() > 1 && text.paragraphs.back().starts_with('`')) {
    const std::string& equation = text.paragraphs.back();
    figure.equation = equation.substr(1, equation.size() - 2);
    text.paragraphs.pop_back();
  }
  figure.text = text.text();
  return figure;
}

}  // namespace costeff
