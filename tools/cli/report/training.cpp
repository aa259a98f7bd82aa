// The report's figure of a stage's training: its loss, and its scores on dev.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/cli/pages/text.h"
#include "tools/cli/report/figures.h"

namespace costeff {
namespace {

// Points that are drawn of a curve: more than a screen shows only make the page large.
constexpr std::size_t kMostPoints = 400;

struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t phase = 0;
  bool features_alone = false;
};

// Runs of points of one phase and kind. Each is smoothed by itself: what is trained for changes between them,
// and the loss with it.
std::vector<Span> spans_of(const std::vector<LossPoint>& points) {
  std::vector<Span> spans;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const LossPoint& p = points[i];
    if (i == 0 || p.phase != points[i - 1].phase || p.features_alone != points[i - 1].features_alone)
      spans.push_back({i, i, p.phase, p.features_alone});
    spans.back().end = i + 1;
  }
  return spans;
}

// Means of groups of neighbours.
std::string thinned(const std::vector<LossPoint>& points, const std::vector<Span>& spans) {
  const std::size_t group = (points.size() + kMostPoints - 1) / kMostPoints;
  std::string rows;
  for (const Span& span : spans) {
    for (std::size_t i = span.begin; i < span.end; i += group) {
      const std::size_t end = std::min(i + group, span.end);
      double step = 0;
      double loss = 0;
      for (std::size_t k = i; k < end; ++k) {
        step += points[k].step;
        loss += points[k].loss;
      }
      const auto count = static_cast<double>(end - i);
      rows += fmt::format("{:.1f} {:.6g}\n", step / count, loss / count);
    }
    rows += "\n";
  }
  return rows;
}

// Means over a window that is centred, and narrower at a span's ends.
std::string smoothed(const std::vector<LossPoint>& points, const Span& span) {
  const std::size_t half = std::max<std::size_t>(1, points.size() / 80);
  const std::size_t stride = points.size() / kMostPoints + 1;
  std::vector<double> sums = {0};
  for (std::size_t i = span.begin; i < span.end; ++i) sums.push_back(sums.back() + points[i].loss);
  const std::size_t size = span.end - span.begin;
  std::string rows;
  for (std::size_t i = 0; i < size; i += stride) {
    const std::size_t reach = std::min({half, i, size - 1 - i});
    const double mean = (sums[i + reach + 1] - sums[i - reach]) / static_cast<double>(2 * reach + 1);
    rows += fmt::format("{:.0f} {:.6g}\n", points[span.begin + i].step, mean);
  }
  return rows + "\n";
}

// Rounds give phases names of their own; only a few phases get a colour each.
bool coloured(const StageReport& stage) {
  return stage.phases.size() > 1 && stage.phases.size() <= 4 && stage.rounds.empty();
}

// Whether steps that learn features alone, which have a loss of their own level, get a colour.
bool features_apart(const StageReport& stage) {
  const auto alone = [](const LossPoint& point) { return point.features_alone; };
  const auto count = std::count_if(stage.losses.begin(), stage.losses.end(), alone);
  return !coloured(stage) && count > 0 && count < static_cast<std::ptrdiff_t>(stage.losses.size());
}

// Thin upright lines where phases or rounds begin; rounds are numbered above the picture.
std::string boundaries(const StageReport& stage, bool numbered) {
  std::string out;
  const auto line = [&](double step) {
    out += fmt::format(
        "set arrow from {0:.17g}, graph 0 to {0:.17g}, graph 1 nohead back lw 1.4 lc rgb rule\n", step);
  };
  if (stage.rounds.empty()) {
    const std::vector<Span> spans = spans_of(stage.losses);
    for (std::size_t i = 1; i < spans.size(); ++i) line(stage.losses[spans[i].begin].step - 0.5);
    return out;
  }
  const std::size_t every = stage.rounds.size() / 13 + 1;
  for (std::size_t i = 0; i < stage.rounds.size(); ++i) {
    line(stage.rounds[i].step);
    if (numbered && i % every == 0) {
      out += fmt::format("set label '{}' at {:.17g}, graph 1.05 left tc rgb muted font ',11'\n",
                         stage.rounds[i].round, stage.rounds[i].step);
    }
  }
  return out;
}

std::string loss_script(const StageReport& stage) {
  constexpr const char* kColours[] = {"accent", "orange", "violet", "ink"};
  const std::vector<Span> spans = spans_of(stage.losses);
  Plot plot("loss");
  plot.add(thinned(stage.losses, spans), "with lines lw 1 lc rgb wash notitle");
  std::vector<std::string> curves = {""};
  if (coloured(stage)) curves = stage.phases;
  if (features_apart(stage)) curves = {"predictions and features", "features alone"};
  for (std::size_t curve = 0; curve < curves.size(); ++curve) {
    std::string rows;
    for (const Span& span : spans) {
      const std::size_t its = coloured(stage) ? span.phase : span.features_alone ? 1 : 0;
      if (curves.size() == 1 || its == curve) rows += smoothed(stage.losses, span);
    }
    plot.add(rows, fmt::format("with lines lw 2 lc rgb {} {}", kColours[curve],
                               curves.size() > 1 ? "title " + gnuplot_string(plain_text(curves[curve], 30))
                                                 : "notitle"));
  }
  std::vector<double> losses;
  for (const LossPoint& point : stage.losses) losses.push_back(point.loss);
  const auto [low, high] = std::minmax_element(losses.begin(), losses.end());
  const AxisRange range = range_of(losses, 0.05);
  std::string axis = fmt::format("set yrange {}\nset ytics {:.6g}\n", range_text(range), tic_step(range, 5));
  if (*low > 0 && *high / *low > 6) {
    const AxisRange y{*low / 1.15, *high * 1.15};
    axis = fmt::format("set logscale y\nset yrange {}\nset ytics {}\n", range_text(y),
                       log_tics(y, [](double at) { return fmt::format("{:g}", at); }));
  }
  // Between the two levels, or where a falling loss leaves room.
  const char* key = features_apart(stage) ? "center" : "top";
  return fmt::format("{}{}{}{}set key {} right\n{}", plot.blocks(), axis, y_label("loss"),
                     boundaries(stage, true), key, plot.command());
}

