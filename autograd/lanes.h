// Backward passes of several roots side by side over one tape: for whoever asks which loss moved a parameter.
//
// A lane is one pass. Records are walked once, in reverse; at each, every lane that has a gradient there runs
// the record's rule. As soon as no earlier record reads a parameter, the gradients of all lanes for it are
// complete: they are handed over and forgotten, so that never more than one parameter's are held, however
// many lanes there are.
#pragma once

#include <functional>
#include <span>

#include "autograd/tape.h"

namespace costeff {

struct Lane {
  Root root;                     // of no tape: the lane reaches nothing
  const Op* identity = nullptr;  // records of this op pass gradients on as they are, whatever its rule says
};

// One parameter's gradients, of every lane.
struct LaneGradients {
  Parameter& parameter;
  Tensor values;  // [lanes, elements] on the CPU, zero for lanes that did not reach it
  std::span<const std::uint8_t> reached;  // (lanes)
  // Of a table that one record reads by rows: the rows that `values` is of, ascending; all others are zero in
  // every lane. Empty: values is of the whole parameter.
  std::span<const std::int32_t> rows;

  // The parameter's value at the elements that `values` has, on the CPU: itself, or its `rows`.
  Tensor weights() const;
};

// Calls fold once for each parameter that wants a gradient and that a lane reached, in the order in which
// they become complete, last layers first. Neither parameters' own gradients nor the tape are changed; hooks
// are not called. Throws Error when a root is not on the tape or has no gradient to give.
void backward_lanes(Tape& tape, std::span<const Lane> lanes,
                    const std::function<void(const LaneGradients& gradients)>& fold);

}  // namespace costeff
