// What the numbers of an importance audit mean, in sentences.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "costeff/audit/misjudged.h"
#include "tools/cli/audit/importance.h"
#include "tools/cli/pages/text.h"

namespace costeff {
namespace {

using audit::Comparison;
using audit::Misjudged;
using audit::Removed;
using audit::Units;
using audit::UnitsAudit;

constexpr const char* kVanished =
    "All scores are below a millionth of the loss: the loss is at its minimum, and its gradient is 0 but for "
    "rounding. So it "
    "is where a model is its own teacher, as in a first round of slenderising that begins before any "
    "training. What "
    "follows compares noise with the truth.";

const char* verdict(double spearman) {
  if (spearman >= 0.8) return "well";
  if (spearman >= 0.6) return "in the main";
  if (spearman >= 0.3) return "in part";
  return "hardly";
}

std::string within(const Comparison& c) {
  const std::vector<double>& all = c.agreement.spearman;
  const auto [least, most] = std::minmax_element(all.begin(), all.end());
  return fmt::format("Spearman {:.2f} ({:.2f} in layer {} to {:.2f} in layer {})",
                     c.agreement.mean_spearman(), *least,
                     c.agreement.layers[static_cast<std::size_t>(least - all.begin())], *most,
                     c.agreement.layers[static_cast<std::size_t>(most - all.begin())]);
}

// Whether some layer has two units whose order can be compared.
bool has_order(const ImportanceReport& report, const UnitsAudit& units) {
  const std::string& loss = report.audit.loss;
  return !units.comparison("paper", loss, loss).agreement.spearman.empty();
}

std::string order_finding(const ImportanceReport& report, const UnitsAudit& units) {
  const std::string& loss = report.audit.loss;
  return fmt::format(
      "Within a layer, the paper's score from {5} orders {0} {1} by how far their removal moves that loss, "
      "up or "
      "down: {2}. The release's score: {3:.2f}; the gate's, which is the true first derivative: {4:.2f}.",
      plural(units), verdict(units.comparison("paper", loss, loss).agreement.mean_spearman()),
      within(units.comparison("paper", loss, loss)),
      units.comparison("release", loss, loss).agreement.mean_spearman(),
      units.comparison("gate", loss, loss).agreement.mean_spearman(), loss);
}

// An absolute score beside the change with its sign.
std::string sign_finding(const ImportanceReport& report, const UnitsAudit& units) {
  const auto better = std::count_if(units.removed.begin(), units.removed.end(),
                                    [](const Removed& r) { return r.change.total() < 0; });
  if (better == 0)
    return fmt::format("None of the {} {} lowers the loss by going.", units.removed.size(), plural(units));
  std::vector<std::vector<double>> scores(static_cast<std::size_t>(report.layers)), changes = scores;
  for (const Misjudged& m : audit::misjudged(report.audit, units)) {
    scores[static_cast<std::size_t>(m.layer - 1)].push_back(m.score);
    changes[static_cast<std::size_t>(m.layer - 1)].push_back(m.change);
  }
  return fmt::format(
      "{} of the {} {} lower the loss by going, which an absolute score cannot say: with the change and its "
      "sign, which "
      "is what pruning should go by, that score's Spearman is {:.2f}.",
      better, units.removed.size(), plural(units), audit::agreement(scores, changes).mean_spearman() + 0.0);
}

bool has_all(const ImportanceReport& report) {
  return report.audit.loss == "predictions" && report.audit.sources.back().source.name == "all";
}

double by_all(const UnitsAudit& units, const std::string& truth) {
  return units.comparison("paper", "all", truth).agreement.mean_spearman();
}

// What slenderising goes by is more than the exits' losses.
std::string all_finding(const ImportanceReport& report, const UnitsAudit& units) {
  return fmt::format(
      "Slenderising scores by predictions and features together. That score orders {} {} as the sum of both "
      "losses "
      "changes (Spearman {:.2f}, within a layer), and {} as the loss of predictions does ({:.2f}).",
      plural(units), verdict(by_all(units, "all")), by_all(units, "all"),
      verdict(by_all(units, report.audit.loss)), by_all(units, report.audit.loss));
}

// The share whose removal raises the loss.
double rising(const UnitsAudit& units) {
  const auto rises = std::count_if(units.removed.begin(), units.removed.end(),
                                   [](const Removed& r) { return r.change.total() > 0; });
  return static_cast<double>(rises) / static_cast<double>(units.removed.size());
}

std::string size_finding(const UnitsAudit& units) {
  std::string text = fmt::format(
      "The scores of the removed {0} add up to {1:.2f} times their true changes (absolute values both), "
      "those of the "
      "gate to {2:.2f} times. The sign that the signed sum predicts is right for {3}, the gate's for {4}, "
      "and that the "
      "loss rises for {5}.",
      plural(units), units.paper_ratio, units.gate_ratio, percent_text(units.paper_signs),
      percent_text(units.gate_signs), percent_text(rising(units)));
  if (units.units == Units::heads) {
    text +=
        " The paper's sum counts a head's output twice (W_V and W_O say the same) and adds a term of W_Q and "
        "W_K, "
        "so it can rank, and does not forecast.";
  }
  return text;
}

std::string layers_finding(const ImportanceReport& report, const UnitsAudit& units) {
  const std::string& loss = report.audit.loss;
  const auto across = [&](Comparison::Layers layers) {
    return units.comparison("paper", loss, loss, false, layers).agreement.spearman_across;
  };
  std::string text = fmt::format(
      "All layers together: Spearman {:.2f} for the plain score, {:.2f} for the equalised one, {:.2f} for "
      "scores divided "
      "by their layer's root mean square, as a global budget compares them.",
      across(Comparison::Layers::plain), across(Comparison::Layers::equalised),
      across(Comparison::Layers::normalised));
  if (units.units == Units::heads) {
    text += fmt::format(
        " Within a layer equalisation changes no order: it multiplies layer k by 1/(L-k+1) (measured: to "
        "{:.0e}).",
        std::max(report.audit.equalisation_error, 1e-16));
  }
  return text;
}

// "1 to 3, 5"
std::string ranges_text(const std::vector<std::size_t>& numbers) {
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t end = i;
    while (end + 1 < numbers.size() && numbers[end + 1] == numbers[end] + 1) ++end;
    parts.push_back(end == i ? std::to_string(numbers[i])
                             : fmt::format("{} to {}", numbers[i], numbers[end]));
    i = end + 1;
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

// So many heads of a layer at once as the budget removes: what each order makes of the loss.
std::string together_finding(const ImportanceReport& report) {
  const audit::ImportanceAudit& a = report.audit;
  const std::size_t most = a.most_together();
  const auto kept = static_cast<std::size_t>(a.heads.budget);
  const std::size_t gone = most + 1 > kept ? most + 1 - kept : 1;
  std::string text = fmt::format(
      "With the lowest {} heads of a layer (by scores from {}) gone together, {} kept, the loss of {:.3f} "
      "changes, on average "
      "over layers, "
      "by ",
      gone, a.loss, kept, a.whole.total());
  const audit::CumulativeRemoval *paper = nullptr, *random = nullptr;
  for (const audit::CumulativeRemoval& c : a.cumulative) {
    text += fmt::format("{}{} ({})", &c == &a.cumulative.front() ? "" : ", ", signed_text(c.mean(gone), 4),
                        c.order);
    if (c.order == "paper") paper = &c;
    if (c.order == "random") random = &c;
  }
  text += ".";
  if (paper == nullptr || random == nullptr) return text;
  std::vector<std::size_t> better, worse;
  for (std::size_t k = 1; k <= most; ++k) (paper->mean(k) < random->mean(k) ? better : worse).push_back(k);
  if (worse.empty())
    return text + " The paper's order is better than the random one for any number of heads.";
  if (better.empty())
    return text + " The paper's order is better than the random one for no number of heads.";
  return text + fmt::format(" The paper's order is better than the random one for {} heads, not for {}.",
                            ranges_text(better), ranges_text(worse));
}

// Nothing where the score ranks all as their changes do.
std::string wrong_finding(const ImportanceReport& report, const UnitsAudit& units) {
  const audit::WorstMisjudged worst = audit::worst_misjudged(audit::misjudged(report.audit, units), 1);
  std::vector<std::string> said;
  const auto say = [&](const char* how, const Misjudged& m) {
    said.push_back(
        fmt::format("Most {} by the score from {}, in rank: {} {} of layer {} (score {:.2g}, true change "
                    "{:+.2g}; {} of {} "
                    "by score, {} of {} by signed change).",
                    how, report.audit.loss, singular(units), m.place + 1, m.layer, m.score, m.change,
                    m.rank_by_score, m.of, m.rank_by_change, m.of));
  };
  for (const Misjudged& m : worst.over) say("over-estimated", m);
  for (const Misjudged& m : worst.under) say("under-estimated", m);
  return fmt::format("{}", fmt::join(said, " "));
}

std::string kept_finding(const ImportanceReport& report) {
  const UnitsAudit& heads = report.audit.heads;
  const audit::ScoreMatrix& m = heads.matrix;  // row 0: removal, row 1: the paper's score
  std::string text = fmt::format(
      "Of the heads that cost most to remove, {} a layer, the paper's score from {} keeps {}; at random it "
      "would be "
      "{}.",
      heads.budget, report.audit.loss, percent_text(m.kept[0][1]), percent_text(m.kept_by_chance));
  const Misjudged* costliest = nullptr;
  const std::vector<Misjudged> all = audit::misjudged(report.audit, heads);
  for (const Misjudged& x : all) {
    if (x.rank_by_score <= static_cast<std::size_t>(heads.budget)) continue;
    if (costliest == nullptr || x.change > costliest->change) costliest = &x;
  }
  if (costliest != nullptr) {
    text += fmt::format(
        " The costliest that it would cut is head {} of layer {}: {:+.2g}, {} of {} by score.",
        costliest->place + 1, costliest->layer, costliest->change, costliest->rank_by_score, costliest->of);
  }
  return text;
}

}  // namespace

std::string importance_headline(const ImportanceReport& report) {
  if (report.audit.scores_vanish())
    return "The Taylor score says nothing here: the gradient is rounding noise";
  const bool all = has_all(report);
  const std::string& loss = report.audit.loss;
  std::vector<std::string> said;
  for (const UnitsAudit* units : {&report.audit.heads, &report.audit.neurons}) {
    if (units->removed.empty() || !has_order(report, *units)) continue;
    const double found =
        all ? by_all(*units, "all") : units->comparison("paper", loss, loss).agreement.mean_spearman();
    said.push_back(fmt::format("{} for {} (Spearman {:.2f})", verdict(found), plural(*units), found));
  }
  if (said.empty()) return "No layer has two units that were removed: there is no order to compare";
  return fmt::format("The Taylor score{} tells how far a unit’s removal moves its loss, up or down: {}",
                     all ? " that slenderising goes by" : "", fmt::join(said, " and "));
}

std::vector<Findings> importance_findings(const ImportanceReport& report) {
  std::vector<Findings> findings;
  for (const UnitsAudit* units : {&report.audit.heads, &report.audit.neurons}) {
    if (units->removed.empty()) continue;
    const bool heads = units->units == Units::heads;
    std::vector<std::string>& out =
        findings.emplace_back(Findings{heads ? "Heads" : "Neurons", {}}).sentences;
    if (heads && report.audit.scores_vanish()) out.emplace_back(kVanished);
    if (!has_order(report, *units)) {
      out.push_back(fmt::format(
          "No layer has two {} that were removed, so there is no order within a layer to compare.",
          plural(*units)));
      out.push_back(size_finding(*units));
      continue;
    }
    if (has_all(report)) out.push_back(all_finding(report, *units));
    out.push_back(order_finding(report, *units));
    out.push_back(sign_finding(report, *units));
    if (std::string wrong = wrong_finding(report, *units); !wrong.empty()) out.push_back(std::move(wrong));
    out.push_back(size_finding(*units));
    out.push_back(layers_finding(report, *units));
    if (heads) out.push_back(kept_finding(report));
    if (heads && report.audit.most_together() > 0) out.push_back(together_finding(report));
  }
  return findings;
}

const char* singular(const UnitsAudit& units) {
  return units.units == Units::heads ? "head" : "neuron";
}
const char* plural(const UnitsAudit& units) {
  return units.units == Units::heads ? "heads" : "neurons";
}

std::string signed_text(double value, int places) {
  const double unit = std::pow(10, -places);
  return std::abs(value) < unit / 2 ? fmt::format("{:.{}f}", 0.0, places)
                                    : fmt::format("{:+.{}f}", value, places);
}

}  // namespace costeff
