// One optimiser step, whatever the loss: forward and backward of each micro-batch, norm, clipping, AdamW.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "data/batches.h"
#include "nn/bert.h"
#include "nn/optimizer.h"

namespace costeff {

struct TrainerOptions {
  AdamWOptions adam;
  double learning_rate = 5e-5;
  std::int64_t warmup = 0;  // steps
  std::int64_t total = 0;   // steps, at the end of which the rate is 0
  double max_norm = 1;      // of the gradient; 0: no clipping
  std::uint64_t seed = 0;   // of dropout
  bool check_finite = false;
  Precision precision = Precision::full;
};

struct StepReport {
  double loss = 0;           // before the update, mean over the step's sequences
  double gradient_norm = 0;  // before clipping
  double clip_scale = 1;
  double learning_rate = 0;
  std::int64_t tokens = 0;  // real ones
};

class Trainer {
 public:
  // The loss of a micro-batch: a scalar, mean over its sequences.
  using Loss = std::function<Variable(Forward& forward, const Batch& batch, const TokenBatch& tokens)>;

  // Looks at a micro-batch's tape after its backward pass; must change nothing.
  using Inspect = std::function<void(Tape& tape, const Variable& loss)>;

  Trainer(ParameterStore& parameters, const TrainerOptions& options);

  // One update from the mean loss over all sequences of the micro-batches. Throws Error when the loss or the
  // gradient is not finite (nothing is updated then), or when a parameter that is not frozen got no gradient.
  StepReport step(std::span<const Batch> micro_batches, const Loss& loss, const Inspect& inspect = {});

  std::int64_t steps() const { return optimizer_.steps(); }
  // Brings put-off updates up to date, so that the parameters may be read as a whole.
  void flush() { optimizer_.catch_up_all(); }

  // Weights and optimiser, in f32 or f64 as they are, as one safetensors file in an existing folder; and
  // back.
  void save(const std::string& folder);
  void restore(const std::string& folder, std::int64_t steps);

 private:
  ParameterStore& parameters_;
  TrainerOptions options_;
  AdamW optimizer_;
  Tape tape_;
};

}  // namespace costeff
