// The report's figure of a stage's training: its loss, and its scores on dev.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tools/cli/pages/text.h"
#include "tools/cli/report/figures.h"

namespace costeff {
namespace {

// Points that are drawn of a curve: more than a screen shows only make the page large.
constexpr std::size_t kMostPoints = 400;

struct Span {
  std::size_t begin = 0, end = 0;
};

// Runs of steps of one phase and kind. Each is smoothed by itself: what is trained for changes between them,
// and the loss with it.
std::vector<Span> spans_of(const std::vector<StepLine>& steps) {
  std::vector<Span> spans;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (i == 0 || steps[i].phase != steps[i - 1].phase ||
        steps[i].features_alone != steps[i - 1].features_alone)
      spans.push_back({i, i});
    spans.back().end = i + 1;
  }
  return spans;
}

// Means of groups of neighbours.
std::string thinned(const std::vector<StepLine>& points, const std::vector<Span>& spans) {
  const std::size_t group = (points.size() + kMostPoints - 1) / kMostPoints;
  std::string rows;
  for (const Span& span : spans) {
    for (std::size_t i = span.begin; i < span.end; i += group) {
      const std::size_t end = std::min(i + group, span.end);
      double step = 0, loss = 0;
      for (std::size_t k = i; k < end; ++k) {
        step += static_cast<double>(points[k].step);
        loss += points[k].loss;
      }
      const auto count = static_cast<double>(end - i);
      rows += point(step / count, loss / count);
    }
    rows += "\n";
  }
  return rows;
}

// Means over a window that is centred, and narrower at a span's ends.
std::string smoothed(const std::vector<StepLine>& points, const Span& span) {
  const std::size_t half = std::max<std::size_t>(1, points.size() / 80);
  const std::size_t stride = points.size() / kMostPoints + 1;
  std::vector<double> sums = {0};
  for (std::size_t i = span.begin; i < span.end; ++i) sums.push_back(sums.back() + points[i].loss);
  const std::size_t size = span.end - span.begin;
  std::string rows;
  for (std::size_t i = 0; i < size; i += stride) {
    const std::size_t reach = std::min({half, i, size - 1 - i});
    const double mean = (sums[i + reach + 1] - sums[i - reach]) / static_cast<double>(2 * reach + 1);
    rows += point(static_cast<double>(points[span.begin + i].step), mean);
  }
  return rows + "\n";
}

// Rounds give phases names of their own; only a few phases get a colour each.
bool coloured(const StageReport& stage) {
  return stage.phases().size() > 1 && stage.phases().size() <= 4 && stage.rounds.empty();
}

// Whether steps that learn features alone, which have a loss of their own level, get a colour.
bool features_apart(const StageReport& stage) {
  const auto alone = [](const StepLine& point) { return point.features_alone; };
  const auto count = std::count_if(stage.steps.begin(), stage.steps.end(), alone);
  return !coloured(stage) && count > 0 && count < static_cast<std::ptrdiff_t>(stage.steps.size());
}

// Thin upright lines where phases or rounds begin; rounds are numbered above the picture.
void add_boundaries(const StageReport& stage, bool numbered, Chart& chart) {
  const auto line = [&](double step) {
    chart.settings += fmt::format(
        "set arrow from {0:.10g}, graph 0 to {0:.10g}, graph 1 nohead back lw 1.4 lc rgb rule\n", step);
  };
  if (stage.rounds.empty()) {
    const std::vector<Span> spans = spans_of(stage.steps);
    for (std::size_t i = 1; i < spans.size(); ++i)
      line(static_cast<double>(stage.steps[spans[i].begin].step) - 0.5);
    return;
  }
  const std::size_t every = stage.rounds.size() / 13 + 1;
  for (std::size_t i = 0; i < stage.rounds.size(); ++i) {
    line(static_cast<double>(stage.rounds[i].step));
    if (numbered && i % every == 0) {
      chart.label(std::to_string(stage.rounds[i].round),
                  fmt::format("{}, graph 1.05 left font ',11'", stage.rounds[i].step), "muted");
    }
  }
}

Axis loss_axis(const StageReport& stage) {
  std::vector<double> losses;
  for (const StepLine& p : stage.steps) losses.push_back(p.loss);
  const auto [low, high] = std::minmax_element(losses.begin(), losses.end());
  if (*low <= 0 || *high / *low <= 6)
    return {.label = "loss", .range = range_of(losses, 0.05), .most_tics = 5};
  const AxisRange range{*low / 1.15, *high * 1.15};
  return {.label = "loss",
          .range = range,
          .tics = log_tics(range, [](double at) { return fmt::format("{:g}", at); }),
          .logarithmic = true};
}

Chart loss_chart(const StageReport& stage, const Axis& x) {
  constexpr const char* kColours[] = {"accent", "orange", "violet", "ink"};
  const std::vector<Span> spans = spans_of(stage.steps);
  Chart chart{.x = x, .y = loss_axis(stage)};
  chart.add(thinned(stage.steps, spans), "with lines lw 1 lc rgb wash");
  std::vector<std::string> curves = {""};
  if (coloured(stage)) curves = stage.phases();
  if (features_apart(stage)) curves = {"predictions and features", "features alone"};
  for (std::size_t curve = 0; curve < curves.size(); ++curve) {
    std::string rows;
    for (const Span& span : spans) {
      const StepLine& step = stage.steps[span.begin];
      const bool its = coloured(stage) ? step.phase == curves[curve] : step.features_alone == (curve == 1);
      if (curves.size() == 1 || its) rows += smoothed(stage.steps, span);
    }
    chart.add(rows, fmt::format("with lines lw 2 lc rgb {}", kColours[curve]), plain_text(curves[curve], 30));
  }
  add_boundaries(stage, true, chart);
  // Between the two levels, or where a falling loss leaves room.
  chart.settings += fmt::format("set key {} right\n", features_apart(stage) ? "center" : "top");
  return chart;
}

Chart dev_chart(const ReportData& data, const StageReport& stage, const Axis& x) {
  const double unit = is_percentage(data.metric) ? 100 : 1;
  constexpr const char* kHow = "with linespoints pt 7 ps 0.45 lw 1.6 lc rgb {}";
  std::map<std::int64_t, std::string> rows;  // of each exit
  std::vector<double> scores;
  for (const EvaluationLine& line : stage.dev) {
    std::int64_t exit = line.dev.first;
    for (const Evaluation& evaluation : line.dev.exits) {
      if (std::isnan(evaluation.score())) continue;
      scores.push_back(unit * evaluation.score());
      rows[exit++] += point(static_cast<double>(line.step), scores.back());
    }
  }
  Chart chart{.x = x,
              .y = {.label = plain_text(metric_name(data.metric), 24) + (unit == 100 ? ", %" : ""),
                    .range = range_of(scores, 0.1),
                    .most_tics = 4},
              .key_rows = rows.size() > 1 ? 2 : 0};
  std::size_t i = 0;
  for (const auto& [exit, points] : rows) {
    chart.add(points, fmt::format(kHow, rows.size() == 1 ? "accent" : ramp(i, rows.size())),
              rows.size() > 1 && in_key(i, rows.size()) ? fmt::format("exit {}", exit) : "");
    ++i;
  }
  add_boundaries(stage, false, chart);
  return chart;
}

}  // namespace

