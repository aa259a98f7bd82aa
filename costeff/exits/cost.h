// The cost model: FLOPs of a BERT's forward pass, from the sizes alone. (nn/bert_config.h counts parameters.)
//
// FLOPs are those of matrix products, a multiply-add counts 2: what the tape counts when the pass is really
// computed with all exits (costeff/multi_exit.h), number for number. Lookups, biases, activations, softmax,
// LayerNorm and pooling are left out, and the last layer is counted in full. A sequence of n tokens costs,
// with H the hidden size, w = heads times head size and F neurons of a layer, R the rank of a factorised
// embedding, x the width that an exit reads and C classes:
//
//   embedding    2 n R H                                     (0 for one that is a single matrix)
//   layer        8 n H w  +  4 n^2 w  +  4 n H F             (projections, scores and context, feed-forward)
//   exit         2 x C, or with a dense layer 2 x H + 2 H C  (one row a sequence)
//
// They are whole numbers, exact below 2^53.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/batches.h"
#include "nn/bert_config.h"

namespace costeff {

struct LayerFlops {
  double projections = 0;  // query, key, value and attention's output
  double attention = 0;    // scores and context
  double ffn = 0;

  double total() const { return projections + attention + ffn; }
};

inline constexpr std::int64_t kPaddedLength = 128;  // tokens, at which papers give FLOPs

struct Flops {
  double embeddings = 0;
  std::vector<LayerFlops> layers;
  std::int64_t first = 1;               // the number of the exit of exits[0]
  std::vector<ExitCost<double>> exits;  // of exits first..L

  // What leaving at exit i in first..L costs: embeddings, layers 1..i, exits first..i. Throws Error for
  // another i.
  double until(std::int64_t exit) const;
  std::vector<double> by_exit() const;  // of exits first..L
  double total() const;                 // full depth: leaving at exit L
};

// FLOPs of sequences of these lengths in tokens, padding included where there is some: of one, of several
// together (empty: 0), and of several in the mean. Throws Error for a length below 1, and for a mean over
// none.
Flops forward_flops(const BertConfig& config, std::int64_t tokens);
Flops forward_flops(const BertConfig& config, std::span<const std::int64_t> lengths);
Flops mean_flops(const BertConfig& config, std::span<const std::int64_t> lengths);

// The mean over sequences of which sequence s left at exit exits[s]. Throws Error when there are none, not as
// many lengths as exits, or an exit that the model does not have.
double early_exit_flops(const BertConfig& config, std::span<const std::int64_t> lengths,
                        std::span<const std::int64_t> exits);
// The mean where counts[j] of the sequences left at exit flops.first + j and all cost the same, as they do
// when they are padded. Throws Error when counts are negative, all 0, or not as many as exits.
double early_exit_flops(const Flops& flops, std::span<const std::int64_t> counts);
// How many times less that is than the full depth of a reference model, on the same sequences.
inline double flops_reduction(const Flops& reference, double flops) {
  return reference.total() / flops;
}

// The length of each sequence of a data set, special tokens included.
std::vector<std::int64_t> sequence_lengths(const EncodedDataset& data);

}  // namespace costeff
