// Modules: the layers that a BERT is made of. A module declares its parameters in a ParameterStore when it is
// made, and then computes.
#pragma once

#include <string>

#include "autograd/ops.h"
#include "nn/parameters.h"
#include "nn/precision.h"

namespace costeff {

// How a forward pass is run: on which tape, if any, with which dropout, and in which precision.
class Forward {
 public:
  // Inference: nothing is recorded, nothing dropped.
  explicit Forward(Precision precision = Precision::full) : precision_(precision) {}
  // Recorded on the tape; dropout draws its masks from (seed, step, order of the call in the pass).
  explicit Forward(Tape& tape, Precision precision = Precision::full) : tape_(&tape), precision_(precision) {}
  Forward(Tape& tape, std::uint64_t seed, std::uint32_t step, Precision precision = Precision::full)
      : tape_(&tape), training_(true), seed_(seed), step_(step), precision_(precision) {}

  Tape* tape() const { return tape_; }
  bool training() const { return training_; }
  Precision precision() const { return precision_; }
  Variable parameter(Parameter& p) const {
    return tape_ == nullptr ? Variable(p.value) : tape_->parameter(p);
  }
  Dropout dropout(double p) { return training_ ? Dropout{p, {seed_, step_, next_site_++}} : Dropout{}; }

 private:
  Tape* tape_ = nullptr;
  bool training_ = false;
  std::uint64_t seed_ = 0;
  std::uint32_t step_ = 0;
  std::uint32_t next_site_ = 0;
  Precision precision_ = Precision::full;
};

// x W^T + b in the pass's precision, b null: without a bias.
Variable linear(const Forward& forward, const Variable& x, Parameter& weight, Parameter* bias);

// What a module's weights are: NAME.weight and NAME.bias, of one role but for the piece.
struct ModuleRole {
  std::string name;
  WeightRole role = {};
};

// y = x W^T + b, W [out, in], b [out].
class Linear {
 public:
  Linear(ParameterStore& store, const ModuleRole& module, std::int64_t in, std::int64_t out);
  // Several linear layers over the same input as one: `modules` each of `out` / modules.size() rows.
  Linear(ParameterStore& store, const std::string& name, std::span<const ModuleRole> modules, std::int64_t in,
         std::int64_t out);

  Variable operator()(const Forward& forward, const Variable& x) const;
  Variable without_bias(const Forward& forward,
                        const Variable& x) const;  // for ops that add the bias themselves
  Variable bias(const Forward& forward) const { return forward.parameter(*bias_); }

 private:
  Parameter* weight_ = nullptr;
  Parameter* bias_ = nullptr;
};

// Its weight is gamma, its bias beta, each [width].
class LayerNorm {
 public:
  LayerNorm(ParameterStore& store, const ModuleRole& module, std::int64_t width, double epsilon);
  Variable operator()(const Forward& forward, const Variable& x) const;
  // layer_norm(dropout(x + bias) + residual)
  Variable fused(const Forward& forward, const Variable& x, const Variable& bias, const Dropout& dropout,
                 const Variable& residual) const;

 private:
  Parameter* weight_;
  Parameter* bias_;
  double epsilon_;
};

}  // namespace costeff