std::string dev_script(const ReportData& data, const StageReport& stage) {
  const double unit = is_percentage(data.metric) ? 100 : 1;
  std::vector<double> scores;
  Plot plot("dev");
  std::vector<std::int64_t> exits;
  for (const DevPoint& point : stage.dev) {
    for (const ExitScore& exit : point.exits) {
      if (std::find(exits.begin(), exits.end(), exit.exit) == exits.end()) exits.push_back(exit.exit);
    }
  }
  std::sort(exits.begin(), exits.end());
  const auto add = [&](const std::string& rows, const std::string& colour, const std::string& title) {
    plot.add(rows, fmt::format("with linespoints pt 7 ps 0.45 lw 1.6 lc rgb {} {}", colour, title));
  };
  for (std::size_t i = 0; i < exits.size(); ++i) {
    std::string rows;
    for (const DevPoint& point : stage.dev) {
      for (const ExitScore& exit : point.exits) {
        if (exit.exit != exits[i]) continue;
        scores.push_back(unit * exit.score);
        rows += fmt::format("{:.0f} {:.17g}\n", point.step, scores.back());
      }
    }
    const bool named = exits.size() <= 6 || i == 0 || i + 1 == exits.size() || i == exits.size() / 2;
    add(rows, ramp(i, exits.size()), named ? fmt::format("title 'exit {}'", exits[i]) : "notitle");
  }
  if (exits.empty()) {
    std::string rows;
    for (const DevPoint& point : stage.dev) {
      if (!point.score) continue;
      scores.push_back(unit * *point.score);
      rows += fmt::format("{:.0f} {:.17g}\n", point.step, scores.back());
    }
    add(rows, "accent", "notitle");
  }
  const std::string label =
      fmt::format("{}{}", plain_text(metric_name(data.metric), 24), is_percentage(data.metric) ? ", %" : "");
  const AxisRange range = range_of(scores, 0.1);
  return fmt::format(
      "{}unset label\nunset arrow\n{}unset logscale y\nset yrange {}\nset ytics {:.6g}\nset ylabel {} "
      "offset 1.6,0 tc rgb ink\n{}{}",
      plot.blocks(), boundaries(stage, false), range_text(range), tic_step(range, 4), gnuplot_string(label),
      key_below(2), plot.command());
}

bool has_scores(const StageReport& stage) {
  return std::any_of(stage.dev.begin(), stage.dev.end(),
                     [](const DevPoint& point) { return point.score || !point.exits.empty(); });
}

}  // namespace

Figure training_figure(const ReportData& data, const StageReport& stage) {
  Figure figure{.name = "loss",
                .heading = stage.title(),
                .look = "A loss that still falls at the end would gain from more steps."};
  for (const char* known : {"finetune", "assist", "slenderise", "recover"}) {
    if (stage.name == known) figure.name = fmt::format("loss-{}", known);
  }
  if (stage.losses.empty()) {
    figure.missing = stage.begun ? "No step has been logged yet." : "This stage has not begun.";
    return figure;
  }
  const bool dev = has_scores(stage);
  const char* below = !dev                             ? ""
                      : stage.dev.back().exits.empty() ? ", and the lower panel is the score on dev"
                                                       : ", and the lower panel is each exit's score on dev";
  if (!stage.rounds.empty()) {
    figure.read = fmt::format(
        "The strong line is the training loss, smoothed, over the faint unsmoothed one; upright lines are "
        "where "
        "a "
        "round takes heads and neurons away{}.",
        below);
    figure.look = features_apart(stage)
                      ? "A round learns features alone first: either colour's loss should come down within a "
                        "round, and not pile up from round to round."
                      : "The loss should come down within a round, and not pile up from round to round.";
  } else {
    figure.read =
        fmt::format("The strong line is the training loss, smoothed, over the faint unsmoothed one{}{}.",
                    stage.phases.size() > 1 ? "; upright lines are where a phase begins" : "", below);
    if (dev)
      figure.look =
          "A loss that still falls at the end would gain from more steps, unless the score on dev falls.";
  }
  double last = std::max(1.0, stage.losses.back().step);
  for (const DevPoint& point : stage.dev) last = std::max(last, point.step);
  figure.script = fmt::format("set xrange [0:{:.17g}]\nset xtics {:.6g}\n", last, tic_step({0, last}, 6));
  const std::string step_axis = fmt::format("set format x '%g'\n{}", x_label("step"));
  if (!dev) {
    figure.script += fmt::format("{}{}{}", edges(figure, 26, figure.height - below_plot(0)), step_axis,
                                 loss_script(stage));
    return figure;
  }
  const bool keyed = !stage.dev.back().exits.empty();
  constexpr int kPlots = 344;  // what the two panels take
  figure.height = kPlots + static_cast<int>(below_plot(keyed ? 2 : 0));
  figure.script +=
      fmt::format("set multiplot\nset format x ''\n{}{}{}{}{}unset multiplot\n", edges(figure, 26, 212),
                  loss_script(stage), edges(figure, 226, kPlots), step_axis, dev_script(data, stage));
  return figure;
}

}  // namespace costeff
