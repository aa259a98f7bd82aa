// What the sums of a gradient audit say: shares, cosines, and what is left of equalisation step by step.
#pragma once

#include <optional>

#include "costeff/audit/gradients.h"

namespace costeff::audit {

// All parts of a layer together but its exit; of layer 0 the embeddings.
GroupSums layer_sums(const GradientAudit& audit, std::int64_t layer);

// share of root j = <g_j, g> / |g|^2, signed; nan where the joint gradient is zero.
double share(const GroupSums& sums, Variant v, std::size_t root);
// The same of Adam's direction u = u_h + sum_j u_j, u_h its memory: <u_j, u> / |u|^2.
double update_share(const GroupSums& sums, Variant v, std::size_t root);
double history_share(const GroupSums& sums, Variant v);

// A root's share with equalisation is another than without, by more than a report shows (0.05 %): at the
// embeddings where a loss reads h_0 itself, which nothing rescales. Elsewhere Eq. 3 scales all roots alike.
bool shares_differ(const GroupSums& sums);

// cos(g_a, g_b), of plain gradients; a layer's equalised ones have the same where its roots are scaled alike.
// nan where one is zero.
double cosine(const GroupSums& sums, std::size_t roots, std::size_t a, std::size_t b);

struct Conflict {
  std::size_t a = 0, b = 0;  // roots
  double cosine = 0;
};
// The pair of prediction losses of one kind, so of different exits, with the smallest cosine; nothing if
// fewer than two reach.
std::optional<Conflict> worst_conflict(const GradientAudit& audit, const GroupSums& sums);
// The same of the roots' inner products <g_a, g_b> = gram[a * stride + b], in any variant.
std::optional<Conflict> worst_conflict(std::span<const std::string> kinds, const std::vector<double>& gram,
                                       std::size_t stride);

// With equalisation over without: of the joint gradient, after clipping by the global norm, of Adam's
// direction.
struct Survival {
  double raw = 0;
  double clipped = 0;
  double direction = 0;
};
Survival survival(const GroupSums& sums);

// lr |u| / |w| and lr lambda |w| / |w|: how far a step moves the weights, and decay's part beside it.
double relative_update(const GradientAudit& audit, const GroupSums& sums, Variant v);
double relative_decay(const GradientAudit& audit, const GroupSums& sums);

}  // namespace costeff::audit
