// The report's figures of what slenderising removed: widths over rounds, heads and neurons that survived.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/cli/pages/text.h"
#include "tools/cli/report/figures.h"

namespace costeff {
namespace {

constexpr std::size_t kMostLayers = 64;  // that are told apart in a picture

const std::vector<RoundReport>* rounds_of(const ReportData& data) {
  for (const StageReport& stage : data.stages) {
    if (!stage.rounds.empty()) return &stage.rounds;
  }
  return nullptr;
}

// One panel: a width over rounds, a line a layer, or one line where all layers are alike.
struct Panel {
  const char* name;
  const char* label;
  std::vector<std::vector<double>> values;  // by round, by layer; a round may lack them
  std::optional<double> full;               // before the first round
};

bool alike(const Panel& panel) {
  return std::all_of(panel.values.begin(), panel.values.end(), [](const std::vector<double>& layers) {
    return std::all_of(layers.begin(), layers.end(), [&](double x) { return x == layers[0]; });
  });
}

std::string panel_script(const Panel& panel, const std::vector<RoundReport>& rounds) {
  std::size_t layers = 0;
  double most = panel.full.value_or(0);
  for (const auto& values : panel.values) {
    layers = std::max(layers, values.size());
    for (const double value : values) most = std::max(most, value);
  }
  layers = alike(panel) ? 1 : std::min(layers, kMostLayers);
  Plot plot(panel.name);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    std::string rows = panel.full ? fmt::format("0 {:.17g}\n", *panel.full) : "";
    for (std::size_t r = 0; r < rounds.size(); ++r) {
      if (layer < panel.values[r].size())
        rows += fmt::format("{} {:.17g}\n", rounds[r].round, panel.values[r][layer]);
    }
    const bool named = layers > 1 && (layers <= 6 || layer == 0 || layer + 1 == layers);
    plot.add(rows, fmt::format("with linespoints pt 7 ps 0.5 lw 1.8 lc rgb {} {}",
                               layers == 1 ? "accent" : ramp(layer, layers),
                               named ? fmt::format("title 'layer {}'", layer + 1) : "notitle"));
  }
  const AxisRange range{0, 1.12 * std::max(most, 1.0)};
  return fmt::format("{}set yrange {}\nset ytics {:.6g}\n{}{}", plot.blocks(), range_text(range),
                     tic_step(range, 4), y_label(panel.label), plot.command());
}

std::vector<Panel> panels_of(const ReportData& data, const std::vector<RoundReport>& rounds) {
  Panel heads{"heads", "heads", {}, data.full_heads};
  Panel ffn{"ffn", "neurons", {}, data.full_ffn};
  Panel rank{"rank", "rank", {}, data.full_rank};
  for (const RoundReport& round : rounds) {
    heads.values.push_back(round.heads);
    ffn.values.push_back(round.ffn);
    // A rank of -1 is an embedding that stays one matrix.
    rank.values.push_back(round.rank && *round.rank > 0 ? std::vector<double>{*round.rank}
                                                        : std::vector<double>());
  }
  std::vector<Panel> panels;
  for (Panel* panel : {&heads, &ffn, &rank}) {
    if (std::any_of(panel->values.begin(), panel->values.end(), [](const auto& v) { return !v.empty(); }))
      panels.push_back(std::move(*panel));
  }
  return panels;
}

// Of the last round that says which places stayed; nothing when no round does.
const RoundReport* last_with(const std::vector<RoundReport>* rounds,
                             std::vector<std::vector<std::int64_t>> RoundReport::*kept) {
  if (rounds == nullptr) return nullptr;
  for (auto round = rounds->rbegin(); round != rounds->rend(); ++round) {
    if (!((*round).*kept).empty()) return &*round;
  }
  return nullptr;
}

// How many places a layer had: as the model's config says, else as far as the lists reach.
std::int64_t places(const std::optional<double>& full, const std::vector<RoundReport>& rounds,
                    std::vector<std::vector<std::int64_t>> RoundReport::*kept) {
  std::int64_t most = full ? static_cast<std::int64_t>(std::clamp(*full, 1.0, 1e6)) : 1;
  for (const RoundReport& round : rounds) {
    for (const auto& layer : round.*kept) {
      if (!layer.empty()) most = std::max(most, layer.back() + 1);
    }
  }
  return most;
}

// The first round without the head, or 0.
std::int64_t removed_in(const std::vector<RoundReport>& rounds, std::size_t layer, std::int64_t head) {
  for (const RoundReport& round : rounds) {
    if (layer >= round.kept_heads.size()) continue;
    const auto& kept = round.kept_heads[layer];
    if (!std::binary_search(kept.begin(), kept.end(), head)) return round.round;
  }
  return 0;
}

std::string layer_axis(std::size_t layers) {
  return fmt::format("set yrange [{}.5:0.5]\nset ytics 1 scale 0 tc rgb ink\n{}unset grid\nunset border\n",
                     layers, y_label("layer"));
}

}  // namespace

