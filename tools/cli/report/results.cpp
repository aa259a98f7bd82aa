// The report's figures of what came out: scores, FLOPs, exits, time.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tools/cli/pages/text.h"
#include "tools/cli/progress.h"
#include "tools/cli/report/figures.h"

namespace costeff {
namespace {

// Scores are drawn in the unit they are read in.
double drawn(const ReportData& data, double score) {
  return is_percentage(data.metric) ? 100 * score : score;
}

Axis score_axis(const ReportData& data, const std::vector<double>& scores) {
  const char* unit = is_percentage(data.metric) ? ", %" : "";
  return {.label = fmt::format("{} on dev{}", metric_name(data.metric), unit),
          .range = range_of(scores, 0.08),
          .most_tics = 6};
}

// How a model is drawn.
struct Point {
  const ModelRecord* model;
  std::string title;
  const char* style;
};

// "20 M" for a tic, where a measured value would be "20.0 M".
std::string round_count(double number) {
  std::string text = count_text(number);
  if (const std::size_t at = text.find(".0 "); at != std::string::npos) text.erase(at, 2);
  return text;
}

std::vector<OperatingPoint> sweep_of(const ReportData& data) {
  return data.results ? data.results->sweep : std::vector<OperatingPoint>();
}

Figure missing(Figure figure, const char* key) {
  figure.missing = words(key);
  return figure;
}

}  // namespace

Figure score_flops_figure(const ReportData& data) {
  Figure figure = figure_of("score-flops", "report.score-flops");
  figure.height = 366;
  std::vector<double> flops, scores;
  const auto row = [&](double cost, double score) -> std::string {
    if (!(cost > 0) || std::isnan(score)) return "";
    flops.push_back(cost);
    scores.push_back(drawn(data, score));
    return point(cost, scores.back());
  };
  Chart chart{.x = {.label = "FLOPs of a sentence", .logarithmic = true}, .key_rows = 3};
  const auto add = [&](const std::string& rows, const char* how, const std::string& title) {
    if (!rows.empty()) chart.add(rows, how, title);
  };
  std::string line;
  for (const OperatingPoint& p : sweep_of(data)) line += row(p.flops, p.score);
  add(line, "with linespoints pt 7 ps 0.45 lw 2 lc rgb accent", "thresholds");
  const ModelRecord* early = data.find(ModelRole::early_exit);
  const std::vector<Point> points = {
      {data.find(ModelRole::fine_tuned), "fine-tuned", "with points pt 5 ps 1.1 lc rgb orange"},
      {data.find(ModelRole::assistant), "assistant", "with points pt 9 ps 1.3 lc rgb violet"},
      {data.find(ModelRole::full_depth), "full depth", "with points pt 13 ps 1.5 lc rgb accent"},
      {early, early == nullptr ? "" : fmt::format("chosen: {:.3g}", *early->threshold),
       "with points pt 6 ps 1.7 lw 2.5 lc rgb ink"},
  };
  for (const Point& p : points) {
    if (p.model != nullptr) add(row(p.model->flops, p.model->score), p.style, p.title);
  }
  if (chart.empty()) return missing(std::move(figure), "report.no_score_flops");
  const auto [low, high] = std::minmax_element(flops.begin(), flops.end());
  chart.x.range = AxisRange{*low / 1.25, *high * 1.25};
  chart.x.tics = log_tics(*chart.x.range, round_count);
  chart.y = score_axis(data, scores);
  figure.script = script(figure, chart);
  return figure;
}

Figure score_exits_figure(const ReportData& data) {
  Figure figure = figure_of("score-exits", "report.score-exits");
  Chart chart{.x = {.label = "exit", .tics = "1"}, .key_rows = 2};
  std::vector<double> scores;
  double last = 1;
  for (const Point& series :
       {Point{data.find(ModelRole::assistant), "assistant", "pt 9 ps 1.1 lc rgb violet"},
        Point{data.find(ModelRole::full_depth), "full depth", "pt 7 ps 0.9 lc rgb accent"}}) {
    if (series.model == nullptr || !series.model->exits) continue;
    std::string rows;
    double exit = static_cast<double>(series.model->exits->first);
    for (const Evaluation& evaluation : series.model->exits->exits) {
      scores.push_back(drawn(data, evaluation.score()));
      rows += point(exit, scores.back());
      last = std::max(last, exit++);
    }
    chart.add(rows, fmt::format("with linespoints lw 2 {}", series.style), series.title);
  }
  if (chart.empty()) return missing(std::move(figure), "report.no_score_exits");
  if (const ModelRecord* tuned = data.find(ModelRole::fine_tuned);
      tuned != nullptr && !std::isnan(tuned->score)) {
    scores.push_back(drawn(data, tuned->score));
    chart.add(point(0.7, scores.back()) + point(last + 0.3, scores.back()),
              "with lines dt 2 lw 1.5 lc rgb orange", "fine-tuned");
  }
  chart.x.range = AxisRange{0.7, last + 0.3};
  chart.y = score_axis(data, scores);
  figure.script = script(figure, chart);
  return figure;
}

Figure exit_histogram_figure(const ReportData& data) {
  const ModelRecord* model = data.find(ModelRole::early_exit);
  const ModelRecord known = model == nullptr ? ModelRecord() : *model;
  const std::vector<double> counts(known.exit_counts.begin(), known.exit_counts.end());
  Figure figure = figure_of(
      "exit-histogram", "report.exit-histogram",
      named("threshold", known.threshold.value_or(0), "average", known.average_exit, "exits", counts.size()));
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
  if (!(total > 0)) return missing(std::move(figure), "report.no_exit_histogram");
  const double most = 100 * *std::max_element(counts.begin(), counts.end()) / total;
  Chart chart{.x = {.label = "exit",
                    .range = AxisRange{0.4, static_cast<double>(counts.size()) + 0.6},
                    .tics = "1 scale 0"},
              .y = {.label = "sentences, %", .range = AxisRange{0, 1.15 * most}},
              .settings = "set boxwidth 0.72\n"};
  std::string rows;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double share = 100 * counts[i] / total;
    rows += point(static_cast<double>(i + 1), share);
    chart.label(counts.size() > 8 ? fmt::format("{:.0f}", share)
                                  : fmt::format("{:.{}f} %", share, share < 9.95 ? 1 : 0),
                fmt::format("{},{:.10g} center offset 0,0.6", i + 1, share));
  }
  chart.add(rows, "with boxes lc rgb accent");
  figure.script = script(figure, chart);
  return figure;
}

Figure time_figure(const ReportData& data) {
  std::vector<const StageReport*> stages;
  std::vector<std::string> names;
  double total = 0, most = 0;
  for (const StageReport& stage : data.stages) {
    if (!stage.seconds) continue;
    stages.push_back(&stage);
    names.push_back(stage.title);
    total += *stage.seconds;
    most = std::max(most, *stage.seconds);
  }
  Figure figure = figure_of("time", "report.time", named("total", duration_text(total)));
  if (most <= 0) return missing(std::move(figure), "report.no_time");
  figure.height = 70 + 42 * static_cast<int>(stages.size());
  const double unit = most >= 180 ? 60 : 1;
  Chart chart = bars(names, unit == 60 ? "minutes" : "seconds", {0, 1.22 * most / unit});
  std::string rows;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const double time = *stages[i]->seconds / unit;
    rows += fmt::format("{} {:.10g}\n", i, time);
    chart.label(duration_text(*stages[i]->seconds), fmt::format("{:.10g},{} offset 0.6,0", time, i));
  }
  chart.add(rows, "using 2:1:(0):2:($1-0.32):($1+0.32) with boxxyerror lc rgb accent");
  figure.script = script(figure, chart);
  return figure;
}

}  // namespace costeff
