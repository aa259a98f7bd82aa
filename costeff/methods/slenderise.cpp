#include "costeff/methods/slenderise.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tensor/error.h"
#include "tensor/svd.h"

namespace costeff {
namespace {

std::int64_t between(std::int64_t from, std::int64_t to, std::int64_t round, std::int64_t rounds) {
  if (round >= rounds) return to;
  const double share = static_cast<double>(round) / static_cast<double>(rounds);
  return static_cast<std::int64_t>(static_cast<double>(from) - static_cast<double>(from - to) * share);
}

// Rows or columns of `from`, in blocks of `width`, into `to`.
void copy_blocks(const Tensor& from, const Tensor& to, std::span<const std::int64_t> blocks,
                 std::int64_t width, bool columns) {
  if (!columns) {
    for (std::size_t j = 0; j < blocks.size(); ++j) {
      const auto at = static_cast<std::int64_t>(j) * width;
      to.slice(at, at + width).copy_from(from.slice(blocks[j] * width, (blocks[j] + 1) * width));
    }
    return;
  }
  dispatch(to.dtype(), [&](auto element) {
    using T = decltype(element);
    const std::int64_t cols = from.shape().cols();
    T* out = to.host<T>();
    for (std::int64_t r = 0; r < from.shape()[0]; ++r) {
      for (const std::int64_t block : blocks)
        out = std::copy_n(from.host<T>() + r * cols + block * width, width, out);
    }
  });
}

void check_kept(const std::vector<std::vector<std::int64_t>>& kept, std::span<const std::int64_t> widths,
                const char* what) {
  bool fits = kept.size() == widths.size();
  for (std::size_t k = 0; fits && k < kept.size(); ++k) {
    fits = !kept[k].empty() && kept[k].front() >= 0 && kept[k].back() < widths[k] &&
           std::adjacent_find(kept[k].begin(), kept[k].end(), std::greater_equal<>()) == kept[k].end();
  }
  if (!fits) fail("prune: the {} to keep are not ascending places in the model's layers", what);
}

// Which of the unpruned model's: places in a model that may be pruned already.
std::vector<std::vector<std::int64_t>> original_places(const std::vector<std::vector<std::int64_t>>& kept,
                                                       const std::vector<std::vector<std::int64_t>>& before) {
  if (before.empty()) return kept;
  std::vector<std::vector<std::int64_t>> places = kept;
  for (std::size_t k = 0; k < places.size(); ++k) {
    for (std::int64_t& place : places[k]) place = before[k][static_cast<std::size_t>(place)];
  }
  return places;
}

std::vector<std::int64_t> widths_of(const std::vector<std::vector<std::int64_t>>& kept) {
  std::vector<std::int64_t> widths;
  widths.reserve(kept.size());
  for (const auto& layer : kept) widths.push_back(static_cast<std::int64_t>(layer.size()));
  return widths;
}

std::unique_ptr<Bert> moved(std::unique_ptr<Bert> model, Device device) {
  model->to(device);
  return model;
}

// The best of all layers together, `per_layer` times as many as there are layers, at least `least` a layer.
std::vector<std::vector<std::int64_t>> best_of_all(const std::vector<std::vector<double>>& scores,
                                                   std::int64_t per_layer, std::int64_t least) {
  struct Candidate {
    double score;
    std::size_t layer;
    std::int64_t place;
  };
  std::vector<Candidate> rest;
  std::vector<std::vector<std::int64_t>> kept;
  std::int64_t left = per_layer * static_cast<std::int64_t>(scores.size());
  for (std::size_t k = 0; k < scores.size(); ++k) {
    const std::vector<double>& layer = scores[k];
    const auto width = static_cast<std::int64_t>(layer.size());
    kept.push_back(keep_top(layer, std::min({least, per_layer, width})));
    left -= static_cast<std::int64_t>(kept[k].size());
    const double size = root_mean_square(layer);
    for (std::int64_t i = 0; i < width; ++i) {
      if (std::binary_search(kept[k].begin(), kept[k].end(), i)) continue;
      rest.push_back({layer[static_cast<std::size_t>(i)] / size, k, i});
    }
  }
  std::stable_sort(rest.begin(), rest.end(),
                   [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  if (left > static_cast<std::int64_t>(rest.size())) fail("cannot keep more than there is");
  for (std::int64_t i = 0; i < left; ++i) {
    const Candidate& c = rest[static_cast<std::size_t>(i)];
    kept[c.layer].push_back(c.place);
  }
  for (std::vector<std::int64_t>& layer : kept) std::sort(layer.begin(), layer.end());
  return kept;
}

}  // namespace

double root_mean_square(std::span<const double> scores) {
  const double squares = std::inner_product(scores.begin(), scores.end(), scores.begin(), 0.0);
  return squares > 0 ? std::sqrt(squares / static_cast<double>(scores.size())) : 1;
}

SlenderSizes sizes_after(std::int64_t round, std::int64_t rounds, const SlenderSizes& full,
                         const SlenderSizes& goal) {
  // Heads in whole numbers: 25 * (7 / 25.0) is a little above 7, which would cost a head.
  const std::int64_t removed = ((full.heads - goal.heads) * round + rounds - 1) / rounds;
  return {std::max(full.heads - removed, goal.heads), between(full.ffn, goal.ffn, round, rounds),
          goal.rank < 0 ? -1 : between(full.rank, goal.rank, round, rounds)};
}

Kept keep_per_layer(const ImportanceScores& scores, std::int64_t heads, std::int64_t ffn) {
  Kept kept;
  const auto top = [](const std::vector<double>& layer, std::int64_t count) {
    return keep_top(layer, std::min(count, static_cast<std::int64_t>(layer.size())));
  };
  for (const std::vector<double>& layer : scores.heads) kept.heads.push_back(top(layer, heads));
  for (const std::vector<double>& layer : scores.neurons) kept.neurons.push_back(top(layer, ffn));
  return kept;
}

Kept keep_globally(const ImportanceScores& scores, std::int64_t heads, std::int64_t ffn) {
  constexpr std::int64_t kLeastHeads = 1, kLeastNeurons = 16;
  return {best_of_all(scores.heads, heads, kLeastHeads), best_of_all(scores.neurons, ffn, kLeastNeurons)};
}

std::unique_ptr<Bert> prune(const Bert& model, const Kept& kept) {
  if (model.device() != kCpu) return moved(prune(*model.copy(kCpu), kept), model.device());
  BertConfig config = model.config();
  check_kept(kept.heads, config.heads, "heads");
  check_kept(kept.neurons, config.ffn, "neurons");
  config.kept_heads = original_places(kept.heads, config.kept_heads);
  config.kept_neurons = original_places(kept.neurons, config.kept_neurons);
  config.heads = widths_of(kept.heads);
  config.ffn = widths_of(kept.neurons);
  const std::int64_t d = config.head_dim;
  auto slender = std::make_unique<Bert>(std::move(config), model.parameters().dtype());
  for (const NamedTensor& t : slender->parameters().named()) {
    const Tensor from = model.parameters().find(t.role).value();
    const Tensor to = t.value();
    if (from.shape() == to.shape()) {
      to.copy_from(from);
      continue;
    }
    const auto k = static_cast<std::size_t>(t.role.layer - 1);
    if (is_attention(t.role.part)) {
      copy_blocks(from, to, kept.heads[k], d, t.role.part == Part::attention_output);
    } else {
      copy_blocks(from, to, kept.neurons[k], 1, t.role.part == Part::ffn_out);
    }
  }
  return slender;
}

std::unique_ptr<Bert> factorise(const Bert& model, std::int64_t rank, std::span<const double> row_weights) {
  if (model.device() != kCpu) return moved(factorise(*model.copy(kCpu), rank, row_weights), model.device());
  BertConfig config = model.config();
  const auto value_of = [&](const WeightRole& role) { return model.parameters().find(role).value(); };
  Tensor words;
  if (config.embedding_rank < 0) {
    words = value_of({.part = Part::word});
  } else {
    const Variable table(value_of({.part = Part::word_factor})),
        up(value_of({.part = Part::word_projection}));
    words = linear(table, up).value();
  }
  if (rank < 1 || rank > std::min(config.hidden_size, config.vocab_size)) {
    fail("factorise: rank {} of an embedding [{}, {}]", rank, config.vocab_size, config.hidden_size);
  }
  config.embedding_rank = rank;
  auto slender = std::make_unique<Bert>(std::move(config), model.parameters().dtype());
  const TruncatedSvd svd = truncated_svd(words, rank, row_weights);
  for (const NamedTensor& t : slender->parameters().named()) {
    const Part part = t.role.part;
    t.value().copy_from(part == Part::word_factor       ? svd.left
                        : part == Part::word_projection ? svd.right
                                                        : value_of(t.role));
  }
  return slender;
}

}  // namespace costeff
