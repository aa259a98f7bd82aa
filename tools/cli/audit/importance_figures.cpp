#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/cli/audit/importance.h"
#include "tools/cli/pages/chart.h"

namespace costeff {
namespace {

using audit::Comparison;
using audit::Removed;
using audit::Units;
using audit::UnitsAudit;

double sum_of(const ImportanceScores& sums, const UnitsAudit& units, const Removed& r) {
  const auto& layers = units.units == Units::heads ? sums.heads : sums.neurons;
  return layers[static_cast<std::size_t>(r.layer - 1)][static_cast<std::size_t>(r.place)];
}

std::string power_text(double value) {
  return value >= 0.01 && value < 1000 ? fmt::format("{:g}", value) : fmt::format("{:.0e}", value);
}

struct Predicted {
  const Removed* unit;
  double x, y;  // predicted, true
};

// What was predicted to the right, what came true upward, on scales alike, with the line where both are the
// same; a colour for each layer.
Figure scatter(const ImportanceReport& report, Figure figure, const Axis& x, const Axis& y,
               const std::vector<Predicted>& points, const std::string& settings) {
  const auto layers = static_cast<std::size_t>(report.layers);
  Chart chart{.x = x, .y = y, .key_rows = layers > 3 && layers <= 6 ? 2 : 1};
  chart.settings = "set lmargin at screen 0.24\nset grid xtics ytics lt 1 lw 1 lc rgb rule\n" + settings;
  chart.add_formula("x with lines dt 2 lw 1.2 lc rgb muted");
  for (std::size_t k = 1; k <= layers; ++k) {
    std::string rows;
    for (const Predicted& p : points) {
      if (p.unit->layer == static_cast<std::int64_t>(k)) rows += point(p.x, p.y);
    }
    if (rows.empty()) continue;
    chart.add(rows, fmt::format("with points pt 7 ps 0.5 lc rgb {}", ramp(k - 1, layers)),
              layers <= 6 || k == 1 || k == layers ? fmt::format("layer {}", k) : "");
  }
  figure.height = 400;
  figure.script = script(figure, chart);
  return figure;
}

Figure figure_of_units(const char* kind, const UnitsAudit& units) {
  return figure_of(fmt::format("{}-{}", kind, plural(units)), fmt::format("importance.{}_figure", kind),
                   named("units", plural(units), "count", units.removed.size()));
}

}  // namespace

Figure score_scatter(const ImportanceReport& report, const UnitsAudit& units) {
  Figure figure = figure_of_units("score", units);
  std::vector<Predicted> points;
  std::vector<double> positive;
  for (const Removed& r : units.removed) {
    points.push_back(
        {&r, std::abs(sum_of(report.audit.sources.front().paper, units, r)), std::abs(r.change.total())});
    for (const double value : {points.back().x, points.back().y}) {
      if (value > 0) positive.push_back(value);
    }
  }
  if (positive.empty()) {
    figure.missing = words("importance.no_scores");
    return figure;
  }
  const double high = *std::max_element(positive.begin(), positive.end()) * 1.6;
  const double least = *std::min_element(positive.begin(), positive.end()) / 1.6;
  const AxisRange range{std::max(least, high * 1e-6), high};  // smaller ones stand at the edge
  for (Predicted& p : points) {
    p.x = std::max(range.low, p.x);
    p.y = std::max(range.low, p.y);
  }
  const std::string tics = log_tics(range, power_text);
  return scatter(report, std::move(figure),
                 {.label = fmt::format("score of the {}", singular(units)),
                  .range = range,
                  .tics = tics,
                  .logarithmic = true},
                 {.label = "|true change| of the loss", .range = range, .tics = tics, .logarithmic = true},
                 points, "");
}

Figure signed_scatter(const ImportanceReport& report, const UnitsAudit& units) {
  std::vector<Predicted> points;
  std::vector<double> all = {0};
  for (const Removed& r : units.removed) {
    points.push_back({&r, -sum_of(report.audit.sources.front().gate, units, r), r.change.total()});
    all.insert(all.end(), {points.back().x, points.back().y});
  }
  const AxisRange range = range_of(all, 0.06);
  return scatter(report, figure_of_units("signed", units),
                 {.label = "predicted change of the loss", .range = range, .most_tics = 4},
                 {.label = "true change", .range = range, .most_tics = 4}, points,
                 "set format '%g'\n"
                 "set arrow from graph 0, first 0 to graph 1, first 0 nohead lc rgb muted back\n"
                 "set arrow from first 0, graph 0 to first 0, graph 1 nohead lc rgb muted back\n");
}

Figure spearman_bars(const ImportanceReport& report, const UnitsAudit& units) {
  Figure figure = figure_of_units("spearman", units);
  std::string rows;
  std::vector<std::string> names;
  double least_of_all = 0;
  for (const Comparison& c : units.comparisons) {
    if (c.truth != report.audit.loss || c.layers != Comparison::Layers::plain || c.agreement.spearman.empty())
      continue;
    if (c.source != report.audit.loss && c.definition == "gate") continue;
    const auto [least, most] = std::minmax_element(c.agreement.spearman.begin(), c.agreement.spearman.end());
    least_of_all = std::min(least_of_all, *least);
    rows +=
        fmt::format("{} {:.6g} {:.6g} {:.6g}\n", names.size(), c.agreement.mean_spearman(), *least, *most);
    names.push_back(c.has_sign ? c.definition + ", signed sum" : name_of(c));
  }
  if (names.empty()) {
    figure.missing = words("importance.no_pairs");
    return figure;
  }
  Chart chart = bars(names, "Spearman", {least_of_all < 0 ? -1.0 : 0.0, 1});
  chart.x.tics = "0.5";
  chart.settings += "set arrow from 0, graph 0 to 0, graph 1 nohead lc rgb muted\n";
  chart.add(rows, "using 2:1:(0):2:($1-0.3):($1+0.3) with boxxyerror lc rgb accent");
  chart.add(rows, "using 3:1:($4-$3):(0) with vectors nohead lw 1.6 lc rgb ink");
  figure.height = 72 + 30 * static_cast<int>(names.size());
  figure.script = script(figure, chart);
  return figure;
}

Figure cumulative_figure(const ImportanceReport& report) {
  Figure figure = figure_of("cumulative", "importance.cumulative_figure");
  const std::size_t most = report.audit.most_together();
  if (most == 0) {
    figure.missing =
        words(report.audit.cumulative.empty() ? "importance.not_cumulative" : "importance.one_head");
    return figure;
  }
  constexpr const char* kLines[] = {"accent", "orange", "violet", "muted", "ink dt 2"};
  Chart chart{.x = {.label = "heads removed",
                    .range = AxisRange{0, static_cast<double>(most)},
                    .tics = std::to_string(most / 13 + 1)},
              .y = {.label = "change of the loss", .most_tics = 6},
              .key_rows = 3};
  std::vector<double> values = {0};
  for (std::size_t order = 0; order < report.audit.cumulative.size(); ++order) {
    const audit::CumulativeRemoval& c = report.audit.cumulative[order];
    std::string rows = "0 0\n";
    for (std::size_t k = 1; k <= most; ++k) {
      values.push_back(c.mean(k));
      rows += point(static_cast<double>(k), values.back());
    }
    chart.add(rows, fmt::format("with linespoints pt 7 ps 0.4 lw 1.8 lc rgb {}", kLines[order % 5]), c.order);
  }
  chart.y.range = range_of(values, 0.05);
  chart.settings = "set lmargin at screen 0.21\n";
  figure.height = 390;
  figure.script = script(figure, chart);
  return figure;
}

}  // namespace costeff
