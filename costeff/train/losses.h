// The losses of COST-EFF's stages. All are scalars, means over the sequences of a batch and sums over exits
// or layers.
#pragma once

#include <span>
#include <string_view>

#include "costeff/exits/multi_exit.h"
#include "data/batches.h"

namespace costeff {

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

// sum_i CE(y, z_i), or for a regression sum_i mean (z_i - y)^2.
Variable hard_loss(const MultiExitOutputs& student, const Batch& batch);
// L_pred = sum_i CE(softmax(z_i^T / T), z_i / T), Eq. 4; for a regression the squared error to the teacher's
// score.
Variable prediction_loss(const MultiExitOutputs& student, const TeacherOutputs& teacher, double temperature);
// L_feat = sum_{i=0..L} MSE(h_i^T, h_i), Eq. 5: a sequence's squared error is averaged over hidden units and
// its real tokens, then over the batch.
Variable feature_loss(const MultiExitOutputs& student, const TeacherOutputs& teacher,
                      const LayoutPtr& layout);
// The same, averaged over every entry of the batch padded to its longest sequence (padding counts as equal),
// as the published code's importance pass has it.
Variable padded_feature_loss(const MultiExitOutputs& student, const TeacherOutputs& teacher,
                             const LayoutPtr& layout);

// (1 - hard) L_pred + hard sum_i CE(y, z_i): prediction distillation, with a share of the labels' loss. The
// published code trains the teaching assistant with hard = 0.5.
Variable assistant_loss(const MultiExitOutputs& student, const TeacherOutputs& teacher, const Batch& batch,
                        double temperature, double hard);
// Over which rows a feature loss is a mean: a sequence's real tokens, or the batch padded to its longest.
enum class FeatureMean : std::uint8_t { real_tokens, padded };
// The loss whose gradient scores heads and neurons: assistant_loss + L_feat. The paper has hard = 0, the
// published code 0.1 and a padded L_feat: a student that is still its own teacher has no other gradient.
Variable importance_loss(const MultiExitOutputs& student, const TeacherOutputs& teacher, const Batch& batch,
                         const LayoutPtr& layout, double temperature, double hard, FeatureMean features);

}  // namespace costeff
