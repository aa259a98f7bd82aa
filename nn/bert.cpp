#include "nn/bert.h"

#include <array>

#include "tensor/error.h"

namespace costeff {

Bert::Bert(BertConfig config, DType dtype)
    : config_(std::move(config)), store_(std::make_unique<ParameterStore>(dtype)) {
  config_.check("BERT config");
  const std::string e = "bert.embeddings.";
  const std::int64_t hidden = config_.hidden_size;
  if (config_.embedding_rank < 0) {
    word_ = &store_->add_table(e + "word_embeddings.weight", {config_.vocab_size, hidden});
  } else {
    word_ = &store_->add_table(e + "word_embeddings1.weight", {config_.vocab_size, config_.embedding_rank});
    word_rank_ = &store_->add(e + "word_embeddings2.weight", {hidden, config_.embedding_rank});
  }
  position_ = &store_->add(e + "position_embeddings.weight", {config_.max_position_embeddings, hidden});
  token_type_ = &store_->add(e + "token_type_embeddings.weight", {config_.type_vocab_size, hidden});
  embedding_norm_.emplace(*store_, e + "LayerNorm", hidden, config_.layer_norm_eps);
  for (std::int64_t k = 1; k <= config_.layers(); ++k) layers_.push_back(make_layer(k));
  pooler_.emplace(*store_, "bert.pooler.dense", hidden, hidden);
  classifier_.emplace(*store_, "classifier", hidden, config_.num_labels());
  store_->allocate();
}

Bert::Layer Bert::make_layer(std::int64_t k) const {
  const std::string scope = "bert.encoder.layer." + std::to_string(k - 1);
  const auto i = static_cast<std::size_t>(k - 1);
  const std::int64_t hidden = config_.hidden_size;
  const std::int64_t width = config_.heads[i] * config_.head_dim;
  const std::int64_t ffn = config_.ffn[i];
  const std::string self = scope + ".attention.self.";
  const std::array<std::string, 3> qkv = {self + "query", self + "key", self + "value"};
  ParameterStore& s = *store_;
  return {Linear::stacked(s, self + "qkv", hidden, 3 * width, qkv),
          Linear(s, scope + ".attention.output.dense", width, hidden),
          LayerNorm(s, scope + ".attention.output.LayerNorm", hidden, config_.layer_norm_eps),
          Linear(s, scope + ".intermediate.dense", hidden, ffn),
          Linear(s, scope + ".output.dense", ffn, hidden),
          LayerNorm(s, scope + ".output.LayerNorm", hidden, config_.layer_norm_eps),
          scope};
}

void Bert::initialise(std::uint64_t seed) {
  for (const NamedTensor& t : store_->named()) initialise(t, seed);
}

void Bert::initialise(const NamedTensor& t, std::uint64_t seed) {
  if (t.name.ends_with("LayerNorm.weight")) {
    t.value().fill(1);
  } else if (t.name.ends_with(".bias")) {
    t.value().fill(0);
  } else {
    initialise_normal(t.value(), t.name, config_.initializer_range, seed);
  }
}

Variable Bert::embed(Forward& f, const TokenBatch& batch) const {
  const Scope scope(f.tape(), "bert.embeddings", {.layer = 0});
  Variable x = embedding(f.parameter(*word_), batch.ids);
  if (word_rank_ != nullptr) x = linear(x, f.parameter(*word_rank_));
  x = add_embeddings(x, f.parameter(*position_), batch.positions, f.parameter(*token_type_),
                     batch.token_types);
  return dropout((*embedding_norm_)(f, x), f.dropout(config_.hidden_dropout_prob));
}

Variable Bert::layer(Forward& f, std::int64_t k, const Variable& hidden, const LayoutPtr& layout,
                     bool first_rows_only) const {
  const Layer& l = layers_[static_cast<std::size_t>(k - 1)];
  const Scope scope(f.tape(), l.scope, {.layer = static_cast<std::int32_t>(k)});
  Variable residual = hidden;
  Variable x;
  {
    const Scope attention_scope(f.tape(), "attention");
    x = attention(l.qkv(f, hidden), config_.heads[static_cast<std::size_t>(k - 1)],
                  f.dropout(config_.attention_probs_dropout_prob), layout);
    if (first_rows_only) {
      x = first_rows(x, layout);
      residual = first_rows(residual, layout);
    }
    x = l.attention_norm.fused(f, l.attention_output.without_bias(f, x), l.attention_output.bias(f),
                               f.dropout(config_.hidden_dropout_prob), residual);
  }
  const Scope ffn_scope(f.tape(), "ffn");
  const Variable neurons = bias_gelu(l.intermediate.without_bias(f, x), l.intermediate.bias(f));
  return l.output_norm.fused(f, l.output.without_bias(f, neurons), l.output.bias(f),
                             f.dropout(config_.hidden_dropout_prob), x);
}

Variable Bert::pool(Forward& f, const Variable& first) const {
  const Scope scope(f.tape(), "bert.pooler");
  return tanh((*pooler_)(f, first));
}

Variable Bert::logits(Forward& f, const TokenBatch& batch) const {
  const std::int64_t last = config_.layers();
  Variable hidden = embed(f, batch);
  for (std::int64_t k = 1; k <= last; ++k) hidden = layer(f, k, hidden, batch.layout, k == last);
  const Variable pooled = dropout(pool(f, hidden), f.dropout(config_.classifier_dropout));
  const Scope scope(f.tape(), "classifier", {.exit = static_cast<std::int32_t>(last)});
  return (*classifier_)(f, pooled);
}

}  // namespace costeff
