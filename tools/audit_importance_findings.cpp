// What the numbers of an importance audit mean, in sentences.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tools/audit_importance.h"
#include "tools/report_text.h"

namespace costeff {
namespace {

using audit::Comparison;
using audit::Removed;
using audit::Units;
using audit::UnitsAudit;

const char* verdict(double spearman) {
  if (spearman >= 0.8) return "well";
  if (spearman >= 0.6) return "in the main";
  if (spearman >= 0.3) return "in part";
  return "hardly";
}

const char* plural(const UnitsAudit& units) {
  return units.units == Units::heads ? "heads" : "neurons";
}

std::string within(const Comparison& c) {
  const std::vector<double>& all = c.agreement.spearman;
  if (all.empty()) return "no layer with two of them";
  const auto [least, most] = std::minmax_element(all.begin(), all.end());
  return fmt::format("Spearman {:.2f} ({:.2f} in layer {} to {:.2f} in layer {})",
                     c.agreement.mean_spearman(), *least,
                     c.agreement.layers[static_cast<std::size_t>(least - all.begin())], *most,
                     c.agreement.layers[static_cast<std::size_t>(most - all.begin())]);
}

std::string order_finding(const ImportanceReport& report, const UnitsAudit& units) {
  const std::string& loss = report.audit.loss;
  return fmt::format(
      "Within a layer, the paper's score orders {0} {1} as their removal does: {2}. The release's score: "
      "{3:.2f}; "
      "the gate's, which is the true first derivative: {4:.2f}.",
      plural(units), verdict(units.comparison("paper", loss, loss).agreement.mean_spearman()),
      within(units.comparison("paper", loss, loss)),
      units.comparison("release", loss, loss).agreement.mean_spearman(),
      units.comparison("gate", loss, loss).agreement.mean_spearman());
}

bool has_all(const ImportanceReport& report) {
  return report.audit.loss == "predictions" && report.audit.sources.back().source.name == "all";
}

// What slenderising goes by is more than the exits' losses.
std::string all_finding(const ImportanceReport& report, const UnitsAudit& units) {
  const std::string& loss = report.audit.loss;
  const auto by_all = [&](const std::string& truth) {
    return units.comparison("paper", "all", truth).agreement.mean_spearman();
  };
  return fmt::format(
      "Slenderising scores by predictions and features together: for {} Spearman {:.2f} with the true change "
      "of "
      "that loss, {:.2f} with that of the predictions alone.",
      plural(units), by_all("all"), by_all(loss));
}

std::string size_finding(const UnitsAudit& units) {
  return fmt::format(
      "Size: the scores of the removed {} add up to {:.2f} times the true changes, the gate's to {:.2f} "
      "times. "
      "The paper's sum counts each path through a unit at least twice (its weights before and after it say "
      "the "
      "same), so it ranks, and does not forecast. The predicted sign is right for {}, the gate's for {}.",
      plural(units), units.paper_ratio, units.gate_ratio, percent_text(units.paper_signs),
      percent_text(units.gate_signs));
}

std::string layers_finding(const ImportanceReport& report, const UnitsAudit& units) {
  const auto across = [&](Comparison::Layers layers) {
    const std::string& loss = report.audit.loss;
    return units.comparison("paper", loss, loss, false, layers).agreement.spearman_across;
  };
  return fmt::format(
      "Across layers the order of {} agrees to {:.2f} with the plain score, {:.2f} with the equalised one, "
      "and "
      "{:.2f} with scores divided by their layer's root mean square, as a global budget compares them. "
      "Within a "
      "layer these are the same order: equalisation multiplies layer k by 1/(L-k+1), which is measured here "
      "to "
      "{:.0e}.",
      plural(units), across(Comparison::Layers::plain), across(Comparison::Layers::equalised),
      across(Comparison::Layers::normalised), std::max(report.audit.equalisation_error, 1e-16));
}

std::string wrong_finding(const ImportanceReport& report, const UnitsAudit& units) {
  const std::vector<Misjudged> all = misjudged(report, units);
  const bool heads = units.units == Units::heads;
  const auto name = [&](const Misjudged& m) {
    return fmt::format(
        "{} {} of layer {} (score {:.2g}, true change {:+.2g}; {} of {} by score, {} by truth)",
        heads ? "head" : "neuron", m.place + 1, m.layer, m.predicted, m.change, m.rank_predicted, m.of,
        m.rank_true);
  };
  return fmt::format("Most over-estimated: {}. Most under-estimated: {}.", name(all.front()),
                     name(all.back()));
}

std::string kept_finding(const ImportanceReport& report) {
  const UnitsAudit& heads = report.audit.heads;
  const auto better = std::count_if(heads.removed.begin(), heads.removed.end(),
                                    [](const Removed& r) { return r.change.total() < 0; });
  const audit::ScoreMatrix& m = heads.matrix;  // row 0: removal, row 1: the paper's score
  return fmt::format(
      "Of the {} heads a layer that cost most to remove, the paper's score keeps {}; at random it would be "
      "{}. "
      "{} of {} heads lower the loss by going, which an absolute score cannot say.",
      heads.budget, percent_text(m.kept[0][1]),
      percent_text(std::min(1.0, static_cast<double>(heads.budget * report.layers) /
                                     static_cast<double>(heads.removed.size()))),
      better, heads.removed.size());
}

}  // namespace

std::vector<Misjudged> misjudged(const ImportanceReport& report, const UnitsAudit& units) {
  const audit::SourceScores& exits = report.audit.sources.front();
  const auto& scores = units.units == Units::heads ? exits.paper.heads : exits.paper.neurons;
  std::vector<Misjudged> all;
  all.reserve(units.removed.size());
  for (const Removed& r : units.removed) {
    const double score = scores[static_cast<std::size_t>(r.layer - 1)][static_cast<std::size_t>(r.place)];
    all.push_back({r.layer, r.place, std::abs(score), r.change.total(), 1, 1, 0});
  }
  for (Misjudged& m : all) {
    for (const Misjudged& other : all) {
      if (other.layer != m.layer) continue;
      ++m.of;
      if (other.predicted > m.predicted) ++m.rank_predicted;
      if (other.change > m.change) ++m.rank_true;
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const Misjudged& a, const Misjudged& b) {
    return a.predicted - std::abs(a.change) > b.predicted - std::abs(b.change);
  });
  return all;
}

std::string importance_headline(const ImportanceReport& report) {
  const auto spearman = [&](const UnitsAudit& units) {
    const std::string& loss = report.audit.loss;
    return units.comparison("paper", loss, loss).agreement.mean_spearman();
  };
  const UnitsAudit &heads = report.audit.heads, &neurons = report.audit.neurons;
  std::string text = fmt::format("The Taylor score predicts the loss {} for heads (Spearman {:.2f})",
                                 verdict(spearman(heads)), spearman(heads));
  if (!neurons.removed.empty()) {
    text += fmt::format(" and {} for neurons ({:.2f})", verdict(spearman(neurons)), spearman(neurons));
  }
  return text;
}

std::vector<std::string> importance_findings(const ImportanceReport& report) {
  std::vector<std::string> findings;
  for (const UnitsAudit* units : {&report.audit.heads, &report.audit.neurons}) {
    if (units->removed.empty()) continue;
    findings.push_back(order_finding(report, *units));
    if (has_all(report)) findings.push_back(all_finding(report, *units));
    findings.push_back(wrong_finding(report, *units));
    findings.push_back(size_finding(*units));
    findings.push_back(layers_finding(report, *units));
    if (units == &report.audit.heads) findings.push_back(kept_finding(report));
  }
  return findings;
}

}  // namespace costeff
