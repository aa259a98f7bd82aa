// The forward pass of a multi-exit BERT, with gradient equalisation (COST-EFF Eq. 3).
//
// With `equalise` the gradient of layer k becomes 1/(L-k+1) times the sum over i >= k of the gradient of exit
// i's loss. One backward pass computes it, with two records a layer:
//
//   h_k -- gradient_rescale 1/(L-k+1) --+-- exit k, feature loss
//                                       +-- gradient_rescale L-k -- layer k+1        (none for k = L)
//
// so that a loss at exit j reaches layer m <= j with (1/(L-j+1)) (L-j+1) / (L-m+1) = 1/(L-m+1), whatever j
// is. Embeddings get 1/L; the exits' own weights are not scaled.
#pragma once

#include <vector>

#include "data/batches.h"
#include "nn/bert.h"

namespace costeff {

// A batch's rows as the model reads them.
TokenBatch token_batch(const Batch& batch);
// Equalisation's records on the tape (Tags::part): of the state h_k, of the branch from it to layer k + 1.
inline constexpr Symbol kRescaledState{"equalise.state"}, kRescaledBranch{"equalise.branch"};

struct MultiExitOutputs {
  std::int64_t first = 1;        // the number of the exit of logits[0]
  std::vector<Variable> logits;  // z_first..z_L, each [sequences, labels]
  std::vector<Variable>
      hidden;  // h_0..h_L, each [tokens, hidden], as feature losses read them: after the first rescale

  std::int64_t last() const { return first + static_cast<std::int64_t>(logits.size()) - 1; }
  const Variable& exit(std::int64_t i) const { return logits[static_cast<std::size_t>(i - first)]; }
};

// Computes every exit. Of a model without exits: its one classifier, as exit L.
MultiExitOutputs multi_exit(const Bert& model, Forward& forward, const TokenBatch& batch, bool equalise);

}  // namespace costeff
