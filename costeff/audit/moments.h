// Adam's moments as training would have left them, for the audit of the step that comes next.
#pragma once

#include <span>
#include <string>

#include "autograd/lanes.h"
#include "nn/optimizer.h"

namespace costeff::audit {

// Under one way of computing gradients: m and v of every parameter, in the store's flat layout.
class Moments {
 public:
  // Of a run that has not made a step: zero.
  Moments(const ParameterStore& store, const AdamWOptions& options);
  // Reads those of a checkpoint (training.safetensors of a run folder's checkpoint). Throws Error when it is
  // not this model's.
  void read(const std::string& checkpoint, std::int64_t steps);

  // A step: begin(), then add() for each parameter that got a gradient g, times the scale of clipping.
  void begin();
  void add(const LaneGradients& gradients, std::size_t lane, double clip);

  // What the next step would make of gradient g, per element of the parameter (of its rows, where the
  // gradient has rows): with t = steps + 1, v' = beta2 v + (1 - beta2) (clip g)^2, d = sqrt(v' / (1 -
  // beta2^t)),
  //   history = beta1 m / (1 - beta1^t) / (d + epsilon)
  //   gain    = (1 - beta1) clip / (1 - beta1^t) / (d + epsilon)
  // so that the update is u = history + gain g, linear in g but for d. (epsilon / sqrt(1 - beta2^t)
  // instead of epsilon in the variant of transformers.)
  struct Next {
    Tensor history;  // [elements], f64
    Tensor gain;     // [elements], f64
    Tensor damping;  // [elements], f64: d / (d + epsilon), what epsilon leaves of u; 1 where d is 0
    std::int64_t near_epsilon = 0;  // elements with d below 100 epsilon, where epsilon is felt
  };
  Next next(const LaneGradients& gradients, std::size_t lane, double clip) const;

  std::int64_t steps() const { return steps_; }

 private:
  void allocate();  // zeros
  // Calls f(element of the gradient, element of the flat buffers).
  template <class F>
  void for_each_element(const LaneGradients& gradients, F&& f) const;

  const ParameterStore& store_;
  AdamWOptions options_;
  Tensor m_, v_;  // undefined before the first step
  std::int64_t steps_ = 0;
};

}  // namespace costeff::audit
