// What the numbers of a gradient audit mean: its findings.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "costeff/audit/gradient_view.h"
#include "tools/cli/audit/gradients.h"

namespace costeff {
namespace {

using audit::equalised;
using audit::GradientAudit;
using audit::GroupSums;
using audit::Pair;
using audit::plain;

// The smallest and largest over layers that have a value.
struct Span {
  double low = INFINITY, high = -INFINITY;
  std::int64_t highest = 0;  // the layer
  void see(std::int64_t layer, double x) {
    if (std::isnan(x)) return;
    if (x > high) highest = layer;
    low = std::min(low, x);
    high = std::max(high, x);
  }
  bool empty() const { return low > high; }
  Json values() const { return named("low", low, "high", high); }
};

std::vector<Finding> equalisation_findings(const GradientReport& report) {
  const audit::Identities& i = report.identities;
  std::vector<Finding> found;
  if (!i.faults.empty()) {
    found.push_back({"gradients.faults",
                     named("count", i.faults.size(), "place", i.faults[0].place, "what", i.faults[0].what)});
  } else if (i.factors.empty()) {
    found.push_back({"gradients.still_model"});
  } else {
    found.push_back({"gradients.equalises", named("worst", i.worst_factor, "allowed", i.tolerance)});
    const auto& roots = report.audit.roots;
    if (std::any_of(roots.begin(), roots.end(), [](const audit::AuditedRoot& root) {
          return root.kind == "features" && root.place == 0;
        }))
      found.push_back({"gradients.features_0"});
  }
  std::vector<std::string> still;
  for (const std::size_t root : i.still) still.push_back(report.audit.roots[root].name);
  if (!still.empty())
    found.push_back({"gradients.at_minimum", named("terms", fmt::format("{}", fmt::join(still, ", ")))});
  return found;
}

// The layers' figures that the second question is about.
struct Spans {
  Span raw, clipped, undamped, update, turn, epsilon, decay, damping;
  bool mixed = false;  // at the embeddings losses are not scaled alike

  explicit Spans(const GradientAudit& a) {
    for (std::int64_t m = 0; m <= a.layers; ++m) {
      const GroupSums s = layer_sums(a, m);
      const audit::Survival left = survival(s);
      raw.see(m, left.raw);
      clipped.see(m, left.clipped);
      undamped.see(m, left.undamped);
      update.see(m, left.update);
      turn.see(m, left.turn);
      damping.see(m, left.undamped > 0 ? std::abs(left.update / left.undamped - 1) : 0);
      for (const audit::Variant v : audit::kVariants) {
        if (s.of[v].elements > 0) epsilon.see(m, s.of[v].near_epsilon / s.of[v].elements);
      }
      if (a.has_moments[equalised]) decay.see(m, relative_decay(a, s) / relative_update(a, s, equalised));
      mixed = mixed || shares_differ(s);
    }
  }
};

const char* extent(const Spans& s) {
  const double change = std::max(s.update.high - 1, 1 - s.update.low);
  if (change <= kHardly.length && s.turn.low >= kHardly.cosine) return "gradients.hardly";
  return change <= kLittle.length && s.turn.low >= kLittle.cosine ? "gradients.little" : "gradients.much";
}

std::vector<Finding> adam_findings(const GradientAudit& a) {
  const Spans s(a);
  std::vector<Finding> found;
  const auto add = [&](const char* kind, const Span& span, const Json& more = Json::object()) {
    found.push_back({kind, span.values()});
    found.back().values.update(more);
  };
  if (s.update.empty()) {
    found.push_back({"gradients.adam_unknown"});
  } else {
    add(extent(s), s.update, named("least_cosine", s.turn.low, "most_cosine", s.turn.high));
  }
  if (!s.raw.empty()) add("gradients.gradient", s.raw);
  if (a.max_norm <= 0) {
    found.push_back({"gradients.no_clipping"});
  } else if (!s.clipped.empty()) {
    add("gradients.clipping", s.clipped,
        named("max_norm", a.max_norm, "equalised", a.clip[equalised], "equalised_least",
              a.least_clip[equalised], "equalised_most", a.most_clip[equalised], "plain", a.clip[plain],
              "plain_least", a.least_clip[plain], "plain_most", a.most_clip[plain]));
  }
  if (!s.undamped.empty()) {
    add("gradients.left", s.undamped);
    if (s.mixed) found.push_back({"gradients.mixed"});
    found.push_back({"gradients.epsilon",
                     named("damping", s.damping.high, "layer", layer_name(s.damping.highest), "near",
                           std::max(0.0, s.epsilon.high), "near_layer", layer_name(s.epsilon.highest))});
  }
  if (!s.decay.empty()) add("gradients.decay", s.decay);
  return found;
}

// The least agreed pair of all layers.
struct Least {
  std::optional<Pair> pair;
  std::int64_t layer = 0;
  void see(const std::vector<Pair>& pairs, std::int64_t m) {
    if (pairs.empty() || (pair && pairs[0].cosine >= pair->cosine)) return;
    pair = pairs[0];
    layer = m;
  }
  Json values(const GradientAudit& a) const {
    return named("a", a.roots[pair->a].name, "b", a.roots[pair->b].name, "layer", layer_name(layer), "cosine",
                 pair->cosine, "low", pair->low, "high", pair->high);
  }
};

std::vector<Finding> conflict_findings(const GradientAudit& a) {
  std::vector<std::string> fighting;
  Least exits, with_features;
  for (std::int64_t m = 0; m <= a.layers; ++m) {
    const GroupSums s = layer_sums(a, m);
    const std::vector<Pair> all = pairs(a, s, audit::PairsOf::exits);
    if (std::any_of(all.begin(), all.end(), [](const Pair& p) { return p.fights(); }))
      fighting.push_back(layer_name(m));
    exits.see(all, m);
    with_features.see(pairs(a, s, audit::PairsOf::exit_and_features), m);
  }
  std::vector<Finding> found;
  if (!exits.pair) {
    found.push_back({"gradients.alone"});
  } else if (fighting.empty()) {
    found.push_back({"gradients.agree"});
  } else {
    found.push_back({"gradients.fight", named("layers", fmt::format("{}", fmt::join(fighting, ", ")))});
  }
  if (exits.pair) found.push_back({"gradients.least_agreed", exits.values(a)});
  if (with_features.pair) found.push_back({"gradients.least_agreed_features", with_features.values(a)});
  return found;
}

}  // namespace

std::string layer_name(std::int64_t layer) {
  return layer == 0 ? "embeddings" : fmt::format("layer {}", layer);
}

std::vector<Findings> gradient_findings(const GradientReport& report) {
  return {{words("gradients.equalisation"), equalisation_findings(report)},
          {words("gradients.adam"), adam_findings(report.audit)},
          {words("gradients.conflicts"), conflict_findings(report.audit)}};
}

std::string gradient_headline(const std::vector<Findings>& findings) {
  std::vector<std::string> verdicts;
  for (const Findings& part : findings) {
    const std::string verdict = prose(part.findings.at(0).kind, part.findings[0].values).heading;
    if (!verdict.empty()) verdicts.push_back(verdict);
    const std::string& kind = part.findings[0].kind;
    if (kind == "gradients.faults" || kind == "gradients.still_model") break;
  }
  std::string headline = fmt::format("{}", fmt::join(verdicts, "; "));
  if (!headline.empty()) headline[0] = static_cast<char>(std::toupper(headline[0]));
  return headline;
}

}  // namespace costeff
