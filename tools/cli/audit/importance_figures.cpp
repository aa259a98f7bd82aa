#include "tools/cli/audit/importance_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/cli/pages/text.h"
#include "tools/cli/report/figures.h"

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

// One series a layer; a key names all of a few layers, the first and last of many.
struct Series {
  std::string blocks;
  std::string plots;
  int key_rows = 0;
};

template <class Row>
Series layer_series(const ImportanceReport& report, const UnitsAudit& units, Row&& row) {
  Series out;
  const auto layers = static_cast<std::size_t>(report.layers);
  for (std::size_t k = 1; k <= layers; ++k) {
    std::string rows;
    for (const Removed& r : units.removed) {
      if (r.layer == static_cast<std::int64_t>(k)) rows += row(r);
    }
    if (rows.empty()) continue;
    const bool named = layers <= 6 || k == 1 || k == layers;
    out.blocks += data_block(fmt::format("layer{}", k), rows);
    out.plots += fmt::format(", $layer{} with points pt 7 ps {} lc rgb {} {}", k,
                             units.units == Units::heads ? "0.6" : "0.45", ramp(k - 1, layers),
                             named ? fmt::format("title 'layer {}'", k) : "notitle");
  }
  out.key_rows = layers > 3 && layers <= 6 ? 2 : 1;
  return out;
}

std::string power_text(double value) {
  return value >= 0.01 && value < 1000 ? fmt::format("{:g}", value) : fmt::format("{:.0e}", value);
}

std::string axes(const char* x, const char* y) {
  return fmt::format(
      "set xlabel '{}' offset 0,0.3 tc rgb ink\nset ylabel '{}' offset 0.6,0 tc rgb ink\nset "
      "lmargin at screen 0.24\nset grid xtics ytics lt 1 lw 1 lc rgb rule\n",
      x, y);
}

// What was predicted to the right, what came true upward, on scales alike, with the line where both are the
// same.
std::string scatter(const Figure& figure, const Series& series, const AxisRange& range,
                    const std::string& tics, const std::string& settings) {
  return fmt::format(
      "{}{}{}{}set xrange {}\nset yrange {}\nset xtics {}\nset ytics {}\n"
      "plot x with lines dt 2 lw 1.2 lc rgb muted notitle{}\n",
      edges(figure, 12, figure.height - below_plot(series.key_rows) - 6), key_below(series.key_rows),
      series.blocks, settings, range_text(range), range_text(range), tics, tics, series.plots);
}

}  // namespace

Figure score_scatter(const ImportanceReport& report, const UnitsAudit& units) {
  const bool heads = units.units == Units::heads;
  Figure figure{
      .name = fmt::format("score-{}", plural(units)),
      .heading = fmt::format("Score and true change: {}", plural(units)),
      .read =
          fmt::format("Each point is one of the {} removed {}: to the right what the score says, upward how "
                      "far the loss really moved; on the line both are the same.",
                      units.removed.size(), plural(units)),
      .look =
          "A score that orders well makes a narrow rising band, whichever side of the line it is on; points "
          "high on the left are units that the score would cut and that matter.",
      .height = 400};
  std::vector<double> positive;
  const auto& exits = report.audit.sources.front();
  for (const Removed& r : units.removed) {
    for (const double value : {std::abs(sum_of(exits.paper, units, r)), std::abs(r.change.total())}) {
      if (value > 0) positive.push_back(value);
    }
  }
  if (positive.empty()) {
    figure.missing = "No score and no change is above 0.";
    return figure;
  }
  const double high = *std::max_element(positive.begin(), positive.end()) * 1.6;
  const double least = *std::min_element(positive.begin(), positive.end()) / 1.6;
  const double low = std::max(least, high * 1e-6);  // smaller ones stand at the edge
  const Series series = layer_series(report, units, [&](const Removed& r) {
    return fmt::format("{:.6g} {:.6g}\n", std::max(low, std::abs(sum_of(exits.paper, units, r))),
                       std::max(low, std::abs(r.change.total())));
  });
  const AxisRange range{low, high};
  const std::string tics = log_tics(range, power_text);
  figure.script =
      scatter(figure, series, range, tics,
              axes(heads ? "score of the head" : "score of the neuron", "|true change| of the loss") +
                  "set logscale xy\n");
  return figure;
}

Figure signed_scatter(const ImportanceReport& report, const UnitsAudit& units) {
  Figure figure{
      .name = fmt::format("signed-{}", plural(units)),
      .heading = fmt::format("Predicted and true change: {}", plural(units)),
      .read =
          "To the right is what the first derivative of the gate predicts, upward the true change, both with "
          "their sign: below 0 the loss falls when the unit goes.",
      .look =
          "Points on the line are forecast exactly; how far they bend off it is what a first-order score "
          "cannot "
          "see, and points in the upper left or lower right have the wrong sign.",
      .height = 400};
  const auto& exits = report.audit.sources.front();
  std::vector<double> all = {0};
  for (const Removed& r : units.removed) {
    all.push_back(-sum_of(exits.gate, units, r));
    all.push_back(r.change.total());
  }
  const Series series = layer_series(report, units, [&](const Removed& r) {
    return fmt::format("{:.6g} {:.6g}\n", -sum_of(exits.gate, units, r), r.change.total());
  });
  const AxisRange range = range_of(all, 0.06);
  figure.script =
      scatter(figure, series, range, fmt::format("{:.6g}", tic_step(range, 4)),
              axes("predicted change of the loss", "true change") +
                  "set format '%g'\n"
                  "set arrow from graph 0, first 0 to graph 1, first 0 nohead lc rgb muted back\n"
                  "set arrow from first 0, graph 0 to first 0, graph 1 nohead lc rgb muted back\n");
  return figure;
}

