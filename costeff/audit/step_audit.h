// A look at the gradients of a training step, on the tape that the step has recorded: for a run's log.
#pragma once

#include "autograd/tape.h"
#include "costeff/json.h"
#include "nn/parameters.h"

namespace costeff::audit {

// Which loss moves which layer in this step:
//   {"roots": ["exit 1 soft", ...],
//    "norm": |g|, before clipping, of all parameters,
//    "layers": [{"layer": m (0: the embeddings), "norm": |g_m|, "shares": [<g_j, g> / |g|^2 of each root],
//                "conflict": {"between": [root, root], "cosine": the smallest of two exits'} or null}, ...]}
// Gradients are as the step has them, equalised or not. One walk back over the tape, a lane per root; neither
// the tape nor any gradient is changed, so that a run that is looked at has the bits of one that is not.
Json audit_step(Tape& tape, const Variable& loss, const ParameterStore& parameters);

}  // namespace costeff::audit
