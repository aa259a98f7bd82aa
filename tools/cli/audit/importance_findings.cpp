// What the numbers of an importance audit mean: its findings.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "costeff/audit/misjudged.h"
#include "tools/cli/audit/importance.h"

namespace costeff {
namespace {

using audit::Comparison;
using audit::Misjudged;
using audit::Removed;
using audit::Units;
using audit::UnitsAudit;

// Chosen, not tested: words for readers who do not know correlations.
const char* verdict(double spearman) {
  if (spearman >= 0.8) return "well";
  if (spearman >= 0.6) return "in the main";
  if (spearman >= 0.3) return "in part";
  return "hardly";
}

double spearman_of(const UnitsAudit& units, const char* definition, const std::string& source,
                   const std::string& truth) {
  return units.comparison(definition, source, truth).agreement.mean_spearman();
}

// Whether some layer has two units whose order can be compared.
bool has_order(const ImportanceReport& report, const UnitsAudit& units) {
  const std::string& loss = report.audit.loss;
  return !units.comparison("paper", loss, loss).agreement.spearman.empty();
}

// Slenderising goes by more than the exits' losses.
bool has_all(const ImportanceReport& report) {
  return report.audit.loss == "predictions" && report.audit.sources.back().source.name == "all";
}

Finding all_finding(const ImportanceReport& report, const UnitsAudit& units) {
  const double all = spearman_of(units, "paper", "all", "all");
  const double loss = spearman_of(units, "paper", "all", report.audit.loss);
  return {"importance.all", named("units", plural(units), "all", all, "verdict_all", verdict(all), "loss",
                                  loss, "verdict_loss", verdict(loss))};
}

Finding order_finding(const ImportanceReport& report, const UnitsAudit& units) {
  const std::string& loss = report.audit.loss;
  const audit::Agreement& a = units.comparison("paper", loss, loss).agreement;
  const auto [least, most] = std::minmax_element(a.spearman.begin(), a.spearman.end());
  return {"importance.order",
          named("units", plural(units), "loss", loss, "verdict", verdict(a.mean_spearman()), "paper",
                a.mean_spearman(), "least", *least, "least_layer",
                a.layers[static_cast<std::size_t>(least - a.spearman.begin())], "most", *most, "most_layer",
                a.layers[static_cast<std::size_t>(most - a.spearman.begin())], "release",
                spearman_of(units, "release", loss, loss), "gate", spearman_of(units, "gate", loss, loss))};
}

// An absolute score beside the change with its sign.
Finding sign_finding(const ImportanceReport& report, const UnitsAudit& units) {
  const auto better = std::count_if(units.removed.begin(), units.removed.end(),
                                    [](const Removed& r) { return r.change.total() < 0; });
  Json values = named("units", plural(units), "count", units.removed.size());
  if (better == 0) return {"importance.none_better", values};
  std::vector<std::vector<double>> scores(static_cast<std::size_t>(report.layers)), changes = scores;
  for (const Misjudged& m : audit::misjudged(report.audit, units)) {
    scores[static_cast<std::size_t>(m.layer - 1)].push_back(m.score);
    changes[static_cast<std::size_t>(m.layer - 1)].push_back(m.change);
  }
  values["better"] = better;
  values["signed"] = audit::agreement(scores, changes).mean_spearman() + 0.0;
  return {"importance.sign", values};
}

// The furthest on each side; nothing where the score ranks all as their changes do.
void add_misjudged(const ImportanceReport& report, const UnitsAudit& units, std::vector<Finding>& found) {
  const audit::WorstMisjudged worst = audit::worst_misjudged(audit::misjudged(report.audit, units), 1);
  const auto add = [&](const char* kind, const Misjudged& m) {
    found.push_back({kind, named("loss", report.audit.loss, "unit", singular(units), "place", m.place + 1,
                                 "layer", m.layer, "score", m.score, "change", m.change, "rank_by_score",
                                 m.rank_by_score, "rank_by_change", m.rank_by_change, "of", m.of)});
  };
  for (const Misjudged& m : worst.over) add("importance.over", m);
  for (const Misjudged& m : worst.under) add("importance.under", m);
}

Finding size_finding(const UnitsAudit& units) {
  const auto rises = std::count_if(units.removed.begin(), units.removed.end(),
                                   [](const Removed& r) { return r.change.total() > 0; });
  return {"importance.size",
          named("units", plural(units), "paper_ratio", units.paper_ratio, "gate_ratio", units.gate_ratio,
                "paper_signs", units.paper_signs, "gate_signs", units.gate_signs, "rising",
                static_cast<double>(rises) / static_cast<double>(units.removed.size()))};
}

Finding layers_finding(const ImportanceReport& report, const UnitsAudit& units) {
  const std::string& loss = report.audit.loss;
  Json values = Json::object();
  for (const auto layers :
       {Comparison::Layers::plain, Comparison::Layers::equalised, Comparison::Layers::normalised})
    values[name_of(layers)] = units.comparison("paper", loss, loss, false, layers).agreement.spearman_across;
  return {"importance.layers", values};
}

void add_kept(const ImportanceReport& report, std::vector<Finding>& found) {
  const UnitsAudit& heads = report.audit.heads;
  const audit::ScoreMatrix& m = heads.matrix;  // row 0: removal, row 1: the paper's score
  found.push_back({"importance.kept", named("budget", heads.budget, "loss", report.audit.loss, "kept",
                                            m.kept[0][1], "chance", m.kept_by_chance)});
  const std::vector<Misjudged> all = audit::misjudged(report.audit, heads);
  const Misjudged* costliest = nullptr;
  for (const Misjudged& x : all) {
    if (x.rank_by_score <= static_cast<std::size_t>(heads.budget)) continue;
    if (costliest == nullptr || x.change > costliest->change) costliest = &x;
  }
  if (costliest == nullptr) return;
  found.push_back({"importance.costliest",
                   named("place", costliest->place + 1, "layer", costliest->layer, "change",
                         costliest->change, "rank", costliest->rank_by_score, "of", costliest->of)});
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

// As many heads of a layer at once as the budget removes: what each order makes of the loss.
void add_together(const ImportanceReport& report, std::vector<Finding>& found) {
  const audit::ImportanceAudit& a = report.audit;
  const std::size_t most = a.most_together();
  if (most == 0) return;
  const auto kept = static_cast<std::size_t>(a.heads.budget);
  const std::size_t gone = most + 1 > kept ? most + 1 - kept : 1;
  const audit::CumulativeRemoval *paper = nullptr, *random = nullptr;
  for (const audit::CumulativeRemoval& c : a.cumulative) {
    found.push_back({"importance.gone", named("gone", gone, "kept", kept, "source", a.loss, "loss",
                                              a.whole.total(), "order", c.order, "change", c.mean(gone))});
    if (c.order == "paper") paper = &c;
    if (c.order == "random") random = &c;
  }
  if (paper == nullptr || random == nullptr) return;
  std::vector<std::size_t> better, worse;
  for (std::size_t k = 1; k <= most; ++k) (paper->mean(k) < random->mean(k) ? better : worse).push_back(k);
  const char* kind = worse.empty()    ? "importance.always_better"
                     : better.empty() ? "importance.never_better"
                                      : "importance.sometimes_better";
  found.push_back({kind, named("better", ranges_text(better), "worse", ranges_text(worse))});
}

std::vector<Finding> unit_findings(const ImportanceReport& report, const UnitsAudit& units) {
  const bool heads = units.units == Units::heads;
  std::vector<Finding> found;
  if (heads && report.audit.scores_vanish()) found.push_back({"importance.vanish"});
  if (!has_order(report, units)) {
    found.push_back({"importance.no_order", named("units", plural(units))});
    found.push_back(size_finding(units));
    return found;
  }
  if (has_all(report)) found.push_back(all_finding(report, units));
  found.push_back(order_finding(report, units));
  found.push_back(sign_finding(report, units));
  add_misjudged(report, units, found);
  found.push_back(size_finding(units));
  if (heads) found.push_back({"importance.twice"});
  found.push_back(layers_finding(report, units));
  if (!heads) return found;
  found.push_back({"importance.equalised", named("error", std::max(report.audit.equalisation_error, 1e-16))});
  add_kept(report, found);
  add_together(report, found);
  return found;
}

}  // namespace

std::string importance_headline(const ImportanceReport& report) {
  if (report.audit.scores_vanish()) return words("importance.vanish_headline");
  const std::string& loss = report.audit.loss;
  const std::string source = has_all(report) ? "all" : loss;
  std::vector<std::string> verdicts;
  for (const UnitsAudit* units : {&report.audit.heads, &report.audit.neurons}) {
    if (units->removed.empty() || !has_order(report, *units)) continue;
    const double found = spearman_of(*units, "paper", source, source);
    verdicts.push_back(words("importance.verdict",
                             named("verdict", verdict(found), "units", plural(*units), "spearman", found)));
  }
  if (verdicts.empty()) return words("importance.no_order_headline");
  return words(has_all(report) ? "importance.headline_all" : "importance.headline",
               named("verdicts", fmt::format("{}", fmt::join(verdicts, " and "))));
}

std::vector<Findings> importance_findings(const ImportanceReport& report) {
  std::vector<Findings> findings;
  for (const UnitsAudit* units : {&report.audit.heads, &report.audit.neurons}) {
    if (!units->removed.empty())
      findings.push_back({units->units == Units::heads ? "Heads" : "Neurons", unit_findings(report, *units)});
  }
  return findings;
}

const char* singular(const UnitsAudit& units) {
  return units.units == Units::heads ? "head" : "neuron";
}
const char* plural(const UnitsAudit& units) {
  return units.units == Units::heads ? "heads" : "neurons";
}

const char* name_of(Comparison::Layers layers) {
  if (layers == Comparison::Layers::plain) return "plain";
  return layers == Comparison::Layers::equalised ? "equalised" : "normalised";
}

std::string name_of(const Comparison& c) {
  return fmt::format("{}, {}{}{}", c.definition, c.source, c.has_sign ? ", signed sum" : "",
                     c.layers == Comparison::Layers::plain ? "" : fmt::format(", {}", name_of(c.layers)));
}

}  // namespace costeff
