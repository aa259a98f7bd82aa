// The terms that a training loss is made of, found on the tape that recorded it: no second definition of the
// loss that could be wrong in another way.
#pragma once

#include <string>
#include <vector>

#include "autograd/lanes.h"

namespace costeff::audit {

// A term c l of the loss: the loss at one exit, or of one layer's features.
struct LossRoot {
  Variable variable;       // l, a scalar on the tape
  std::string kind;        // "soft", "hard" or "features", as its record is tagged
  std::int64_t place = 0;  // i of exit i; k of the features h_k
  double coefficient = 1;  // c

  std::string name() const;  // "exit 3 soft", "features 2"
  std::string id() const;    // "exit.3.soft", "features.2"
};

// The terms of a loss that was put together by `add` and `scale` records. Ordered by kind (soft, hard,
// features), then by place. A term that stands twice in the sum has twice the coefficient; two records that
// say the same are two terms. Throws Error when a term's record has no loss tag.
std::vector<LossRoot> loss_roots(Tape& tape, const Variable& loss);

// A lane for each term, times its coefficient, then one for the loss whole. A term that nothing trained
// stands behind has a lane that reaches nothing. Without `rescale` gradients pass gradient_rescale records as
// they are.
std::vector<Lane> lanes_of(std::span<const LossRoot> roots, const Variable& loss, bool rescale);

}  // namespace costeff::audit
