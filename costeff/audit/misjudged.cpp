#include "costeff/audit/misjudged.h"

#include <algorithm>
#include <cmath>

#include "costeff/audit/importance_compare.h"

namespace costeff::audit {

double Misjudged::excess() const {
  return (static_cast<double>(rank_by_change) - static_cast<double>(rank_by_score)) / static_cast<double>(of);
}

std::vector<Misjudged> misjudged(const ImportanceAudit& audit, const UnitsAudit& units) {
  const ByLayer& scores = of(audit.sources.front().paper, units.units);
  std::vector<Misjudged> all;
  all.reserve(units.removed.size());
  for (const Removed& r : units.removed) {
    const double sum = scores[static_cast<std::size_t>(r.layer - 1)][static_cast<std::size_t>(r.place)];
    all.push_back(
        {.layer = r.layer, .place = r.place, .score = std::abs(sum), .change = r.change.total(), .of = 0});
  }
  for (Misjudged& m : all) {
    for (const Misjudged& other : all) {
      if (other.layer != m.layer) continue;
      ++m.of;
      if (other.score > m.score) ++m.rank_by_score;
      if (other.change > m.change) ++m.rank_by_change;
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const Misjudged& a, const Misjudged& b) {
    if (a.excess() != b.excess()) return a.excess() > b.excess();
    return a.excess() > 0 ? std::abs(a.change) > std::abs(b.change) : std::abs(a.change) < std::abs(b.change);
  });
  return all;
}

WorstMisjudged worst_misjudged(std::span<const Misjudged> all, std::size_t each) {
  WorstMisjudged worst;
  for (std::size_t i = 0; i < std::min(each, all.size()); ++i) {
    const Misjudged &most = all[i], &least = all[all.size() - 1 - i];
    if (most.excess() > 0) worst.over.push_back(most);
    if (least.excess() < 0) worst.under.push_back(least);
  }
  return worst;
}

}  // namespace costeff::audit
