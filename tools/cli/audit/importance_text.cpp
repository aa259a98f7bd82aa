// The result of an importance audit for a terminal, and for programs.
#include <fmt/format.h>

#include <algorithm>

#include "costeff/audit/misjudged.h"
#include "tools/cli/audit/importance.h"

namespace costeff {
namespace {

using audit::Comparison;
using audit::Units;
using audit::UnitsAudit;

constexpr std::size_t kNamed = 3;  // misjudged units a side

const char* layers_name(Comparison::Layers layers) {
  switch (layers) {
    case Comparison::Layers::plain:
      return "plain";
    case Comparison::Layers::equalised:
      return "equalised";
    case Comparison::Layers::normalised:
      return "normalised";
  }
  return "";
}

// As an item of a list, in lines of about 100 columns.
std::string item(const std::string& text) {
  constexpr std::size_t kWidth = 98;
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = text.size() - at <= kWidth ? text.size() : text.rfind(' ', at + kWidth);
    if (end == std::string::npos || end <= at) end = text.size();
    out += fmt::format("{} {}\n", at == 0 ? "-" : " ", text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

// Those of an exit alone, and some more, stand in the JSON alone.
std::string comparison_table(const UnitsAudit& units) {
  std::string rows;
  for (const Comparison& c : units.comparisons) {
    const audit::Agreement& a = c.agreement;
    if (a.layers.empty() || c.source.starts_with("exit ")) continue;
    if (c.definition == "gate" && c.source != units.comparisons.front().source) continue;
    const auto [least, most] = std::minmax_element(a.spearman.begin(), a.spearman.end());
    std::string name = fmt::format("{}, {}", c.definition, c.source);
    if (c.has_sign) name += ", signed sum";
    if (c.layers != Comparison::Layers::plain) name += fmt::format(", {}", layers_name(c.layers));
    rows += fmt::format("  {:<36}{:<14}{:>9.2f}{:>18}{:>9.2f}{:>12.2f}\n", name, c.truth, a.mean_spearman(),
                        fmt::format("({:.2f}, {:.2f})", *least, *most), a.mean_kendall(), a.spearman_across);
  }
  if (rows.empty()) return "";
  return fmt::format("  {:<36}{:<14}{:>27}{:>21}\n  {:<36}{:<14}{:>9}{:>18}{:>9}{:>12}\n{}\n", "", "",
                     "within a layer", "across", "score", "true change of", "Spearman", "(least, most)",
                     "Kendall", "Spearman", rows);
}

std::string misjudged_lines(const ImportanceReport& report, const UnitsAudit& units) {
  const audit::WorstMisjudged worst = audit::worst_misjudged(audit::misjudged(report.audit, units), kNamed);
  std::string lines;
  const auto add = [&](const char* how, const audit::Misjudged& m) {
    const std::string name = fmt::format("layer {} {} {}", m.layer, singular(units), m.place + 1);
    lines += fmt::format("  {:<17}{:<22}{:>10.2g}{:>+14.2g}{:>12}{:>12}\n", how, name, m.score, m.change,
                         fmt::format("{} of {}", m.rank_by_score, m.of),
                         fmt::format("{} of {}", m.rank_by_change, m.of));
  };
  for (const audit::Misjudged& m : worst.over) add("over-estimated", m);
  for (const audit::Misjudged& m : worst.under) add("under-estimated", m);
  if (lines.empty()) return "";
  return fmt::format("  {:<39}{:>10}{:>14}{:>12}{:>12}\n{}\n", "", "score", "true change", "by score",
                     "by change", lines);
}

std::string cumulative_table(const ImportanceReport& report) {
  const std::size_t most = report.audit.most_together();
  if (most == 0) return "";
  std::string out = "Heads of one layer removed together: change of the loss, mean over layers\n  removed ";
  for (const audit::CumulativeRemoval& c : report.audit.cumulative) out += fmt::format("{:>12}", c.order);
  out += "\n";
  for (std::size_t k = 1; k <= most; ++k) {
    out += fmt::format("  {:>7} ", k);
    for (const audit::CumulativeRemoval& c : report.audit.cumulative)
      out += fmt::format("{:>12}", signed_text(c.mean(k), 4));
    out += "\n";
  }
  return out + "\n";
}

Json scores_json(const audit::SourceScores& s) {
  const auto both = [](const ImportanceScores& x) {
    return Json{{"heads", x.heads}, {"neurons", x.neurons}};
  };
  return {{"source", s.source.name},
          {"paper", both(s.paper)},
          {"release", both(s.release)},
          {"gate", both(s.gate)}};
}

Json units_json(const ImportanceReport& report, const UnitsAudit& units) {
  Json removed = Json::array();
  for (const audit::Removed& r : units.removed) {
    removed.push_back({{"layer", r.layer},
                       {"place", r.place + 1},
                       {"change", r.change.total()},
                       {"change_by_exit", r.change.exits},
                       {"change_of_features", r.change.features}});
  }
  Json comparisons = Json::array();
  for (const Comparison& c : units.comparisons) {
    const audit::Agreement& a = c.agreement;
    comparisons.push_back({{"definition", c.definition},
                           {"source", c.source},
                           {"truth", c.truth},
                           {"layers", layers_name(c.layers)},
                           {"signed", c.has_sign},
                           {"spearman", a.mean_spearman()},
                           {"kendall", a.mean_kendall()},
                           {"spearman_across", a.spearman_across},
                           {"kendall_across", a.kendall_across},
                           {"compared_layers", a.layers},
                           {"spearman_by_layer", a.spearman},
                           {"kendall_by_layer", a.kendall}});
  }
  Json wrong = Json::array();
  for (const audit::Misjudged& m : audit::misjudged(report.audit, units)) {
    wrong.push_back({{"layer", m.layer},
                     {"place", m.place + 1},
                     {"score", m.score},
                     {"change", m.change},
                     {"rank_by_score", m.rank_by_score},
                     {"rank_by_signed_change", m.rank_by_change},
                     {"of", m.of}});
  }
  return {
      {"budget", units.budget},
      {"removed", removed},
      {"comparisons", comparisons},
      {"over_to_underestimated", wrong},
      {"paper_ratio", units.paper_ratio},
      {"gate_ratio", units.gate_ratio},
      {"paper_signs", units.paper_signs},
      {"gate_signs", units.gate_signs},
      {"scores",
       {{"names", units.matrix.names}, {"spearman", units.matrix.spearman}, {"kept", units.matrix.kept}}}};
}

}  // namespace

std::string importance_text(const ImportanceReport& report) {
  const audit::ImportanceAudit& a = report.audit;
  std::string out = fmt::format("{}\n\n", importance_headline(report));
  for (const Findings& part : importance_findings(report)) {
    out += part.about + "\n";
    for (const std::string& sentence : part.sentences) out += item(sentence);
    out += "\n";
  }
  out += fmt::format("Loss of the exits from {}, {} sentences: {:.4f}, by exit", a.loss, report.sentences,
                     a.whole.total());
  for (const double loss : a.whole.exits) out += fmt::format(" {:.4f}", loss);
  out += "\n\n";
  for (const UnitsAudit* units : {&a.heads, &a.neurons}) {
    if (units->removed.empty()) continue;
    const bool heads = units->units == Units::heads;
    out += fmt::format("{}: {} removed one at a time; score against true change, in each layer\n",
                       heads ? "Heads" : "Neurons", units->removed.size());
    out += comparison_table(*units) + misjudged_lines(report, *units);
  }
  return out + cumulative_table(report) + "Layers, exits, heads and neurons are counted from 1.\n";
}

Json importance_json(const ImportanceReport& report) {
  const audit::ImportanceAudit& a = report.audit;
  Json sources = Json::array();
  for (const audit::SourceScores& s : a.sources) sources.push_back(scores_json(s));
  Json findings = Json::object();
  for (const Findings& part : importance_findings(report)) findings[part.about] = part.sentences;
  Json cumulative = Json::array();
  for (const audit::CumulativeRemoval& c : a.cumulative)
    cumulative.push_back({{"order", c.order}, {"change", c.change}});
  return {{"model", report.model},
          {"teacher", report.teacher.empty() ? Json() : Json(report.teacher)},
          {"data", report.data},
          {"command", report.command},
          {"sentences", report.sentences},
          {"headline", importance_headline(report)},
          {"findings", findings},
          {"loss", a.loss},
          {"first_exit", report.first_exit},
          {"losses", a.whole.exits},
          {"feature_loss", a.whole.features},
          {"scores", sources},
          {"equalised", scores_json(a.equalised)},
          {"equalisation_error", a.equalisation_error},
          {"heads", units_json(report, a.heads)},
          {"neurons", units_json(report, a.neurons)},
          {"cumulative", cumulative}};
}

}  // namespace costeff
