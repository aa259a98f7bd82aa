// AdamW, the learning-rate schedule, and clipping by the global norm.
#pragma once

#include <utility>
#include <vector>

#include "nn/parameters.h"
#include "tensor/choice.h"
#include "tensor/math.h"

namespace costeff {

// torch: torch.optim.AdamW, decay before the step, epsilon after bias correction, which counts this
// optimiser's steps: torch counts a parameter's own, which are fewer where it had no gradient for a while.
// transformers: the AdamW of transformers before 4.50, epsilon before bias correction, decay after the step.
enum class AdamVariant : std::uint8_t { torch, transformers };

constexpr auto names_of(AdamVariant) {
  return std::to_array<Name<AdamVariant>>(
      {{AdamVariant::torch, "torch"}, {AdamVariant::transformers, "transformers"}});
}

struct AdamWOptions {
  AdamVariant variant = AdamVariant::torch;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;  // not on biases and LayerNorm weights
};

// Loshchilov and Hutter 2019. First and second moments lie in flat buffers with the layout of the parameters.
//
// A row of a by-rows table that a batch does not touch has zero gradient, but its moments decay and its
// weights move all the same. Those steps are put off and replayed, bit for bit, when the row is next read:
// call catch_up with the ids of a batch before its forward pass, and catch_up_all before the parameters are
// read as a whole (saved, evaluated). The book of who waits for what is kept on the host; on another device a
// copy goes to the kernels that replay.
class AdamW {
 public:
  AdamW(ParameterStore& store, const AdamWOptions& options);

  // i32 [tokens] on the CPU, repeats allowed. Throws Error naming an id that is no row of a table.
  void catch_up(const Tensor& ids);
  void catch_up_all();
  // One update with the parameters' gradients times `gradient_scale`; parameters that are fixed, or
  // have no gradient, stay as they are.
  void step(double learning_rate, double gradient_scale = 1);

  std::int64_t steps() const { return steps_; }
  const AdamWOptions& options() const { return options_; }

  // ---- for checkpoints; the moments are complete after catch_up_all()
  const Tensor& first_moments() const { return m_; }
  const Tensor& second_moments() const { return v_; }
  void restore(std::int64_t steps);  // after the moments were written

 private:
  struct Table {  // the put-off steps of a by-rows parameter
    Parameter* parameter = nullptr;
    std::int64_t offset = 0;
    CachedVector<std::int32_t> behind;     // [rows] how many of `waiting` the row has taken
    CachedVector<math::AdamStep> waiting;  // steps that some row may not have taken yet
    RowSet wanted;
    // On a device other than the CPU, copies: of `behind`, and of the first `steps_there` of `waiting`.
    Tensor behind_there;
    Tensor waiting_there;
    std::size_t steps_there = 0;
  };

  math::AdamStep scalars(double learning_rate, double gradient_scale, bool decays) const;
  void catch_up(Table& table, const RowSet& rows);
  std::pair<const math::AdamStep*, std::int32_t*> copy_book(Table& table) const;
  void catch_up_all(Table& table);
  static void forget_waiting(Table& table);
  void step_table(Table& table, const math::AdamStep& step);

  ParameterStore& store_;
  AdamWOptions options_;
  Tensor m_;
  Tensor v_;
  std::vector<Table> tables_;
  std::int64_t steps_ = 0;
};

// The square root of the sum of all gradients' squares, in f64. Waits for the device, once.
double gradient_norm(const ParameterStore& store);

// min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_; 1 without a limit (max_norm <= 0)
// and for a norm that is no number.
double clip_scale(double norm, double max_norm);

// The factor on the learning rate at 0-based `step`: from 0 up to 1 over `warmup` steps, then down to 0 at
// `total`.
double warmup_linear(std::int64_t step, std::int64_t warmup, std::int64_t total);

}  // namespace costeff
