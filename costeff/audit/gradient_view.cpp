#include "costeff/audit/gradient_view.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace costeff::audit {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double ratio(double a, double b) {
  return b > 0 ? a / b : kNan;
}

double cosine_in(const std::vector<double>& gram, std::size_t stride, std::size_t a, std::size_t b) {
  const double squares = gram[a * stride + a] * gram[b * stride + b];
  return squares > 0 ? gram[a * stride + b] / std::sqrt(squares) : kNan;
}

bool belong(const std::string& a, const std::string& b, PairsOf which) {
  const bool features = a == "features" || b == "features";
  return which == PairsOf::exits ? !features && a == b : features && a != b;
}

void add(std::vector<double>& to, const std::vector<double>& from) {
  if (to.empty()) to.assign(from.size(), 0.0);
  for (std::size_t i = 0; i < from.size(); ++i) to[i] += from[i];
}

}  // namespace

GroupSums layer_sums(const GradientAudit& audit, std::int64_t layer) {
  GroupSums all;
  const std::size_t roots = audit.roots.size();
  for (GroupSums::Sums& s : all.of) {
    for (std::vector<double>* values : {&s.square, &s.joint_with, &s.update_with}) values->assign(roots, 0.0);
  }
  all.crossed.assign(roots, 0.0);
  all.gram.assign(roots * roots, 0.0);
  all.group.layer = layer;
  for (const GroupSums& group : audit.groups) {
    if (group.group.layer != layer || group.group.kind == Kind::exit) continue;
    all.parameters += group.parameters;
    all.weights += group.weights;
    all.decayed += group.decayed;
    add(all.crossed, group.crossed);
    add(all.gram, group.gram);
    all.updates_crossed += group.updates_crossed;
    all.batch_grams.resize(group.batch_grams.size());
    for (std::size_t b = 0; b < group.batch_grams.size(); ++b) add(all.batch_grams[b], group.batch_grams[b]);
    for (const Variant v : kVariants) {
      GroupSums::Sums& to = all.of[v];
      const GroupSums::Sums& from = group.of[v];
      add(to.square, from.square);
      add(to.joint_with, from.joint_with);
      add(to.update_with, from.update_with);
      to.joint += from.joint;
      to.gap += from.gap;
      to.clipped += from.clipped;
      to.history_with += from.history_with;
      to.update += from.update;
      to.undamped += from.undamped;
      to.near_epsilon += from.near_epsilon;
      to.elements += from.elements;
    }
  }
  return all;
}

double share(const GroupSums& sums, Variant v, std::size_t root) {
  return ratio(sums.of[v].joint_with[root], sums.of[v].joint);
}

double update_share(const GroupSums& sums, Variant v, std::size_t root) {
  return ratio(sums.of[v].update_with[root], sums.of[v].update);
}

double history_share(const GroupSums& sums, Variant v) {
  return ratio(sums.of[v].history_with, sums.of[v].update);
}

bool shares_differ(const GroupSums& sums) {
  constexpr double kShown = 5e-4;
  for (std::size_t j = 0; j < sums.crossed.size(); ++j) {
    if (std::abs(share(sums, equalised, j) - share(sums, plain, j)) > kShown) return true;
  }
  return false;
}

double cosine(const GroupSums& sums, std::size_t roots, std::size_t a, std::size_t b) {
  return cosine_in(sums.gram, roots, a, b);
}

std::vector<Pair> pairs(const GradientAudit& audit, const GroupSums& sums, PairsOf which) {
  const std::size_t roots = audit.roots.size();
  std::vector<Pair> found;
  for (std::size_t a = 0; a < roots; ++a) {
    for (std::size_t b = a + 1; b < roots; ++b) {
      if (!belong(audit.roots[a].kind, audit.roots[b].kind, which)) continue;
      Pair pair{a, b, cosine_in(sums.gram, roots, a, b), 1, -1};
      if (std::isnan(pair.cosine)) continue;
      for (const std::vector<double>& gram : sums.batch_grams) {
        const double c = cosine_in(gram, roots, a, b);
        if (std::isnan(c)) continue;
        pair.low = std::min(pair.low, c);
        pair.high = std::max(pair.high, c);
      }
      found.push_back(pair);
    }
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Pair& a, const Pair& b) { return a.cosine < b.cosine; });
  return found;
}

std::optional<Pair> worst_pair(std::span<const std::string> kinds, const std::vector<double>& gram,
                               std::size_t stride) {
  std::optional<Pair> worst;
  for (std::size_t a = 0; a < kinds.size(); ++a) {
    for (std::size_t b = a + 1; b < kinds.size(); ++b) {
      if (!belong(kinds[a], kinds[b], PairsOf::exits)) continue;
      const double c = cosine_in(gram, stride, a, b);
      if (std::isnan(c) || (worst && worst->cosine <= c)) continue;
      worst = Pair{a, b, c, c, c};
    }
  }
  return worst;
}

Survival survival(const GroupSums& sums) {
  const auto of = [&](double GroupSums::Sums::*square) {
    return std::sqrt(ratio(sums.of[equalised].*square, sums.of[plain].*square));
  };
  return {of(&GroupSums::Sums::joint), of(&GroupSums::Sums::clipped), of(&GroupSums::Sums::undamped),
          of(&GroupSums::Sums::update),
          ratio(sums.updates_crossed, std::sqrt(sums.of[equalised].update * sums.of[plain].update))};
}

double relative_update(const GradientAudit& audit, const GroupSums& sums, Variant v) {
  const double update = sums.of[v].update / static_cast<double>(audit.batches);
  return audit.learning_rate * std::sqrt(ratio(update, sums.weights));
}

double relative_decay(const GradientAudit& audit, const GroupSums& sums) {
  return audit.learning_rate * audit.adam.weight_decay * std::sqrt(ratio(sums.decayed, sums.weights));
}

}  // namespace costeff::audit
