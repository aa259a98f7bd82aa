// The losses of COST-EFF's stages. All are scalars, means over the sequences of a batch and sums over exits
// or layers.
#pragma once

#include <span>
#include <vector>

#include "costeff/exits/multi_exit.h"
#include "data/batches.h"

namespace costeff {

// The terms of a loss on the tape (Tags::loss).
inline constexpr Symbol kHardLoss{"hard"}, kSoftLoss{"soft"}, kFeatureLoss{"features"};

// What a student learns from: logits and hidden states, without gradients.
struct TeacherOutputs {
  std::int64_t first = 1;      // the exit of logits[0]
  std::vector<Tensor> logits;  // [sequences, labels]; of a single-exit teacher: exit L alone
  std::vector<Tensor> hidden;  // h_0..h_L [tokens, hidden]

  // The logits that teach exit i: of the same exit, or of exit L where there is none before it.
  const Tensor& exit(std::int64_t i) const;
};
// The teacher's forward pass: dropout off, nothing recorded.
TeacherOutputs teach(const Bert& teacher, const TokenBatch& batch, Precision precision = Precision::full);

// How much each exit counts in a sum over exits: 1, or i / (the sum of all i), as PABEE has it.
enum class ExitWeights : std::uint8_t { equal, by_depth };

// sum_i CE(y, z_i), or for a regression sum_i mean (z_i - y)^2.
Variable hard_loss(const MultiExitOutputs& student, const Batch& batch,
                   ExitWeights weights = ExitWeights::equal);
// L_pred = sum_i CE(softmax(z_i^T / T), z_i / T), Eq. 4; for a regression the squared error to the teacher's
// score.
Variable prediction_loss(const MultiExitOutputs& student, const TeacherOutputs& teacher, double temperature,
                         ExitWeights weights = ExitWeights::equal);
// Over which rows a feature loss is a mean: a sequence's real tokens, or the batch padded to its longest
// sequence, where padding counts as equal (the published code's importance pass).
enum class FeatureMean : std::uint8_t { real_tokens, padded };
// L_feat = sum_{i=0..L} MSE(h_i^T, h_i), Eq. 5: a sequence's squared error is averaged over hidden units and
// rows, then over the batch. With `layer_map`, h_i learns the teacher's state layer_map[i]. Throws Error
// where student and teacher have another number of states.
Variable feature_loss(const MultiExitOutputs& student, const TeacherOutputs& teacher, const LayoutPtr& layout,
                      FeatureMean mean = FeatureMean::real_tokens,
                      std::span<const std::int64_t> layer_map = {});

// One term of a loss: a mean over the sequences of a batch, summed over exits or layers, times `weight`.
struct LossTerm {
  enum class Kind : std::uint8_t {
    labels,
    teacher_logits,
    hidden_states
  };                                                     // hard_loss, prediction_loss, feature_loss
  enum class Exits : std::uint8_t { all, last, early };  // early: all but exit L

  Kind kind = Kind::labels;
  double weight = 1;
  Exits exits = Exits::all;  // of labels and teacher_logits
  ExitWeights exit_weights = ExitWeights::equal;
  double temperature = 1;                       // of teacher_logits
  FeatureMean mean = FeatureMean::real_tokens;  // of hidden_states, as the rest
  std::vector<std::int64_t> layer_map = {};     // empty: a teacher of the same depth
};
LossTerm labels_term(double weight, LossTerm::Exits exits = LossTerm::Exits::all);
LossTerm logits_term(double weight, double temperature, LossTerm::Exits exits = LossTerm::Exits::all);
LossTerm states_term(FeatureMean mean = FeatureMean::real_tokens);

// The sum of the terms, in their order. `teacher` has what they read of it.
Variable sum_of_terms(std::span<const LossTerm> terms, const MultiExitOutputs& student,
                      const TeacherOutputs& teacher, const Batch& batch, const LayoutPtr& layout);

}  // namespace costeff