Figure training_figure(const ReportData& data, const StageReport& stage) {
  const bool dev = !stage.dev.empty(), rounds = !stage.rounds.empty();
  const char* lines = rounds ? "report.lines_rounds" : stage.phases().size() > 1 ? "report.lines_phases" : "";
  const char* below = !dev                                     ? ""
                      : stage.dev.back().dev.exits.size() == 1 ? "report.below_score"
                                                               : "report.below_exits";
  const auto part = [](std::string_view key) { return key.empty() ? std::string() : words(key); };
  Figure figure = figure_of(fmt::format("loss-{}", stage.name), "report.loss",
                            named("title", stage.title, "lines", part(lines), "below", part(below), "look",
                                  words(rounds ? "report.look_rounds" : "report.look")));
  if (stage.steps.empty()) {
    figure.missing =
        stage.begun ? words("report.no_steps") : words("report.not_begun", named("stage", stage.name));
    return figure;
  }
  double last = std::max(1.0, static_cast<double>(stage.steps.back().step));
  for (const EvaluationLine& line : stage.dev) last = std::max(last, static_cast<double>(line.step));
  Axis x{.range = AxisRange{0, last}, .most_tics = 6};
  if (!dev) {
    x.label = "step";
    figure.script = script(figure, loss_chart(stage, x), 26);
    return figure;
  }
  std::vector<Chart> charts = {loss_chart(stage, x)};
  x.label = "step";
  charts.push_back(dev_chart(data, stage, x));
  stack(figure, std::move(charts), {186, 118}, 26, 14);
  return figure;
}

}  // namespace costeff
