#include "costeff/audit/identities.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "tensor/error.h"

namespace costeff::audit {
namespace {

// Gradients added up in another order differ by more than one that is scaled as a whole.
constexpr double kSumSlack = 10;

struct Checker {
  const GradientAudit& audit;
  const ExpectedLoss& expected;
  Identities found;

  void fault(std::string place, std::string what) {
    found.faults.push_back({std::move(place), std::move(what)});
  }

  // ---- terms

  void terms() {
    std::map<std::string, int> seen;
    for (const AuditedRoot& root : audit.roots) {
      if (++seen[root.name] == 2) fault(root.name, "stands twice in the loss: its gradient is counted twice");
      const double wanted = coefficient(root.kind);
      if (std::abs(root.coefficient - wanted) > 1e-12 * std::abs(wanted)) {
        fault(root.name,
              fmt::format("has the coefficient {} in the loss where {} is meant{}", root.coefficient, wanted,
                          root.coefficient == 2 * wanted ? ": its gradient is counted twice" : ""));
      }
    }
    const auto require = [&](const char* kind, double c, std::int64_t first, bool exit) {
      if (c == 0) return;
      for (std::int64_t i = first; i <= audit.layers; ++i) {
        const std::string name = exit ? fmt::format("exit {} {}", i, kind) : fmt::format("{} {}", kind, i);
        if (!seen.contains(name)) fault(name, "is missing in the loss");
      }
    };
    require("soft", expected.soft, expected.first_exit, true);
    require("hard", expected.hard, expected.first_exit, true);
    require("features", expected.features, 0, false);
  }

  double coefficient(std::string_view kind) const {
    return kind == "soft" ? expected.soft : kind == "hard" ? expected.hard : expected.features;
  }

  // ---- sums

  void sums() {
    for (const Variant v : kVariants) {
      // From the losses down: the first part that does not add up is where it goes wrong.
      for (auto group = audit.groups.rbegin(); group != audit.groups.rend(); ++group) sum(*group, v);
    }
  }

  void sum(const GroupSums& group, Variant v) {
    const GroupSums::Sums& s = group.of[v];
    double sizes = 0, shares = 0;
    for (std::size_t j = 0; j < audit.roots.size(); ++j) {
      sizes += std::sqrt(s.square[j]);
      if (s.joint > 0) shares += s.joint_with[j] / s.joint;
    }
    if (sizes == 0 && s.joint == 0) return;
    const double joint = std::sqrt(s.joint);
    const double gap = std::sqrt(s.gap) / std::max(sizes, joint);
    const double off = s.joint > 0 ? std::abs(shares - 1) / std::max(1.0, sizes / joint) : 0;
    found.worst_gap = std::max(found.worst_gap, gap);
    found.worst_share_sum = std::max(found.worst_share_sum, off);
    const char* way = v == equalised ? "with equalisation" : "without equalisation";
    if (gap > kSumSlack * found.tolerance) {
      fault(group.group.name(),
            fmt::format(
                "{}, the terms' gradients do not add up to the joint gradient (off by {:.2g} of it): what "
                "lies between the losses and it is not linear, as clipping before equalisation would be",
                way, gap));
    } else if (off > found.tolerance) {
      fault(group.group.name(), fmt::format("{}, the terms' shares add up to {:.9g}", way, shares));
    }
  }

  // ---- factors

  double closed_form(const AuditedRoot& root, std::int64_t layer) const {
    if (root.kind == "features" && root.place == 0) return 1;
    const std::int64_t m = std::max<std::int64_t>(layer, 1);
    return 1 / static_cast<double>(audit.layers - m + 1);
  }

  bool reads_embeddings(const AuditedRoot& root) const {
    return root.kind != "features" && expected.last_hidden > root.place;
  }

  // The layer's gradients of a term: |plain|^2 and <equalised, plain>, of all its parts but exits.
  std::pair<double, double> at_layer(std::size_t root, std::int64_t layer) const {
    double square = 0, crossed = 0;
    for (const GroupSums& group : audit.groups) {
      if (group.group.layer != layer || group.group.kind == Kind::exit) continue;
      square += group.of[plain].square[root];
      crossed += group.crossed[root];
    }
    return {square, crossed};
  }

