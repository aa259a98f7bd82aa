// How much each attention head and FFN neuron matters: first-order Taylor scores (COST-EFF Eq. 2).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "costeff/losses.h"

namespace costeff {

// Scores of the model's heads and neurons, layer by layer: heads[k-1] has as many as layer k has heads.
struct ImportanceScores {
  std::vector<std::vector<double>> heads;
  std::vector<std::vector<double>> neurons;
};

// Adds up what the scores are made of, a calibration batch at a time.
//
//   paper    I(S) = | sum_{w in S} g_w w |, g the gradient of the mean calibration loss. A head's S: its rows
//   of W_Q, W_K,
//            W_V and of their biases, its columns of W_O; a neuron's: its row of W_FI and its bias, its
//            column of W_FO.
//   release  sum_{w in S} |w| sum_batches |g_w|. A head's S: its columns of W_O; a neuron's: its row of W_FI
//   and its column
//            of W_FO.
//
// Gradients are taken as the model is at hand: equalised or not, by what `loss` records.
class Importance {
 public:
  // The loss of a calibration batch: a scalar, mean over its sequences.
  using Loss = std::function<Variable(Forward& forward, const Batch& batch, const TokenBatch& tokens)>;

  Importance(const Bert& model, Fidelity fidelity);

  // Runs forward, with dropout off, and backward. Parameters' own gradients are not touched.
  void add(const Batch& batch, const Loss& loss);
  // Throws Error when no batch was added.
  ImportanceScores scores() const;

 private:
  const Bert& model_;
  Fidelity fidelity_;
  std::vector<Tensor>
      sums_;  // of g or |g|, of each parameter in the store's order; undefined where none is needed
  double sequences_ = 0;
};

// The places of the `count` largest scores, ascending; of equal ones the first. Throws Error if there are
// fewer.
std::vector<std::int64_t> keep_top(std::span<const double> scores, std::int64_t count);

}  // namespace costeff
