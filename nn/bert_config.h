// What a BERT consists of, as a checkpoint's config.json says it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "nn/exit_config.h"

namespace costeff {

// The version of what stands under `costeff` in a model's config.json; without one it is 1, which is read
// too.
inline constexpr std::int64_t kModelFormat = 2;

// The sizes and settings of a BERT with a classifier. A slender model (fewer heads or FFN neurons in some
// layers, a factorised word embedding) is described by the same fields as a plain one.
//
// In the file a plain model has Hugging Face's keys alone. A slender one adds `prun_hidden_size` (heads kept
// times head size), `prun_intermediate_size` and `emb_hidden_dim` (embedding rank, -1 if not factorised), and
// its `num_attention_heads` counts the heads kept: the keys of the COST-EFF authors' code. Where layers
// differ, these hold the widest layer's, and the exact widths stand in `costeff`: {"head_size": d, "heads":
// [...], "ffn": [...]}.
struct BertConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t head_dim = 0;         // d; in a plain model hidden_size / heads
  std::vector<std::int64_t> heads;   // per layer
  std::vector<std::int64_t> ffn;     // per layer: neurons between the two feed-forward matrices
  std::int64_t embedding_rank = -1;  // R of a factorised word embedding, [vocab, R] times [R, hidden], or -1
  std::int64_t max_position_embeddings = 512;
  std::int64_t type_vocab_size = 2;
  std::int64_t pad_token_id = 0;

  double layer_norm_eps = 1e-12;
  double initializer_range = 0.02;  // standard deviation of new weights
  double hidden_dropout_prob = 0.1;
  double attention_probs_dropout_prob = 0.1;
  double classifier_dropout = 0.1;  // the file's null means hidden_dropout_prob

  // Absent: one classifier, on BERT's pooler over the last layer's [CLS].
  std::optional<ExitConfig> exits;
  // Entropy in nats below which a sequence leaves at an exit, chosen when the model was made. Absent: full
  // depth. In the file under `costeff`.
  std::optional<double> exit_threshold;

  // Of a slenderised model, for each layer: which heads and neurons of the unpruned one these are, ascending.
  // Empty if not known. In the file under `costeff`.
  std::vector<std::vector<std::int64_t>> kept_heads;
  std::vector<std::vector<std::int64_t>> kept_neurons;

  std::vector<std::string> labels = {"LABEL_0", "LABEL_1"};  // class i's name; a single one: regression

  // The JSON text this was made from: to_json() keeps its other keys.
  std::string original;

  std::int64_t layers() const { return static_cast<std::int64_t>(heads.size()); }
  // The first exit: L in a model without exits.
  std::int64_t first_exit() const { return exits ? exits->first : layers(); }
  ExitShape exit_shape(std::int64_t i) const;  // of exit i; without exits, of BERT's pooler and classifier
  std::int64_t num_labels() const { return static_cast<std::int64_t>(labels.size()); }
  bool is_regression() const { return labels.size() == 1; }
  // True if plain BERT can express it: all layers alike, heads fill the hidden size, the embedding is one
  // matrix, no exits.
  bool is_plain() const;

  // A plain BERT of the given sizes, everything else by default. Throws Error as check() does.
  static BertConfig plain(std::int64_t vocab_size, std::int64_t hidden_size, std::int64_t layers,
                          std::int64_t heads, std::int64_t ffn);

  // Reads config.json. The five sizes must be there (vocab_size, hidden_size, num_hidden_layers,
  // num_attention_heads, intermediate_size), other keys have Hugging Face's defaults. Throws Error with the
  // file and the key on a value of the wrong type or out of range, sizes that contradict each other, and what
  // this engine does not compute: another model_type, activation or position embedding, a decoder.
  static BertConfig read(const std::string& path);
  // The same for JSON at hand; `where` begins the errors.
  static BertConfig from_json(const nlohmann::json& json, const std::string& where);

  // Hugging Face's BertForSequenceClassification config: the original's keys, updated.
  nlohmann::json to_json() const;

  // Throws Error, beginning with `where`, if a size is below 1 or above 2^20, the widths do not fit together,
  // a rate is out of range, or the model would have 2^33 parameters or more, exits included.
  void check(const std::string& where) const;
};

// Of one exit: its dense layer (BERT's pooler in a model without exits; else 0 unless it has one), and its
// classifier.
template <class T>
struct ExitCost {
  T dense = 0;
  T classifier = 0;

  T total() const { return dense + classifier; }
};

struct ParameterCounts {
  std::int64_t embeddings = 0;
  std::vector<std::int64_t> layers;           // [L]
  std::vector<ExitCost<std::int64_t>> exits;  // of exits first..L; of a model without: its one classifier

  std::int64_t total() const;
};

// The word embedding included, as in the published figures of COST-EFF (Shen et al., EMNLP 2022). Throws
// Error as BertConfig::check does.
ParameterCounts count_parameters(const BertConfig& config);

}  // namespace costeff
