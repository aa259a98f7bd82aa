// What must hold of audited gradients, whatever the model: checked on every audit, so that a fault in a loss,
// in equalisation, or in the audit itself does not pass as a finding.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "costeff/audit/gradients.h"

namespace costeff::audit {

// What the loss should be made of: the coefficient of each term of a kind, 0 where there is none.
struct ExpectedLoss {
  double soft = 0;
  double hard = 0;
  double features = 0;  // of h_0..h_L
  std::int64_t first_exit = 1;
  std::int64_t last_hidden = 1;  // states that an exit reads
};

// By how much equalisation scaled the gradient of a term at a layer: g_eq is projected on g_plain.
struct Factor {
  std::size_t root = 0;    // in GradientAudit::roots
  std::int64_t layer = 0;  // 0: the embeddings
  double measured = 0;     // <g_eq, g_plain> / |g_plain|^2
  double sideways = 0;     // |g_eq - measured g_plain|^2 / |g_eq|^2: what the projection does not see
  // 1/(L-m+1) at layer m, 1/L at the embeddings; 1 for the features h_0, which are not rescaled. Nothing
  // where an exit also reads h_0: its ways to the embeddings have different factors.
  std::optional<double> expected;
  bool fits = true;
};

struct Fault {
  std::string place;  // "exit 3 soft", "layer 4"
  std::string what;
};

struct Identities {
  double tolerance = 0;  // 1e-6 in f32, 1e-12 in f64
  double worst_share_sum =
      0;                      // |sum of a row's shares - 1| over sum_j |g_j| / |g|, or over 1 if that is less
  double worst_gap = 0;       // |g - sum_j g_j| / sum_j |g_j|
  double worst_factor = 0;    // |measured / expected - 1|
  double worst_sideways = 0;  // of the factors that have a closed form
  std::vector<Factor> factors;
  std::vector<std::size_t> still;  // terms that reach the model with a gradient of 0: at their minimum
  std::vector<Fault> faults;       // none: all hold, no worst number is above what is allowed

  double allowed_gap() const { return 10 * tolerance; }  // sums in another order differ by more than products
};

// Where a gradient is not finite that alone is the fault, and all worst numbers are infinite.
Identities check_identities(const GradientAudit& audit, const ExpectedLoss& expected);

}  // namespace costeff::audit
