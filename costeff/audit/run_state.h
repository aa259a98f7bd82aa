// Where a training run stands: its newest checkpoint, for the audit of the step that comes next.
#pragma once

#include <optional>
#include <string>

#include "nn/bert.h"
#include "nn/optimizer.h"

namespace costeff::audit {

struct RunState {
  std::string checkpoint;  // its folder
  std::int64_t steps = 0;  // that its optimiser has made: each phase has an optimiser of its own
  bool equalised = true;   // how its gradients were computed
  AdamWOptions adam;
  double learning_rate = 0;        // of the phase, where its schedule is highest
  double max_norm = 0;             // of clipping; 0: none
  std::optional<Pooling> pooling;  // of its model's exits, if it has any
};

// Throws Error when no run is there, when it has no whole checkpoint, or when its files are not a run's.
RunState newest_state(const std::string& run);
// Replaces the model's weights by those of the checkpoint. Throws Error when they are not this model's, or
// when its exits read another state than the run's.
void read_weights(const RunState& run, const Bert& model);

}  // namespace costeff::audit
