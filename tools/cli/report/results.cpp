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

// The axis of scores, with the values it is to hold.
std::string score_axis(const ReportData& data, const std::vector<double>& scores) {
  const std::string name = metric_name(data.metric);
  const AxisRange range = range_of(scores, 0.08);
  return fmt::format("set yrange {}\nset ytics {:.6g}\n{}", range_text(range), tic_step(range, 6),
                     y_label(fmt::format("{} on dev{}", name, is_percentage(data.metric) ? ", %" : "")));
}

// How a model is drawn.
struct Point {
  const ModelReport* model;
  const char* title;
  const char* style;
};

// "20 M" for a tic, where a measured value would be "20.0 M".
std::string round_count(double number) {
  std::string text = count_text(number);
  if (const std::size_t at = text.find(".0 "); at != std::string::npos) text.erase(at, 2);
  return text;
}

std::string threshold_text(double threshold) {
  return fmt::format("{:.3g}", threshold);
}

}  // namespace

Figure score_flops_figure(const ReportData& data) {
  Figure figure{
      .name = "score-flops",
      .heading = "Score against FLOPs",
      .read =
          "Further left is cheaper, on a logarithmic axis, and higher is better; the line joins the "
          "thresholds of the early exit, each a way to use the same slender model.",
      .look =
          "How long the line stays high on its way to the left, and how far below the fine-tuned model "
          "it begins.",
      .height = 366};
  std::string rows;
  std::vector<double> flops;
  std::vector<double> scores;
  const auto seen = [&](const std::optional<double>& cost, const std::optional<double>& score) {
    if (!cost || !score || *cost <= 0) return false;
    flops.push_back(*cost);
    scores.push_back(drawn(data, *score));
    return true;
  };
  for (const SweepPoint& point : data.sweep) {
    if (seen(point.flops, point.score)) rows += fmt::format("{:.17g} {:.17g}\n", flops.back(), scores.back());
  }
  Plot plot("score");
  if (!rows.empty()) plot.add(rows, "with linespoints pt 7 ps 0.45 lw 2 lc rgb accent title 'thresholds'");
  const ModelReport* early = data.early_exit();
  const std::string chosen =
      early == nullptr ? "" : fmt::format("chosen: {}", threshold_text(*early->threshold));
  const std::vector<Point> points = {
      {data.fine_tuned(), "fine-tuned", "pt 5 ps 1.1 lc rgb orange"},
      {data.assistant(), "assistant", "pt 9 ps 1.3 lc rgb violet"},
      {data.full_depth(), "full depth", "pt 13 ps 1.5 lc rgb accent"},
      {data.early_exit(), chosen.c_str(), "pt 6 ps 1.7 lw 2.5 lc rgb ink"},
  };
  for (const Point& point : points) {
    if (point.model == nullptr || !seen(point.model->flops, point.model->score)) continue;
    plot.add(fmt::format("{:.17g} {:.17g}\n", flops.back(), scores.back()),
             fmt::format("with points {} title '{}'", point.style, point.title));
  }
  if (plot.empty()) {
    figure.missing = "There are no scores with FLOPs yet.";
    return figure;
  }
  const auto [low, high] = std::minmax_element(flops.begin(), flops.end());
  const AxisRange x{*low / 1.25, *high * 1.25};
  figure.script = fmt::format(
      "{}{}set logscale x\nset xrange {}\nset xtics {}\nset xlabel 'FLOPs of a sentence' tc rgb "
      "ink\n{}{}{}",
      plot.blocks(), edges(figure, 12, figure.height - 12 - below_plot(3)), range_text(x),
      log_tics(x, round_count), score_axis(data, scores), key_below(3), plot.command());
  return figure;
}

Figure score_exits_figure(const ReportData& data) {
  Figure figure{.name = "score-exits",
                .heading = "Score at each exit",
                .read =
                    "Each point is the score when every sentence leaves at that exit; the dashed line is the "
                    "fine-tuned model, which has its last exit alone.",
                .look =
                    "From which exit on the slender model is about as good as at its last, because "
                    "sentences may leave there."};
  Plot plot("exits");
  std::vector<double> scores;
  std::int64_t last = 1;
  const ModelReport* slender = data.full_depth() != nullptr && !data.full_depth()->exits.empty()
                                   ? data.full_depth()
                                   : data.early_exit();
  for (const Point& series : {Point{data.assistant(), "assistant", "pt 9 ps 1.1 lc rgb violet"},
                              Point{slender, "COST-EFF", "pt 7 ps 0.9 lc rgb accent"}}) {
    if (series.model == nullptr || series.model->exits.empty()) continue;
    std::string rows;
    for (const ExitScore& exit : series.model->exits) {
      scores.push_back(drawn(data, exit.score));
      last = std::max(last, exit.exit);
      rows += fmt::format("{} {:.17g}\n", exit.exit, scores.back());
    }
    plot.add(rows, fmt::format("with linespoints lw 2 {} title '{}'", series.style, series.title));
  }
  if (plot.empty()) {
    figure.missing = "There are no scores per exit yet.";
    return figure;
  }
  if (const ModelReport* tuned = data.fine_tuned(); tuned != nullptr && tuned->score) {
    scores.push_back(drawn(data, *tuned->score));
    plot.add(fmt::format("{:.17g} with lines dt 2 lw 1.5 lc rgb orange title 'fine-tuned'", scores.back()));
  }
  figure.script = fmt::format("{}{}set xrange [0.7:{}.3]\nset xtics 1\n{}{}{}{}", plot.blocks(),
                              edges(figure, 12, figure.height - below_plot(2)), last, x_label("exit"),
                              score_axis(data, scores), key_below(2), plot.command());
  return figure;
}

