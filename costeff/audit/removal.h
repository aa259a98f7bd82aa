// What removing heads or neurons really does to each exit's loss: they are removed, and the loss is computed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "costeff/audit/subject.h"

namespace costeff::audit {

enum class Units : std::uint8_t { heads, neurons };

// A head is removed by zeroing its columns of W_O, a neuron by zeroing its column of W_FO: with them it says
// nothing more, as if it had been cut out. The weights are zeroed in place and put back; biases stay, as
// prune() leaves them. The sample's states h_0..h_L are kept, so that what lies below the layer is not
// computed again.
class RemovalSweep {
 public:
  // `loss`: "predictions" or "labels". One forward pass. The subject must outlive this.
  RemovalSweep(const Subject& subject, std::string loss);

  // The loss of exits first..L, nothing removed; means over the sample's sentences. Logits are of the model's
  // dtype, losses are computed from them in f64.
  const std::vector<double>& losses() const { return losses_; }
  // The same minus losses() when these units of layer k in 1..L are gone. 0 at exits below the layer.
  std::vector<double> change(Units units, std::int64_t k, std::span<const std::int64_t> places) const;

  std::size_t bytes() const;                                       // of the states that are kept
  double seconds_per_layer() const { return seconds_per_layer_; }  // as the first pass took

 private:
  struct Part {  // a batch
    const Batch* batch;
    LayoutPtr layout;
    TeacherOutputs target;         // f64 logits; none where labels are learnt from
    std::vector<Variable> hidden;  // h_0..h_L
  };

  // The losses of exits from..L, times the batch's share of the sample, added to `losses`.
  void add_losses(const Part& part, std::span<const Variable> hidden, std::int64_t from,
                  std::vector<double>& losses) const;

  const Subject& subject_;
  const Bert& model_;
  std::string loss_;
  std::vector<Part> parts_;
  std::vector<double> losses_;
  double seconds_per_layer_ = 0;
};

}  // namespace costeff::audit