Figure widths_figure(const ReportData& data) {
  Figure figure{
      .name = "widths",
      .heading = "Widths over rounds",
      .read =
          "Each panel is what is left after a round: heads and neurons of a layer, and the rank of the "
          "word embedding; round 0 is the model before.",
      .look =
          "One line means that all layers are alike; where lines part, the budget was shared out and "
          "the wide layers are those that mattered."};
  const std::vector<RoundReport>* rounds = rounds_of(data);
  const std::vector<Panel> panels = rounds == nullptr ? std::vector<Panel>() : panels_of(data, *rounds);
  if (panels.empty()) {
    figure.missing = "No round of slenderising has begun.";
    return figure;
  }
  const bool parted = !std::all_of(panels.begin(), panels.end(), alike);
  const double below = below_plot(parted ? 2 : 0);
  const double panel_height = 104;
  const double gap = 14;
  const auto count = static_cast<double>(panels.size());
  figure.height = static_cast<int>(12 + count * panel_height + (count - 1) * gap + below);
  std::int64_t last = 1;
  for (const RoundReport& round : *rounds) last = std::max(last, round.round);
  figure.script = fmt::format("set multiplot\nset xrange [0:{}]\nset xtics {} format ''\nset key off\n", last,
                              last / 13 + 1);
  bool keyed = false;
  for (std::size_t i = 0; i < panels.size(); ++i) {
    const double top = 12 + static_cast<double>(i) * (panel_height + gap);
    figure.script += edges(figure, top, top + panel_height);
    if (i + 1 == panels.size()) figure.script += x_label("round") + "set format x '%g'\n";
    if (!keyed && !alike(panels[i])) {
      figure.script += key_below(2);
      keyed = true;
    } else {
      figure.script += "set key off\n";
    }
    figure.script += panel_script(panels[i], *rounds);
  }
  figure.script += "unset multiplot\n";
  return figure;
}