  void factors() {
    for (std::size_t j = 0; j < audit.roots.size(); ++j) {
      const AuditedRoot& root = audit.roots[j];
      bool reached = false;
      for (std::int64_t m = root.place; m >= 0; --m) {
        const auto [square, crossed] = at_layer(j, m);
        if (square == 0) continue;
        reached = true;
        Factor factor{j, m, crossed / square};
        if (m > 0 || !reads_embeddings(root)) {
          factor.expected = closed_form(root, m);
          const double off = std::abs(factor.measured / *factor.expected - 1);
          factor.fits = off <= found.tolerance;
          found.worst_factor = std::max(found.worst_factor, off);
        }
        found.factors.push_back(factor);
      }
      if (!reached) fault(root.name, "reaches no layer: what it reads is detached from the model");
    }
    explain();
  }

  const Factor* factor(std::size_t root, std::int64_t layer) const {
    for (const Factor& f : found.factors) {
      if (f.root == root && f.layer == layer && f.expected) return &f;
    }
    return nullptr;
  }

  // measured / expected, on top of what was wrong one layer above already.
  double slip(std::size_t root, std::int64_t layer) const {
    const Factor* here = factor(root, layer);
    const Factor* above = layer < audit.roots[root].place ? factor(root, layer + 1) : nullptr;
    if (here == nullptr) return 1;
    const double ratio = here->measured / *here->expected;
    return above == nullptr ? ratio : ratio / (above->measured / *above->expected);
  }

  bool slips(double ratio) const { return std::abs(ratio - 1) > 2 * found.tolerance; }

  // Where a wrong factor comes in: at the term that is attached there, or at the layer that all pass through.
  void explain() {
    for (std::int64_t m = audit.layers; m >= 0; --m) {
      std::vector<std::size_t> attached, passing;
      bool all_attached = true, all_passing = true;
      double passed = 1;
      for (std::size_t j = 0; j < audit.roots.size(); ++j) {
        if (factor(j, m) == nullptr) continue;
        const bool own = audit.roots[j].place == m;
        const bool wrong = slips(slip(j, m));
        if (own) all_attached = all_attached && wrong;
        if (!own) all_passing = all_passing && wrong;
        if (!wrong) continue;
        (own ? attached : passing).push_back(j);
        if (!own) passed = slip(j, m);
      }
      if (!passing.empty()) {
        const bool state = all_attached && !attached.empty();
        fault(
            fmt::format("layer {}", m),
            fmt::format("{} scaled by {:.6g} too much: {}",
                        all_passing ? "what passes it is" : "some of what passes it is", passed,
                        state ? fmt::format("the rescale of h_{}, meant to be {:.6g}", m, closed_factor(m))
                              : fmt::format("the rescale of the branch from h_{} to layer {}, meant to be {}",
                                            m, m + 1, audit.layers - m)));
        if (state) continue;
      }
      for (const std::size_t j : attached) {
        const double ratio = slip(j, m);
        const bool before = std::abs(ratio * closed_factor(m) - 1) <= 2 * found.tolerance;
        fault(audit.roots[j].name,
              fmt::format(
                  "moves layer {} by {:.6g} times what it should{}", m, ratio,
                  before ? fmt::format(": it reads h_{} before that is rescaled by {:.6g}, or the rescale is "
                                       "left out",
                                       m, closed_factor(m))
                         : ""));
      }
    }
  }

  double closed_factor(std::int64_t m) const { return 1 / static_cast<double>(audit.layers - m + 1); }
};

}  // namespace

Identities check_identities(const GradientAudit& audit, const ExpectedLoss& expected) {
  Checker checker{audit, expected, {}};
  checker.found.tolerance = audit.dtype == DType::f64 ? 1e-12 : 1e-6;
  checker.terms();
  checker.sums();
  checker.factors();
  return std::move(checker.found);
}

}  // namespace costeff::audit