Figure spearman_bars(const ImportanceReport& report, const UnitsAudit& units) {
  Figure figure{
      .name = fmt::format("spearman-{}", plural(units)),
      .heading = fmt::format("Which score orders {} best", plural(units)),
      .read =
          "A bar is the rank correlation (Spearman) of a score with the true change of the exits’ losses, "
          "mean "
          "over layers; 1 is the same order, 0 none, and the thin line reaches from the worst layer to the "
          "best.",
      .look =
          "The first three differ in definition, the next in the loss whose gradient they take; signed means "
          "that the sign of the change counts too."};
  std::string rows, tics;
  int row = 0;
  double least_of_all = 0;
  for (const Comparison& c : units.comparisons) {
    if (c.truth != report.audit.loss || c.layers != Comparison::Layers::plain || c.agreement.spearman.empty())
      continue;
    if (c.source != report.audit.loss && c.definition == "gate") continue;
    const auto [least, most] = std::minmax_element(c.agreement.spearman.begin(), c.agreement.spearman.end());
    least_of_all = std::min(least_of_all, *least);
    rows += fmt::format("{} {:.6g} {:.6g} {:.6g}\n", row, c.agreement.mean_spearman(), *least, *most);
    tics += fmt::format("{}{} {}", row == 0 ? "" : ", ",
                        gnuplot_tic(fmt::format("{}{}", c.definition,
                                                c.has_sign ? ", signed sum" : fmt::format(", {}", c.source))),
                        row);
    ++row;
  }
  if (row == 0) {
    figure.missing = "No layer has two of them.";
    return figure;
  }
  figure.height = 72 + 30 * row;
  figure.script = fmt::format(
      "{}{}set lmargin at screen 0.38\nset xrange [{}:1]\nset yrange [{}.5:-0.5]\nset ytics ({}) scale 0 tc "
      "rgb ink\n"
      "set xtics 0.5\nset xlabel 'Spearman' offset 0,0.3 tc rgb ink\nunset grid\nset grid xtics lt 1 lw 1 lc "
      "rgb "
      "rule\nset border 1 lc rgb muted\nset arrow from 0, graph 0 to 0, graph 1 nohead lc rgb muted\n"
      "plot $bars using 2:1:(0):2:($1-0.3):($1+0.3) with boxxyerror lc rgb accent notitle, "
      "$bars using 3:1:($4-$3):(0) with vectors nohead lw 1.6 lc rgb ink notitle\n",
      edges(figure, 10, figure.height - 58), data_block("bars", rows), least_of_all < 0 ? "-1" : "0", row - 1,
      tics);
  return figure;
}

Figure cumulative_figure(const ImportanceReport& report) {
  Figure figure{
      .name = "cumulative",
      .heading = "Several heads at once",
      .read =
          "In one layer at a time the heads that a score ranks lowest are removed together; each line is one "
          "order, upward the change of the loss, mean over layers.",
      .look =
          "The lower a line stays the better its order is to prune by; an order that does not stay below the "
          "random one has told the pruning nothing.",
      .height = 390};
  const std::size_t most = report.audit.most_together();
  if (most == 0) {
    figure.missing = report.audit.cumulative.empty() ? "Not measured; --cumulative does."
                                                     : "No layer has a second head to remove with the first.";
    return figure;
  }
  std::string blocks;
  std::vector<std::string> plots;
  std::vector<double> values = {0};
  constexpr const char* kLines[] = {"lc rgb accent", "lc rgb orange", "lc rgb violet", "lc rgb muted",
                                    "lc rgb ink dt 2"};
  std::size_t order = 0;
  for (const audit::CumulativeRemoval& c : report.audit.cumulative) {
    std::string rows = "0 0\n";
    for (std::size_t k = 1; k <= most; ++k) {
      values.push_back(c.mean(k));
      rows += fmt::format("{} {:.6g}\n", k, values.back());
    }
    blocks += data_block(fmt::format("order{}", order), rows);
    plots.push_back(fmt::format("$order{} with linespoints pt 7 ps 0.4 lw 1.8 {} title {}", order,
                                kLines[order], gnuplot_string(c.order)));
    ++order;
  }
  const AxisRange range = range_of(values, 0.05);
  figure.script = fmt::format(
      "{}{}{}set xrange [0:{}]\nset xtics {}\nset yrange {}\nset ytics {:.6g}\nset xlabel 'heads removed' "
      "offset "
      "0,0.3 tc rgb ink\nset ylabel 'change of the loss' offset 0.6,0 tc rgb ink\nset lmargin at screen "
      "0.21\nplot {}\n",
      edges(figure, 12, figure.height - below_plot(3) - 6), key_below(3), blocks, most, most / 13 + 1,
      range_text(range), tic_step(range, 6), fmt::join(plots, ", "));
  return figure;
}

std::vector<Figure> importance_figures(const ImportanceReport& report) {
  std::vector<Figure> figures = {cumulative_figure(report)};
  for (const UnitsAudit* units : {&report.audit.heads, &report.audit.neurons}) {
    if (units->removed.empty()) continue;
    figures.push_back(score_scatter(report, *units));
    figures.push_back(signed_scatter(report, *units));
    figures.push_back(spearman_bars(report, *units));
  }
  std::erase_if(figures, [](const Figure& figure) { return !figure.missing.empty(); });
  for (Figure& figure : figures) figure.svg = draw(figure);
  return figures;
}

}  // namespace costeff
