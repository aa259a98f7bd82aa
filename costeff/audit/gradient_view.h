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

struct Pair {
  std::size_t a = 0, b = 0;  // roots
  double cosine = 0;         // of the gradients of all batches end to end
  double low = 0, high = 0;  // of a batch alone
  // They pull against each other in every batch.
  bool fights() const { return high < 0; }
};
enum class PairsOf : std::uint8_t {
  exits,              // prediction losses of one kind, so of different exits
  exit_and_features,  // a prediction loss and a feature loss
};
// Those that reach, the least agreed first.
std::vector<Pair> pairs(const GradientAudit& audit, const GroupSums& sums, PairsOf which);
// The least agreed pair of exits, of the roots' inner products <g_a, g_b> = gram[a * stride + b] in any
// variant; nothing if fewer than two reach.
std::optional<Pair> worst_pair(std::span<const std::string> kinds, const std::vector<double>& gram,
                               std::size_t stride);

// With equalisation over without: of the joint gradient's norm, after clipping by the global norm, of the
// norm of Adam's update u, before the learning rate. With epsilon = 0 the last is what clipping alone leaves,
// and where losses are not scaled alike, their mixture.
struct Survival {
  double raw = 0;
  double clipped = 0;
  double undamped = 0;  // of Adam's update with epsilon = 0
  double update = 0;
  double turn = 0;  // cosine of Adam's updates with and without
};
Survival survival(const GroupSums& sums);

// lr |u| / |w| and lr lambda |w| / |w|: how far a step moves the weights, and decay's part beside it.
double relative_update(const GradientAudit& audit, const GroupSums& sums, Variant v);
double relative_decay(const GradientAudit& audit, const GroupSums& sums);

}  // namespace costeff::audit
