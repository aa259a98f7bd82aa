#include "costeff/exits/cost.h"

#include <numeric>

#include "tensor/error.h"

namespace costeff {
namespace {

// What the FLOPs of sequences depend on beside the model. Shares of a mean sequence are possible.
struct Load {
  double sequences = 0;
  double tokens = 0;
  double pairs = 0;  // sum of squared lengths
};

Load load_of(std::span<const std::int64_t> lengths) {
  Load load{.sequences = static_cast<double>(lengths.size())};
  for (const std::int64_t length : lengths) {
    if (length < 1) fail("a sequence of {} tokens has no cost: it needs at least 1", length);
    const auto n = static_cast<double>(length);
    load.tokens += n;
    load.pairs += n * n;
  }
  return load;
}

Flops flops_of(const BertConfig& config, const Load& load) {
  config.check("cost model");
  const auto hidden = static_cast<double>(config.hidden_size);
  const auto labels = static_cast<double>(config.num_labels());
  Flops flops;
  if (config.embedding_rank != -1)
    flops.embeddings = 2 * load.tokens * static_cast<double>(config.embedding_rank) * hidden;
  for (std::size_t k = 0; k < config.heads.size(); ++k) {
    const auto width = static_cast<double>(config.heads[k] * config.head_dim);
    flops.layers.push_back({.projections = 8 * load.tokens * hidden * width,
                            .attention = 4 * load.pairs * width,
                            .ffn = 4 * load.tokens * hidden * static_cast<double>(config.ffn[k])});
  }
  flops.first = config.first_exit();
  for (std::int64_t i = flops.first; i <= config.layers(); ++i) {
    const ExitShape shape = config.exit_shape(i);
    flops.exits.push_back(
        {.dense = shape.dense ? 2 * load.sequences * static_cast<double>(shape.read) * hidden : 0,
         .classifier = 2 * load.sequences * static_cast<double>(shape.classifier) * labels});
  }
  return flops;
}

}  // namespace

double Flops::until(std::int64_t exit) const {
  const auto last = static_cast<std::int64_t>(layers.size());
  if (exit < first || exit > last) fail("there is no exit {}; the model has {} to {}", exit, first, last);
  return by_exit()[static_cast<std::size_t>(exit - first)];
}

std::vector<double> Flops::by_exit() const {
  std::vector<double> sums;
  double sum = embeddings;
  for (std::size_t k = 0; k < layers.size(); ++k) {
    sum += layers[k].total();
    const std::size_t before_first = static_cast<std::size_t>(first) - 1;
    if (k < before_first) continue;
    sum += exits[k - before_first].total();
    sums.push_back(sum);
  }
  return sums;
}

double Flops::total() const {
  return by_exit().back();
}

Flops forward_flops(const BertConfig& config, std::int64_t tokens) {
  return forward_flops(config, std::span<const std::int64_t>(&tokens, 1));
}

Flops forward_flops(const BertConfig& config, std::span<const std::int64_t> lengths) {
  return flops_of(config, load_of(lengths));
}

Flops mean_flops(const BertConfig& config, std::span<const std::int64_t> lengths) {
  if (lengths.empty()) fail("the mean cost of no sequences is not defined");
  const Load all = load_of(lengths);
  return flops_of(config, {1, all.tokens / all.sequences, all.pairs / all.sequences});
}

double early_exit_flops(const BertConfig& config, std::span<const std::int64_t> lengths,
                        std::span<const std::int64_t> exits) {
  if (lengths.empty()) fail("the mean cost of no sequences is not defined");
  if (lengths.size() != exits.size())
    fail("there are {} lengths, but {} exits chosen", lengths.size(), exits.size());
  const std::int64_t first = config.first_exit();
  std::vector<std::vector<std::int64_t>> left(static_cast<std::size_t>(config.layers() - first + 1));
  for (std::size_t s = 0; s < exits.size(); ++s) {
    if (exits[s] < first || exits[s] > config.layers())
      fail("sequence {} left at exit {}; the model has {} to {}", s + 1, exits[s], first, config.layers());
    left[static_cast<std::size_t>(exits[s] - first)].push_back(lengths[s]);
  }
  double sum = 0;
  for (std::size_t j = 0; j < left.size(); ++j) {
    if (!left[j].empty()) sum += forward_flops(config, left[j]).by_exit()[j];
  }
  return sum / static_cast<double>(lengths.size());
}

double early_exit_flops(const Flops& flops, std::span<const std::int64_t> counts) {
  if (counts.size() != flops.exits.size())
    fail("there are {} counts, but {} exits", counts.size(), flops.exits.size());
  const std::vector<double> costs = flops.by_exit();
  double sum = 0;
  double sequences = 0;
  for (std::size_t j = 0; j < counts.size(); ++j) {
    if (counts[j] < 0)
      fail("{} sequences cannot leave at exit {}", counts[j], flops.first + static_cast<std::int64_t>(j));
    sum += static_cast<double>(counts[j]) * costs[j];
    sequences += static_cast<double>(counts[j]);
  }
  if (sequences == 0) fail("the mean cost of no sequences is not defined");
  return sum / sequences;
}

std::vector<std::int64_t> sequence_lengths(const EncodedDataset& data) {
  std::vector<std::int64_t> lengths;
  for (std::size_t i = 0; i < data.size(); ++i) lengths.push_back(static_cast<std::int64_t>(data.length(i)));
  return lengths;
}

}  // namespace costeff
