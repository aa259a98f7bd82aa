// Making a BERT slender: heads and neurons are removed, the word embedding becomes a product. Depth stays.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "costeff/methods/importance.h"

namespace costeff {

// Which heads and neurons of the model at hand stay, layer by layer, ascending.
struct Kept {
  std::vector<std::vector<std::int64_t>> heads;
  std::vector<std::vector<std::int64_t>> neurons;
};

// The sizes a model is to have: heads and FFN neurons of each layer, and the rank of its word embedding (-1:
// one matrix).
struct SlenderSizes {
  std::int64_t heads = 0;
  std::int64_t ffn = 0;
  std::int64_t rank = -1;

  bool operator==(const SlenderSizes&) const = default;
};

// Sizes after round r of `rounds`, linear from those of the full model to `goal`, truncated: the last round
// has exactly `goal`. (One head a round where rounds = A - A_keep, as published.)
SlenderSizes sizes_after(std::int64_t round, std::int64_t rounds, const SlenderSizes& full,
                         const SlenderSizes& goal);

// The best `heads` and `ffn` of each layer, all of a layer that has fewer.
Kept keep_per_layer(const ImportanceScores& scores, std::int64_t heads, std::int64_t ffn);
// Of a layer's scores; 1 where all are 0.
double root_mean_square(std::span<const double> scores);
// As many in all, wherever they are best, but at least one head and 16 neurons a layer (all where it has
// fewer). Scores are compared across layers after dividing by their layer's root mean square.
Kept keep_globally(const ImportanceScores& scores, std::int64_t heads, std::int64_t ffn);

// A copy of the model, on its device, with the heads and neurons in `kept` alone, in their order;
// config.kept_* says which of the unpruned model's they are. Throws Error when `kept` does not fit the model.
std::unique_ptr<Bert> prune(const Bert& model, const Kept& kept);

// A copy, on the model's device, with the word embedding as a product of rank `rank` (Eq. 1): the truncated
// SVD of the table, or of the product it already is. `row_weights` [vocabulary], empty for all 1: how much
// each word piece's error counts. Throws Error for a rank that does not fit.
std::unique_ptr<Bert> factorise(const Bert& model, std::int64_t rank,
                                std::span<const double> row_weights = {});

}  // namespace costeff
