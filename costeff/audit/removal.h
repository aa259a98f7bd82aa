// What removing heads or neurons really does to each exit's loss: they are removed, and the loss is computed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "costeff/audit/subject.h"

namespace costeff::audit {

enum class Units : std::uint8_t { heads, neurons };

// Losses of a sample, or what they change by; means over its sentences.
struct SampleLoss {
  std::vector<double> exits;  // of exits first..L
  double features = 0;        // 0 where there are none to learn from

  double total() const;  // of the exits
};

// A head is removed by zeroing its columns of W_O, a neuron by zeroing its column of W_FO: with them it says
// nothing more, as if it had been cut out. The weights are zeroed in place and put back; biases stay, as
// prune() leaves them. The sample's states h_0..h_L are kept, so that what lies below the layer is not
// computed again.
class RemovalSweep {
 public:
  // `loss`: the exits', "predictions" or "labels". One forward pass. The subject must outlive this.
  RemovalSweep(const Subject& subject, std::string loss);

  // Nothing removed. Logits and states are of the model's dtype, losses are computed from them in f64.
  const SampleLoss& loss() const { return loss_of_all_; }
  // The same minus loss() when these units of layer k in 1..L are gone. 0 at exits below the layer.
  SampleLoss change(Units units, std::int64_t k, std::span<const std::int64_t> places) const;

  std::size_t bytes() const;                                       // of the states that are kept
  double seconds_per_layer() const { return seconds_per_layer_; }  // as the first pass took

 private:
  struct BatchStates {
    const Batch* batch;
    LayoutPtr layout;
    TeacherOutputs target;         // f64 logits; hidden states where features are learnt from
    std::vector<Variable> hidden;  // h_0..h_L
  };

  // What layers from..L give, times the batch's share of the sample: their exits' losses added to `exits`,
  // the loss of h_i added to features[i].
  void add_losses(const BatchStates& part, std::span<const Variable> hidden, std::int64_t from,
                  std::vector<double>& exits, std::vector<double>& features) const;

  const Subject& subject_;
  const Bert& model_;
  std::string loss_;
  std::vector<BatchStates> parts_;
  SampleLoss loss_of_all_;
  std::vector<double> features_;  // of h_0..h_L; empty where there are none to learn from
  double seconds_per_layer_ = 0;
};

}  // namespace costeff::audit
