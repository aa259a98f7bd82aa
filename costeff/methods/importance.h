// How much each attention head and FFN neuron matters: first-order Taylor scores (COST-EFF Eq. 2).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "costeff/train/losses.h"

namespace costeff {

// A number for each of the model's heads and neurons, layer by layer: heads[k-1] has as many as layer k has
// heads.
struct ImportanceScores {
  std::vector<std::vector<double>> heads;
  std::vector<std::vector<double>> neurons;
};
ImportanceScores zero_scores(const BertConfig& config);

// What is summed over the weights S of a head or a neuron, g being a loss's gradient.
//
//   paper    g_w w. A head's S: its rows of W_Q, W_K, W_V and of their biases, its columns of W_O; a
//            neuron's: its row of W_FI and its bias, its column of W_FO.
//   release  |g_w w|. A head's S: its columns of W_O; a neuron's: its row of W_FI and its column of W_FO.
//   gate     g_w w. A head's S: its columns of W_O; a neuron's: its column of W_FO. With a gate z before
//            these columns, 1 in the model at hand and 0 where the unit is removed, the sum is dL/dz (Michel
//            et al. 2019).
enum class UnitSum : std::uint8_t { paper, release, gate };

// Adds `factor` times its sum to the number of each unit. `gradient_of` a parameter is undefined where the
// loss does not depend on it.
void add_unit_sums(const Bert& model, UnitSum sum, double factor,
                   const std::function<Tensor(Parameter& parameter)>& gradient_of, ImportanceScores& to);

// The scores of a sample, a calibration batch at a time.
//
//   paper, gate  I(S) = | sum_{w in S} g_w w |, g the gradient of the mean calibration loss
//   release      sum over batches of sum_{w in S} |g_w w|
//
// Gradients are taken as the model is at hand: equalised or not, by what `loss` records.
class Importance {
 public:
  // The loss of a calibration batch: a scalar, mean over its sequences.
  using Loss = std::function<Variable(Forward& forward, const Batch& batch, const TokenBatch& tokens)>;

  Importance(const Bert& model, UnitSum sum, Precision precision = Precision::full);

  // Runs forward, with dropout off, and backward. Parameters' own gradients are not touched.
  void add(const Batch& batch, const Loss& loss);
  // Throws Error when no batch was added.
  ImportanceScores scores() const;

 private:
  const Bert& model_;
  UnitSum sum_;
  Precision precision_;
  ImportanceScores sums_;
  double sequences_ = 0;
};

// The places of the `count` largest scores, ascending; of equal ones the first. Throws Error if there are
// fewer.
std::vector<std::int64_t> keep_top(std::span<const double> scores, std::int64_t count);

}  // namespace costeff
