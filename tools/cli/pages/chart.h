// gnuplot scripts of charts: axes, series of points, and a key below the plot.
//
//   Chart chart{.x = {.label = "step"}, .y = {.label = "loss"}};
//   chart.add(point(1, 0.7) + point(2, 0.5), "with lines lw 2 lc rgb accent");
//   figure.script = script(figure, chart);
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/cli/pages/gnuplot.h"
#include "tools/cli/pages/words.h"

namespace costeff {

// A figure with the prose of a key: heading, text, and an equation as its last paragraph if it stands in
// backquotes.
Figure figure_of(std::string name, std::string_view key, const Json& values = Json::object());

struct AxisRange {
  double low = 0;
  double high = 1;
};

// The range of the values, wider by `margin` of itself at both ends, and never empty.
AxisRange range_of(const std::vector<double>& values, double margin);
// A round step of tics: at most `most` of them in the range.
double tic_step(AxisRange range, int most);
// Labels at 1, 2 and 5 times the powers of ten of a logarithmic axis, as "('0.1' 0.1, '0.2' 0.2)".
std::string log_tics(AxisRange range, std::string (*label)(double));

// The i-th of n colours from orange to violet, legible on light and on dark ground.
std::string ramp(std::size_t i, std::size_t n);
// Whether the i-th of n lines stands in the key: all of a few; of many the first, the last and a middle one.
bool in_key(std::size_t i, std::size_t n);

std::string point(double x, double y);  // a row of a series

struct Axis {
  std::string label;
  std::optional<AxisRange> range;
  int most_tics = 0;      // above 0: at round steps, at most so many
  std::string tics = {};  // otherwise: what follows "set xtics"
  bool logarithmic = false;
};

struct Chart {
  Axis x, y;
  int key_rows = 0;           // of the key below the plot
  std::string settings = {};  // lines of gnuplot's that stand before the plot command

  std::vector<std::string> blocks = {}, parts = {};  // of the plot command: rows, and what is drawn

  // Rows of points, how they are drawn, and a name for the key.
  void add(const std::string& rows, const std::string& how, const std::string& title = "");
  // What is drawn without rows, "0.5 with lines".
  void add_formula(const std::string& formula) { parts.push_back(formula + " notitle"); }
  // A text at a place that gnuplot understands: "2,0.5 center".
  void label(std::string_view text, std::string_view place, std::string_view ink = "ink");

  bool empty() const { return parts.empty(); }
  double below() const { return 60 + 21 * key_rows; }  // pixels below the plot's lower edge
  std::string script(const std::string& name) const;   // `name` differs from that of other charts of a figure
};

// A chart of horizontal bars, a row a name from the top down: what is drawn has its row number as y.
Chart bars(const std::vector<std::string>& names, const std::string& x_label, AxisRange range);

// The figure's script: one chart, whose plot begins `top` pixels below the picture's upper edge.
std::string script(const Figure& figure, const Chart& chart, double top = 12);
// Charts one above another with one x axis, each plot `height` pixels high; sets the figure's height, too.
void stack(Figure& figure, std::vector<Chart> charts, const std::vector<double>& heights, double top,
           double gap);

}  // namespace costeff
