// The report's figures of what slenderising removed: widths over rounds, heads and neurons that survived.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/cli/pages/text.h"
#include "tools/cli/report/figures.h"

namespace costeff {
namespace {

constexpr std::int64_t kMostPlaces = 1 << 20;  // of a head or a neuron
constexpr std::size_t kMostLayers = 64;        // that are told apart in a picture

using Widths = std::vector<std::vector<double>>;      // by round, by layer; a round may lack them
using Kept = std::vector<std::vector<std::int64_t>>;  // by layer

bool alike(const Widths& widths) {
  return std::all_of(widths.begin(), widths.end(), [](const std::vector<double>& layers) {
    return std::all_of(layers.begin(), layers.end(), [&](double x) { return x == layers[0]; });
  });
}

// A width over rounds: a line a layer, or one line where all layers are alike. `full`: before the first
// round.
Chart width_chart(const char* label, const Widths& widths, double full,
                  const std::vector<RoundLine>& rounds) {
  std::size_t layers = 0;
  double most = std::isnan(full) ? 1 : std::max(1.0, full);
  for (const auto& round : widths) {
    layers = std::max(layers, round.size());
    for (const double width : round) most = std::max(most, width);
  }
  const bool one = alike(widths);
  layers = one ? 1 : std::min(layers, kMostLayers);
  Chart chart{.y = {.label = label, .range = AxisRange{0, 1.12 * most}, .most_tics = 4},
              .key_rows = one ? 0 : 2};
  for (std::size_t layer = 0; layer < layers; ++layer) {
    std::string rows = std::isnan(full) ? "" : point(0, full);
    for (std::size_t r = 0; r < rounds.size(); ++r) {
      if (layer < widths[r].size()) rows += point(static_cast<double>(rounds[r].round), widths[r][layer]);
    }
    chart.add(
        rows,
        fmt::format("with linespoints pt 7 ps 0.5 lw 1.8 lc rgb {}", one ? "accent" : ramp(layer, layers)),
        !one && in_key(layer, layers) ? fmt::format("layer {}", layer + 1) : "");
  }
  return chart;
}

// The last round that says which places stayed; null if none does.
const Kept* last_kept(const ReportData& data, Kept RoundLine::*kept) {
  const std::vector<RoundLine>* rounds = data.rounds();
  for (std::size_t r = rounds == nullptr ? 0 : rounds->size(); r-- > 0;) {
    if (!((*rounds)[r].*kept).empty()) return &((*rounds)[r].*kept);
  }
  return nullptr;
}

// How many places a layer had: as the model's config says, else as far as the lists reach.
std::int64_t places(double full, const ReportData& data, Kept RoundLine::*kept) {
  std::int64_t most = std::isnan(full) ? 1 : static_cast<std::int64_t>(std::clamp(full, 1.0, 1e6));
  for (const RoundLine& round : *data.rounds()) {
    for (const auto& layer : round.*kept) {
      if (!layer.empty()) most = std::max(most, layer.back() + 1);
    }
  }
  return std::min(most, kMostPlaces);
}

// The first round without the head, or 0.
std::int64_t removed_in(const std::vector<RoundLine>& rounds, std::size_t layer, std::int64_t head) {
  for (const RoundLine& round : rounds) {
    if (layer >= round.kept_heads.size()) continue;
    const auto& kept = round.kept_heads[layer];
    if (!std::binary_search(kept.begin(), kept.end(), head)) return round.round;
  }
  return 0;
}

// A chart of layers from the top down.
Chart layer_chart(std::size_t layers, const char* x_label, AxisRange range, const std::string& tics) {
  return {.x = {.label = x_label, .range = range, .tics = tics},
          .y = {.label = "layer",
                .range = AxisRange{static_cast<double>(layers) + 0.5, 0.5},
                .tics = "1 scale 0 tc rgb ink"},
          .settings = "unset grid\nunset border\n"};
}

}  // namespace

Figure widths_figure(const ReportData& data) {
  Figure figure = figure_of("widths", "report.widths");
  Widths heads, ffn, rank;
  std::int64_t last = 1;
  for (const RoundLine& round : data.rounds() == nullptr ? std::vector<RoundLine>() : *data.rounds()) {
    last = std::max(last, round.round);
    heads.emplace_back(round.heads.begin(), round.heads.end());
    ffn.emplace_back(round.ffn.begin(), round.ffn.end());
    rank.push_back(round.rank > 0 ? std::vector<double>{static_cast<double>(round.rank)}
                                  : std::vector<double>());
  }
  std::vector<Chart> charts;
  const auto add = [&](const char* label, const Widths& widths, double full) {
    if (std::any_of(widths.begin(), widths.end(), [](const auto& w) { return !w.empty(); }))
      charts.push_back(width_chart(label, widths, full, *data.rounds()));
  };
  add("heads", heads, data.full_heads);
  add("neurons", ffn, data.full_ffn);
  add("rank", rank, data.full_rank);
  if (charts.empty()) {
    figure.missing = words("report.no_widths");
    return figure;
  }
  bool keyed = false;
  for (Chart& chart : charts) {
    chart.x = {.range = AxisRange{0, static_cast<double>(last)}, .tics = std::to_string(last / 13 + 1)};
    if (keyed || chart.key_rows == 0) chart.settings += "set key off\n";
    if (keyed) chart.key_rows = 0;
    keyed |= chart.key_rows > 0;
  }
  charts.back().x.label = "round";
  const std::vector<double> heights(charts.size(), 104);
  stack(figure, std::move(charts), heights, 12, 14);
  return figure;
}

Figure heads_figure(const ReportData& data) {
  Figure figure = figure_of("heads", "report.heads");
  const Kept* last = last_kept(data, &RoundLine::kept_heads);
  if (last == nullptr) {
    figure.missing = words("report.no_heads");
    return figure;
  }
  const std::int64_t heads =
      std::min<std::int64_t>(places(data.full_heads, data, &RoundLine::kept_heads), 64);
  const std::size_t layers = std::min(last->size(), kMostLayers);
  Chart chart = layer_chart(layers, "head", {0.5, static_cast<double>(heads) + 0.5},
                            fmt::format("1,{} scale 0 tc rgb ink", heads / 17 + 1));
  std::string kept, removed;
  for (std::size_t layer = 0; layer < layers; ++layer) {
    for (std::int64_t head = 0; head < heads; ++head) {
      const std::int64_t round = removed_in(*data.rounds(), layer, head);
      (round == 0 ? kept : removed) += fmt::format("{} {} 0.45 0.43\n", head + 1, layer + 1);
      if (round > 0 && heads <= 24)
        chart.label(std::to_string(round), fmt::format("{},{} center font ',11' front", head + 1, layer + 1),
                    "muted");
    }
  }
  for (const auto& [rows, ink] : {std::pair(&kept, "accent"), std::pair(&removed, "rule")}) {
    if (!rows->empty()) chart.add(*rows, fmt::format("with boxxyerror lc rgb {}", ink));
  }
  figure.height = std::clamp(60 + 30 * static_cast<int>(layers), 120, 520);
  figure.script = script(figure, chart);
  return figure;
}

Figure neurons_figure(const ReportData& data) {
  Figure figure = figure_of("neurons", "report.neurons");
  const Kept* last = last_kept(data, &RoundLine::kept_neurons);
  if (last == nullptr) {
    figure.missing = words("report.no_neurons");
    return figure;
  }
  const auto neurons = static_cast<double>(places(data.full_ffn, data, &RoundLine::kept_neurons));
  const std::size_t layers = std::min(last->size(), kMostLayers);
  constexpr double kPlotWidth = 276;
  const int row = std::clamp(360 / static_cast<int>(layers), 12, 30);
  // A stroke is at least 0.6 pixels wide, or a single neuron among thousands would not be seen.
  const double least = 0.6 * neurons / kPlotWidth;
  Chart chart =
      layer_chart(layers, "neuron", {0, neurons}, fmt::format("{:.6g} scale 0", tic_step({0, neurons}, 5)));
  chart.settings += "set rmargin at screen 0.87\n";
  std::string rows, ground;
  const auto stroke = [](double begin, double end, std::size_t layer) {
    return point(begin, static_cast<double>(layer + 1)) + point(end, static_cast<double>(layer + 1)) + "\n";
  };
  for (std::size_t layer = 0; layer < layers; ++layer) {
    const auto& kept = (*last)[layer];
    for (std::size_t i = 0; i < kept.size();) {
      std::size_t end = i + 1;
      while (end < kept.size() && kept[end] <= kept[end - 1] + 1) ++end;
      const auto begin_at = static_cast<double>(kept[i]);
      rows += stroke(begin_at, std::max(static_cast<double>(kept[end - 1] + 1), begin_at + least), layer);
      i = end;
    }
    ground += stroke(0, neurons, layer);
    chart.label(std::to_string(kept.size()), fmt::format("graph 1.02, first {} left", layer + 1));
  }
  figure.height = 62 + row * static_cast<int>(layers);
  chart.add(ground, fmt::format("with lines lw {:.2f} lc rgb rule", 0.8 * row));
  chart.add(rows, fmt::format("with lines lw {:.2f} lc rgb accent", 0.8 * row));
  figure.script = script(figure, chart);
  return figure;
}

}  // namespace costeff