Figure heads_figure(const ReportData& data) {
  Figure figure{
      .name = "heads",
      .heading = "Heads that survived",
      .read =
          "Each cell is an attention head of the original model; full cells survived, and a pale cell "
          "bears the round that removed it.",
      .look =
          "Heads that fell in early rounds mattered least to the loss; a pattern down a column would be "
          "chance, because heads of different layers have no order in common."};
  const std::vector<RoundReport>* rounds = rounds_of(data);
  const RoundReport* last = last_with(rounds, &RoundReport::kept_heads);
  if (last == nullptr) {
    figure.missing = "It is not known yet which heads survive.";
    return figure;
  }
  const std::int64_t heads =
      std::min<std::int64_t>(places(data.full_heads, *rounds, &RoundReport::kept_heads), 64);
  const std::size_t layers = std::min(last->kept_heads.size(), kMostLayers);
  std::string kept;
  std::string removed;
  std::string labels;
  for (std::size_t layer = 0; layer < layers; ++layer) {
    for (std::int64_t head = 0; head < heads; ++head) {
      const std::int64_t round = removed_in(*rounds, layer, head);
      (round == 0 ? kept : removed) += fmt::format("{} {} 0.45 0.43\n", head + 1, layer + 1);
      if (round > 0 && heads <= 24) {
        labels += fmt::format("set label '{}' at {},{} center tc rgb muted font ',11' front\n", round,
                              head + 1, layer + 1);
      }
    }
  }
  Plot plot("heads");
  for (const auto& [rows, ink] : {std::pair(&kept, "accent"), std::pair(&removed, "rule")}) {
    if (!rows->empty()) plot.add(*rows, fmt::format("with boxxyerror lc rgb {} notitle", ink));
  }
  figure.height = std::clamp(60 + 30 * static_cast<int>(layers), 120, 520);
  figure.script =
      fmt::format("{}{}{}set xrange [0.5:{}.5]\nset xtics 1,{} scale 0 tc rgb ink\n{}{}", plot.blocks(),
                  labels, layer_axis(layers), heads, heads / 17 + 1, x_label("head"), plot.command());
  return figure;
}

Figure neurons_figure(const ReportData& data) {
  Figure figure{
      .name = "neurons",
      .heading = "Neurons that survived",
      .read =
          "Each row is a layer's FFN, each stroke a neuron of the original model that survived, at its "
          "place; the number on the right says how many did.",
      .look =
          "An even grain is what to expect, because neurons have no order; rows of different density "
          "are layers that the budget treated differently."};
  const std::vector<RoundReport>* rounds = rounds_of(data);
  const RoundReport* last = last_with(rounds, &RoundReport::kept_neurons);
  if (last == nullptr) {
    figure.missing = "It is not known yet which neurons survive.";
    return figure;
  }
  const std::int64_t neurons = places(data.full_ffn, *rounds, &RoundReport::kept_neurons);
  const std::size_t layers = std::min(last->kept_neurons.size(), kMostLayers);
  constexpr double kPlotWidth = 276;
  const int row = std::clamp(360 / static_cast<int>(layers), 12, 30);
  // A stroke is at least 0.6 pixels wide, or a single neuron among thousands would not be seen.
  const double least = 0.6 * static_cast<double>(neurons) / kPlotWidth;
  std::string rows;
  std::string ground;
  std::string labels;
  for (std::size_t layer = 0; layer < layers; ++layer) {
    const auto& kept = last->kept_neurons[layer];
    for (std::size_t i = 0; i < kept.size();) {
      std::size_t end = i + 1;
      while (end < kept.size() && kept[end] <= kept[end - 1] + 1) ++end;
      const auto begin_at = static_cast<double>(kept[i]);
      const double end_at = std::max(static_cast<double>(kept[end - 1] + 1), begin_at + least);
      rows += fmt::format("{:.7g} {}\n{:.7g} {}\n\n", begin_at, layer + 1, end_at, layer + 1);
      i = end;
    }
    ground += fmt::format("0 {}\n{} {}\n\n", layer + 1, neurons, layer + 1);
    labels += fmt::format("set label '{}' at graph 1.02, first {} left tc rgb ink\n", kept.size(), layer + 1);
  }
  figure.height = 62 + row * static_cast<int>(layers);
  Plot plot("neurons");
  plot.add(ground, fmt::format("with lines lw {:.2f} lc rgb rule notitle", 0.8 * row));
  plot.add(rows, fmt::format("with lines lw {:.2f} lc rgb accent notitle", 0.8 * row));
  figure.script =
      fmt::format("{}{}{}set rmargin at screen 0.87\n{}set xrange [0:{}]\nset xtics {:.6g} scale 0\n{}{}",
                  plot.blocks(), labels, layer_axis(layers), edges(figure, 12, figure.height - 50), neurons,
                  tic_step({0, static_cast<double>(neurons)}, 5), x_label("neuron"), plot.command());
  return figure;
}

}  // namespace costeff
