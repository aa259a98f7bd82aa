#include "nn/bert.h"

#include <algorithm>
#include <array>

#include "nn/checkpoint_names.h"
#include "tensor/error.h"

namespace costeff {

Bert::Bert(BertConfig config, DType dtype)
    : config_(std::move(config)), store_(std::make_unique<ParameterStore>(dtype)) {
  config_.check("BERT config");
  const std::int64_t hidden = config_.hidden_size;
  const auto name = [&](Part part) { return module_of({.part = part}).name + ".weight"; };
  if (config_.embedding_rank < 0) {
    word_ = &store_->add_table(name(Part::word), {config_.vocab_size, hidden}, {Part::word});
  } else {
    const std::int64_t rank = config_.embedding_rank;
    word_ = &store_->add_table(name(Part::word_factor), {config_.vocab_size, rank}, {Part::word_factor});
    word_rank_ = &store_->add(name(Part::word_projection), {hidden, rank}, {Part::word_projection});
  }
  const std::int64_t positions = config_.max_position_embeddings, types = config_.type_vocab_size;
  position_ = &store_->add(name(Part::position), {positions, hidden}, {Part::position});
  token_type_ = &store_->add(name(Part::token_type), {types, hidden}, {Part::token_type});
  embedding_norm_.emplace(*store_, module_of({.part = Part::embedding_norm}), hidden, config_.layer_norm_eps);
  for (std::int64_t k = 1; k <= config_.layers(); ++k) layers_.push_back(make_layer(k));
  for (std::int64_t i = config_.first_exit(); i <= config_.layers(); ++i) exits_.push_back(make_exit(i));
  store_->allocate();
}

ModuleRole Bert::module_of(const WeightRole& role) const {
  return {CheckpointNames(kBertNames, config_.layers()).module(role), role};
}

Bert::Layer Bert::make_layer(std::int64_t k) const {
  const std::string scope = "bert.encoder.layer." + std::to_string(k - 1);
  const auto i = static_cast<std::size_t>(k - 1);
  const std::int64_t hidden = config_.hidden_size;
  const std::int64_t width = config_.heads[i] * config_.head_dim;
  const std::int64_t ffn = config_.ffn[i];
  const auto module = [&](Part part) { return module_of({.part = part, .layer = k}); };
  const std::array<ModuleRole, 3> qkv = {module(Part::query), module(Part::key), module(Part::value)};
  ParameterStore& s = *store_;
  return {Linear(s, scope + ".attention.self.qkv", qkv, hidden, 3 * width),
          Linear(s, module(Part::attention_output), width, hidden),
          LayerNorm(s, module(Part::attention_norm), hidden, config_.layer_norm_eps),
          Linear(s, module(Part::ffn_in), hidden, ffn),
          Linear(s, module(Part::ffn_out), ffn, hidden),
          LayerNorm(s, module(Part::ffn_norm), hidden, config_.layer_norm_eps),
          scope};
}

Bert::Exit Bert::make_exit(std::int64_t i) const {
  const ExitShape shape = config_.exit_shape(i);
  std::optional<Linear> dense;
  if (shape.dense)
    dense.emplace(*store_, module_of({.part = Part::exit_dense, .exit = i}), shape.read, config_.hidden_size);
  return {dense,
          Linear(*store_, module_of({.part = Part::exit_classifier, .exit = i}), shape.classifier,
                 config_.num_labels()),
          "exit." + std::to_string(i)};
}

std::unique_ptr<Bert> Bert::copy(Device device) const {
  auto other = std::make_unique<Bert>(config_, store_->dtype());
  other->to(device);
  other->store_->values().copy_from(store_->values());
  return other;
}

void Bert::initialise(std::uint64_t seed) {
  for (const NamedTensor& t : store_->named()) initialise(t, seed);
}

void Bert::initialise(const NamedTensor& t, std::uint64_t seed) {
  if (t.role.piece == Piece::bias) {
    t.value().fill(0);
  } else if (is_norm(t.role.part)) {
    t.value().fill(1);
  } else {
    initialise_normal(t.value(), t.name, config_.initializer_range, seed);
  }
}

Variable Bert::embed(Forward& f, const TokenBatch& batch) const {
  const Scope scope(f.tape(), "bert.embeddings", {.layer = 0, .part = &kEmbeddingsPart});
  Variable x = embedding(f.parameter(*word_), batch.ids);
  if (word_rank_ != nullptr) x = linear(f, x, *word_rank_, nullptr);
  x = add_embeddings(x, f.parameter(*position_), batch.positions, f.parameter(*token_type_),
                     batch.token_types);
  return dropout((*embedding_norm_)(f, x), f.dropout(config_.hidden_dropout_prob));
}

Variable Bert::layer(Forward& f, std::int64_t k, const Variable& hidden, const LayoutPtr& layout,
                     bool first_rows_only) const {
  const Variable context = attention_context(f, k, hidden, layout);
  if (!first_rows_only) return layer_rows(f, k, context, hidden);
  return layer_rows(f, k, first_rows(context, layout), first_rows(hidden, layout));
}

Variable Bert::attention_context(Forward& f, std::int64_t k, const Variable& hidden,
                                 const LayoutPtr& layout) const {
  const Layer& l = layers_[static_cast<std::size_t>(k - 1)];
  const Scope scope(f.tape(), l.scope, {.layer = static_cast<std::int32_t>(k), .part = &kAttentionPart});
  const Scope attention_scope(f.tape(), "attention");
  return attention(l.qkv(f, hidden), config_.heads[static_cast<std::size_t>(k - 1)],
                   f.dropout(config_.attention_probs_dropout_prob), layout, f.precision());
}

Variable Bert::layer_rows(Forward& f, std::int64_t k, const Variable& context, const Variable& hidden) const {
  const Layer& l = layers_[static_cast<std::size_t>(k - 1)];
  const Tags tags{.layer = static_cast<std::int32_t>(k), .part = &kAttentionPart};
  const Scope scope(f.tape(), l.scope, tags);
  Variable x;
  {
    const Scope attention_scope(f.tape(), "attention");
    x = l.attention_norm.fused(f, l.attention_output.without_bias(f, context), l.attention_output.bias(f),
                               f.dropout(config_.hidden_dropout_prob), hidden);
  }
  const Scope ffn_scope(f.tape(), "ffn", {.layer = tags.layer, .part = &kFfnPart});
  const Variable neurons = bias_gelu(l.intermediate.without_bias(f, x), l.intermediate.bias(f));
  return l.output_norm.fused(f, l.output.without_bias(f, neurons), l.output.bias(f),
                             f.dropout(config_.hidden_dropout_prob), x);
}

Variable Bert::pool(const Variable& hidden, const LayoutPtr& layout) const {
  if (config_.exits && config_.exits->pooling == Pooling::mean) return sequence_mean(hidden, layout);
  return first_rows(hidden, layout);
}

Variable Bert::exit_input(std::span<const Variable> hidden, const LayoutPtr& layout, Rows rows) const {
  const ExitConfig& exits = config_.exits ? *config_.exits : ExitConfig{};
  const auto pooled = [&](const Variable& h) { return rows == Rows::pooled ? h : pool(h, layout); };
  const std::size_t n = std::min(static_cast<std::size_t>(exits.last_hidden), hidden.size());
  const std::span<const Variable> last = hidden.last(n);
  if (n == 1) return pooled(last[0]);
  if (exits.mode == HiddenMode::average) {
    Variable total = pooled(last[0]);
    for (std::size_t j = 1; j < n; ++j) total = add(total, pooled(last[j]));
    return scale(total, 1 / static_cast<double>(n));
  }
  // Side by side: row s of the result is row s of each state in turn.
  std::vector<Variable> parts;
  for (const Variable& h : last) parts.push_back(pooled(h));
  const std::int64_t sequences = layout->sequences();
  const auto states = static_cast<std::int64_t>(n);
  std::vector<std::int32_t> order;
  for (std::int64_t s = 0; s < sequences; ++s) {
    for (std::int64_t j = 0; j < states; ++j) order.push_back(static_cast<std::int32_t>(j * sequences + s));
  }
  const Tensor index = Tensor::from(std::span<const std::int32_t>(order), {states * sequences});
  return reshape(gather_rows(concat_rows(parts), index), {sequences, states * config_.hidden_size});
}

Variable Bert::exit_logits(Forward& f, std::int64_t i, std::span<const Variable> hidden,
                           const LayoutPtr& layout, Rows rows) const {
  const Exit& exit = exits_[static_cast<std::size_t>(i - config_.first_exit())];
  const Scope scope(f.tape(), exit.scope, {.exit = static_cast<std::int32_t>(i), .part = &kExitPart});
  Variable x = exit_input(hidden, layout, rows);
  if (exit.dense) x = (*exit.dense)(f, x);
  return exit.classifier(f, dropout(tanh(x), f.dropout(config_.classifier_dropout)));
}

Variable Bert::logits(Forward& f, const TokenBatch& batch) const {
  const std::int64_t last = config_.layers();
  const bool cls =
      !config_.exits || (config_.exits->pooling == Pooling::cls && config_.exits->last_hidden == 1);
  const auto read = static_cast<std::size_t>(config_.exits ? config_.exits->last_hidden : 1);
  CachedVector<Variable> hidden(1, embed(f, batch));  // the last `read` states
  for (std::int64_t k = 1; k <= last; ++k) {
    Variable next = layer(f, k, hidden.back(), batch.layout, cls && k == last);
    if (hidden.size() == read) hidden.erase(hidden.begin());
    hidden.push_back(std::move(next));
  }
  return exit_logits(f, last, hidden, batch.layout, cls ? Rows::pooled : Rows::tokens);
}

}  // namespace costeff
