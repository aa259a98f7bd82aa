#include "costeff/audit/identities.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "tensor/error.h"

namespace costeff::audit {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

const char* way_of(Variant v) {
  return v == equalised ? "with equalisation" : "without equalisation";
}

std::string name_of_layer(std::int64_t m) {
  return m == 0 ? "embeddings" : fmt::format("layer {}", m);
}

struct Checker {
  const GradientAudit& audit;
  const ExpectedLoss& expected;
  Identities found;
  std::vector<std::int64_t>
      explained;  // of each root: a fault says why its factors miss from this layer down

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

  // False: some gradient is not finite, and no sum of it says anything. From the losses down, so that the
  // part where it begins is named.
  bool finite() {
    for (auto group = audit.groups.rbegin(); group != audit.groups.rend(); ++group) {
      for (const Variant v : kVariants) {
        const GroupSums::Sums& s = group->of[v];
        const auto bad = std::find_if(s.square.begin(), s.square.end(),
                                      [](double square) { return !std::isfinite(square); });
        if (bad == s.square.end() && std::isfinite(s.joint) && std::isfinite(s.gap)) continue;
        const std::string whose =
            bad == s.square.end()
                ? "the joint gradient"
                : fmt::format("the gradient of {}",
                              audit.roots[static_cast<std::size_t>(bad - s.square.begin())].name);
        fault(group->group.name(), fmt::format("{}, {} is not finite", way_of(v), whose));
        found.worst_gap = found.worst_share_sum = found.worst_factor = found.worst_sideways = kInfinity;
        return false;
      }
    }
    return true;
  }

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
    if (!(gap <= found.allowed_gap())) {
      fault(group.group.name(),
            fmt::format(
                "{}, the terms' gradients do not add up to the joint gradient (off by {:.2g} of it): what "
                "lies between the losses and it is not linear, as clipping before equalisation would be",
                way_of(v), gap));
    } else if (!(off <= found.tolerance)) {
      fault(group.group.name(), fmt::format("{}, the terms' shares add up to {:.9g}", way_of(v), shares));
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

  // A term's gradients in a layer, of all its parts but exits.
  struct AtLayer {
    double plain_square = 0, equalised_square = 0;
    double crossed = 0;  // <equalised, plain>
  };
  AtLayer at_layer(std::size_t root, std::int64_t layer) const {
    AtLayer sum;
    for (const GroupSums& group : audit.groups) {
      if (group.group.layer != layer || group.group.kind == Kind::exit) continue;
      sum.plain_square += group.of[plain].square[root];
      sum.equalised_square += group.of[equalised].square[root];
      sum.crossed += group.crossed[root];
    }
    return sum;
  }

  void factors() {
    for (std::size_t j = 0; j < audit.roots.size(); ++j) {
      const AuditedRoot& root = audit.roots[j];
      bool moves = false;
      for (std::int64_t m = root.place; m >= 0; --m) moves = factor_at(j, m) || moves;
      if (!root.reaches) {
        fault(root.name, "reaches no layer: what it reads is detached from the model");
      } else if (!moves) {
        found.still.push_back(j);
      }
    }
    explain();
    say_unexplained();
  }

  // False where there is nothing to measure.
  bool factor_at(std::size_t j, std::int64_t m) {
    const AuditedRoot& root = audit.roots[j];
    const AtLayer g = at_layer(j, m);
    if (g.plain_square == 0 && g.equalised_square == 0) return false;
    Factor factor{j, m, g.crossed / g.plain_square};
    factor.sideways = std::max(0.0, 1 - factor.measured * g.crossed / g.equalised_square);
    if (m > 0 || !reads_embeddings(root)) {
      factor.expected = closed_form(root, m);
      const double off = std::abs(factor.measured / *factor.expected - 1);
      factor.fits = off <= found.tolerance && factor.sideways <= found.tolerance;
      found.worst_factor = std::max(found.worst_factor, std::isnan(off) ? kInfinity : off);
      found.worst_sideways = std::max(found.worst_sideways, factor.sideways);
    }
    found.factors.push_back(factor);
    return true;
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
    explained.assign(audit.roots.size(), -1);
    for (std::int64_t m = audit.layers; m >= 0; --m) {
      std::vector<std::size_t> attached, passing;
      bool all_attached = true, all_passing = true;
      for (std::size_t j = 0; j < audit.roots.size(); ++j) {
        if (factor(j, m) == nullptr) continue;
        const bool own = audit.roots[j].place == m;
        const bool wrong = slips(slip(j, m));
        bool& all = own ? all_attached : all_passing;
        all = all && wrong;
        if (wrong) (own ? attached : passing).push_back(j);
      }
      const bool state = all_attached && !attached.empty();
      if (!passing.empty()) explain_passing(passing, m, all_passing, state);
      if (passing.empty() || !state) {
        for (const std::size_t j : attached) explain_attached(j, m);
      }
      for (const auto* slipped : {&attached, &passing}) {
        for (const std::size_t j : *slipped) explained[j] = std::max(explained[j], m);
      }
    }
  }

  // `state`: what is attached to h_m slips too.
  void explain_passing(const std::vector<std::size_t>& passing, std::int64_t m, bool all, bool state) {
    std::string why;
    if (m == 0) {
      why = "h_0 is rescaled, and should not be";
    } else if (state) {
      why = fmt::format("the rescale of h_{}, meant to be {:.6g}", m, closed_factor(m));
    } else {
      why = fmt::format("the rescale of the branch from h_{} to layer {}, meant to be {}", m, m + 1,
                        audit.layers - m);
    }
    fault(name_of_layer(m),
          fmt::format("{} scaled by {:.6g} too much: {}",
                      all ? "what passes it is" : "some of what passes it is", slip(passing.back(), m), why));
  }

  void explain_attached(std::size_t j, std::int64_t m) {
    const double ratio = slip(j, m);
    std::string why;
    if (m == 0) {
      why = ": h_0 is rescaled, and should not be";
    } else if (std::abs(ratio * closed_factor(m) - 1) <= 2 * found.tolerance) {
      why = fmt::format(": it reads h_{} before that is rescaled by {:.6g}, or the rescale is left out", m,
                        closed_factor(m));
    }
    fault(audit.roots[j].name, fmt::format("moves {} by {:.6g} times what it should{}",
                                           m == 0 ? "the embeddings" : name_of_layer(m), ratio, why));
  }

  // Factors that drift by a little in each layer, or turn the gradient, come in nowhere in particular. One
  // fault for each term, of its topmost layer that misses.
  void say_unexplained() {
    for (const Factor& f : found.factors) {
      if (f.fits || f.layer <= explained[f.root]) continue;
      explained[f.root] = audit.layers;
      const std::string where = name_of_layer(f.layer);
      const double off = std::abs(f.measured / *f.expected - 1);
      fault(audit.roots[f.root].name,
            off <= found.tolerance
                ? fmt::format("equalisation turns its gradient at {}: {:.2g} of its length points elsewhere",
                              where, std::sqrt(f.sideways))
                : fmt::format(
                      "its factor at {} is {:.6g} and misses the {:.6g} that it should be by {:.2g} of it",
                      where, f.measured, *f.expected, off));
    }
  }

  double closed_factor(std::int64_t m) const { return 1 / static_cast<double>(audit.layers - m + 1); }
};

}  // namespace

Identities check_identities(const GradientAudit& audit, const ExpectedLoss& expected) {
  Checker checker{audit, expected, {}, {}};
  checker.found.tolerance = audit.dtype == DType::f64 ? 1e-12 : 1e-6;
  checker.terms();
  if (checker.finite()) {
    checker.sums();
    checker.factors();
  }
  return std::move(checker.found);
}

}  // namespace costeff::audit
