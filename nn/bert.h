// BERT (Devlin et al. 2019) with its pooler and a classifier, over packed batches.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "nn/bert_config.h"
#include "nn/modules.h"

namespace costeff {

// What a BERT reads: i32 [tokens] each, on the CPU whatever the model's device, and where the sequences lie.
struct TokenBatch {
  Tensor ids;
  Tensor token_types;
  Tensor positions;
  LayoutPtr layout;
};

// Which part of a layer, or what beside the layers, a record on the tape belongs to (Tags::part).
inline constexpr Symbol kEmbeddingsPart{"embeddings"}, kAttentionPart{"attention"}, kFfnPart{"ffn"},
    kExitPart{"exit"};

// The encoder and its classifiers, with Hugging Face's parameter names (`bert.` prefixed). Layers may differ
// in heads and FFN width, and the word embedding may be a product: what config says.
//
// Without exits there is a pooler (tanh of a dense layer on [CLS]) and one classifier. With exits, exit i < L
// has the names of the COST-EFF authors' code, bert.encoder.highway.{i-1}.classifier, and exit L is
// `classifier`; how the exits' losses and gradients are joined is costeff/multi_exit.h's matter.
class Bert {
 public:
  // Parameters are uninitialised, on the CPU: read a checkpoint (nn/checkpoint.h) or call initialise(), then
  // move them.
  explicit Bert(BertConfig config, DType dtype = DType::f32);

  const BertConfig& config() const { return config_; }
  BertConfig& config() { return config_; }  // rates and label names may change, sizes may not
  ParameterStore& parameters() { return *store_; }
  const ParameterStore& parameters() const { return *store_; }
  Device device() const { return store_->device(); }
  void to(Device device) { store_->to(device); }
  std::unique_ptr<Bert> copy(Device device) const;  // with values of its own
  // BERT's own initialisation: weights normal with config.initializer_range, biases 0, LayerNorm 1 and 0.
  void initialise(std::uint64_t seed);
  void initialise(const NamedTensor& parameter, std::uint64_t seed);  // one of them

  // h_0 [tokens, hidden], the output of the embeddings. Throws Error on an id, type or position outside its
  // table.
  Variable embed(Forward& forward, const TokenBatch& batch) const;
  // h_k from h_{k-1} for k in 1..L: [tokens, hidden]. With `first_rows_only` the result is [sequences,
  // hidden], the rows of [CLS], and what only other rows would need is not computed.
  Variable layer(Forward& forward, std::int64_t k, const Variable& hidden, const LayoutPtr& layout,
                 bool first_rows_only = false) const;
  // The two halves of layer(). Only the first reads other rows: the attention heads' outputs side by side,
  // [tokens, heads * head_dim].
  Variable attention_context(Forward& forward, std::int64_t k, const Variable& hidden,
                             const LayoutPtr& layout) const;
  // Rows of h_k from the same rows of the context and of h_{k-1}.
  Variable layer_rows(Forward& forward, std::int64_t k, const Variable& context,
                      const Variable& hidden) const;
  // What exits read of a state [tokens, hidden]: [sequences, hidden], the [CLS] rows or the means.
  Variable pool(const Variable& hidden, const LayoutPtr& layout) const;
  // What a row of a state is: a token, or a sequence, as pool() makes them.
  enum class Rows : std::uint8_t { tokens, pooled };
  // z_i [sequences, labels] of exit i in first_exit()..L. `hidden` ends with h_i, and holds as many states
  // before it as the exit reads, all with such rows.
  Variable exit_logits(Forward& forward, std::int64_t i, std::span<const Variable> hidden,
                       const LayoutPtr& layout, Rows rows = Rows::tokens) const;
  // Logits [sequences, labels] of exit L; in the last layer, rows that no logit depends on are not computed.
  Variable logits(Forward& forward, const TokenBatch& batch) const;

 private:
  struct Layer {
    Linear qkv;
    Linear attention_output;
    LayerNorm attention_norm;
    Linear intermediate;
    Linear output;
    LayerNorm output_norm;
    std::string scope;
  };

  struct Exit {
    std::optional<Linear> dense;
    Linear classifier;
    std::string scope;
  };

  ModuleRole module_of(const WeightRole& role) const;  // with the name that checkpoints have for it
  Layer make_layer(std::int64_t k) const;
  Exit make_exit(std::int64_t i) const;
  // What exit i reads, before any dense layer and the tanh: [sequences, width].
  Variable exit_input(std::span<const Variable> hidden, const LayoutPtr& layout, Rows rows) const;

  BertConfig config_;
  std::unique_ptr<ParameterStore> store_;
  Parameter* word_ = nullptr;        // [vocabulary, hidden], or [vocabulary, rank]
  Parameter* word_rank_ = nullptr;   // [hidden, rank] of a factorised embedding
  Parameter* position_ = nullptr;    // [positions, hidden]
  Parameter* token_type_ = nullptr;  // [types, hidden]
  std::optional<LayerNorm> embedding_norm_;
  std::vector<Layer> layers_;
  std::vector<Exit> exits_;  // from first_exit() on
};

}  // namespace costeff
