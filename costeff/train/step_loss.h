// The loss of a training step, made of a phase's terms, and which parameters it trains.
#pragma once

#include "costeff/train/method.h"
#include "costeff/train/teacher.h"

namespace costeff {

// Records the forward pass and the loss of a step: all terms of the phase, or with `hidden_alone` those of
// hidden states. `teacher` may be null where no term needs one.
Variable step_loss(const Phase& phase, bool hidden_alone, const Bert& student, const Teacher* teacher,
                   Forward& forward, const Batch& batch, const TokenBatch& tokens);

// Freezes what such a step does not train: exits that no term reads, and with exits_only everything else.
// Where clipping counts it all the same, it is fixed instead (Parameter::fixed).
void freeze_for(const Phase& phase, bool hidden_alone, Bert& model);

}  // namespace costeff