Figure exit_histogram_figure(const ReportData& data) {
  Figure figure{
      .name = "exit-histogram",
      .heading = "Where sentences leave",
      .read =
          "Each bar is the share of dev sentences that leave at that exit, at the chosen threshold; "
          "no layer behind the exit is computed for them.",
      .look =
          "The weight on the left is the saving, and a tall last bar is the sentences that no exit "
          "was certain of."};
  const ModelReport* model = data.early_exit();
  std::vector<double> counts = model == nullptr ? std::vector<double>() : model->exit_counts;
  if (model != nullptr && counts.empty()) {
    for (const SweepPoint& point : data.sweep) {
      if (point.threshold && *point.threshold == *model->threshold) counts = point.exit_counts;
    }
  }
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
  if (!(total > 0)) {
    figure.missing = "It is not known yet where sentences leave.";
    return figure;
  }
  if (model->average_exit) {
    figure.read = fmt::format(
        "Each bar is the share of dev sentences that leave at that exit at the chosen threshold of {}; on "
        "average they leave at exit {:.1f} of {}.",
        threshold_text(*model->threshold), *model->average_exit, counts.size());
  }
  std::string rows;
  std::string labels;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double share = 100 * counts[i] / total;
    rows += fmt::format("{} {:.17g}\n", i + 1, share);
    labels +=
        fmt::format("set label {} at {},{:.17g} center offset 0,0.6 tc rgb ink\n",
                    gnuplot_string(counts.size() > 8 ? fmt::format("{:.0f}", share)
                                                     : fmt::format("{:.{}f} %", share, share < 9.95 ? 1 : 0)),
                    i + 1, share);
  }
  const double most = 100 * *std::max_element(counts.begin(), counts.end()) / total;
  Plot plot("exits");
  plot.add(rows, "with boxes lc rgb accent notitle");
  figure.script = fmt::format(
      "{}{}{}set xrange [0.4:{}.6]\nset yrange [0:{:.17g}]\nset xtics 1 scale 0\nset boxwidth 0.72\n{}{}{}",
      plot.blocks(), labels, edges(figure, 12, figure.height - below_plot(0)), counts.size(), 1.15 * most,
      x_label("exit"), y_label("sentences, %"), plot.command());
  return figure;
}

Figure time_figure(const ReportData& data) {
  Figure figure{.name = "time",
                .heading = "Time per stage",
                .read = "Each bar is the time that a stage trained for, as long as it is wide.",
                .look = "Which stage a faster engine, or fewer epochs, would shorten most."};
  std::vector<const StageReport*> stages;
  double total = 0;
  double most = 0;
  for (const StageReport& stage : data.stages) {
    if (!stage.seconds || *stage.seconds < 0) continue;
    stages.push_back(&stage);
    total += *stage.seconds;
    most = std::max(most, *stage.seconds);
  }
  if (stages.empty() || most <= 0) {
    figure.missing = "No stage has ended yet.";
    return figure;
  }
  figure.read =
      fmt::format("Each bar is the time that a stage trained for; in all it was {}.", duration_text(total));
  figure.height = 70 + 42 * static_cast<int>(stages.size());
  const bool minutes = most >= 180;
  std::string rows;
  std::vector<std::string> tics;
  std::string labels;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    const double time = *stages[i]->seconds / (minutes ? 60 : 1);
    rows += fmt::format("{:.17g} {} 0 {:.17g} {:.17g} {:.17g}\n", time / 2, i, time,
                        static_cast<double>(i) - 0.32, static_cast<double>(i) + 0.32);
    tics.push_back(fmt::format("{} {}", gnuplot_tic(plain_text(stages[i]->title(), 30)), i));
    labels += fmt::format("set label {} at {:.17g},{} offset 0.6,0 tc rgb ink\n",
                          gnuplot_string(duration_text(*stages[i]->seconds)), time, i);
  }
  Plot plot("stages");
  plot.add(rows, "using 1:2:3:4:5:6 with boxxyerror lc rgb accent notitle");
  figure.script = fmt::format(
      "{}{}set lmargin at screen 0.37\nset yrange [{}.6:-0.6]\nset xrange [0:{:.17g}]\nset ytics ({}) scale "
      "0 tc rgb ink\nset border 2\n"
      "unset grid\nset grid xtics lt 1 lw 1 lc rgb rule\n{}{}",
      plot.blocks(), labels, stages.size() - 1, 1.22 * most / (minutes ? 60 : 1), fmt::join(tics, ", "),
      x_label(minutes ? "minutes" : "seconds"), plot.command());
  return figure;
}

}  // namespace costeff
