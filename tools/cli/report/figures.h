// The pictures of a report, in the order of its page. A figure without what it needs has `missing` set, and
// no script.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tools/cli/pages/gnuplot.h"
#include "tools/cli/report/data.h"

namespace costeff {

// Scores, exits and costs.
Figure score_flops_figure(const ReportData& data);
Figure score_exits_figure(const ReportData& data);
Figure exit_histogram_figure(const ReportData& data);
Figure time_figure(const ReportData& data);
// Loss and dev scores of a stage.
Figure training_figure(const ReportData& data, const StageReport& stage);
// What slenderising removed.
Figure widths_figure(const ReportData& data);
Figure heads_figure(const ReportData& data);
Figure neurons_figure(const ReportData& data);

// ---- parts of scripts

struct AxisRange {
  double low = 0;
  double high = 1;
};

// The range of the values, wider by `margin` of itself at both ends, and never empty.
AxisRange range_of(const std::vector<double>& values, double margin);
std::string range_text(AxisRange range);  // "[0.1:0.9]"
// Labels at 1, 2 and 5 times the powers of ten of a logarithmic axis, as "('0.1' 0.1, '0.2' 0.2)".
std::string log_tics(AxisRange range, std::string (*label)(double));
// The i-th of n colours from orange to violet, legible on light and on dark ground.
std::string ramp(std::size_t i, std::size_t n);
// A round step of tics: at most `most` of them in the range.
double tic_step(AxisRange range, int most);
// Margins of a plot, or a panel of one: its upper and lower edge, in pixels from the picture's top.
std::string edges(const Figure& figure, double upper, double lower);
// What stands below a plot's lower edge, in pixels: labels of tics and axis, and a key of so many rows.
double below_plot(int key_rows);
// That key, at the picture's bottom.
std::string key_below(int rows);
// The label of an axis, a string of gnuplot's: "set xlabel 'step' ...".
std::string x_label(const std::string& text);
std::string y_label(const std::string& text);

// Rows that a plot command names as $name.
std::string data_block(const std::string& name, const std::string& rows);

// A plot command and the rows that it draws, which stand before it in the script.
class Plot {
 public:
  // `name` begins the names of the data blocks; it must differ from those of other plots in the script.
  explicit Plot(std::string name) : name_(std::move(name)) {}

  // Rows, and how they are drawn: "with lines lw 2 notitle".
  void add(const std::string& rows, const std::string& how);
  // What is drawn without rows: "0.5 with lines".
  void add(const std::string& formula) { parts_.push_back(formula); }

  bool empty() const { return parts_.empty(); }
  const std::string& blocks() const { return blocks_; }
  std::string command() const;

 private:
  std::string name_;
  std::string blocks_;
  std::vector<std::string> parts_;
};

}  // namespace costeff
