#include "nn/bert_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "nn/config_reader.h"
#include "tensor/error.h"
#include "tensor/json_file.h"

namespace costeff {
namespace {

using nlohmann::json;

constexpr double kMaxParameters = 8589934592.0;  // 2^33

void refuse_what_is_not_bert(const ConfigReader& in) {
  in.only("model_type", "bert");
  in.only("hidden_act", "gelu");
  in.only("position_embedding_type", "absolute");
  in.only("is_decoder", false);
  in.only("add_cross_attention", false);
  in.only("pruned_heads", json::object());
}

std::vector<std::string> labels_of_ids(const ConfigReader& in, const json& id2label) {
  if (!id2label.is_object() || id2label.empty()) fail("{}: 'id2label' names no labels", in.where());
  std::vector<std::string> labels;
  for (std::size_t i = 0; i < id2label.size(); ++i) {
    const auto label = id2label.find(std::to_string(i));
    if (label == id2label.end() || !label->is_string()) {
      fail("{}: 'id2label' has {} entries, but none that names class {}", in.where(), id2label.size(), i);
    }
    labels.push_back(label->get<std::string>());
  }
  return labels;
}

std::vector<std::string> labels_by_name(const ConfigReader& in, const json& label2id) {
  if (!label2id.is_object() || label2id.empty()) fail("{}: 'label2id' names no labels", in.where());
  const auto count = static_cast<std::int64_t>(label2id.size());
  std::vector<std::string> labels(label2id.size());
  std::set<std::int64_t> seen;
  for (const auto& [label, value] : label2id.items()) {
    const std::int64_t id = value.is_number_integer() ? value.get<std::int64_t>() : -1;
    if (id < 0 || id >= count || !seen.insert(id).second) {
      fail("{}: 'label2id' gives '{}' the class {}; the classes must be 0 to {}, each once", in.where(),
           label, shown(value), count - 1);
    }
    labels[static_cast<std::size_t>(id)] = label;
  }
  return labels;
}

// From id2label, label2id or num_labels, which must agree; Hugging Face's default is two labels.
std::vector<std::string> read_labels(const ConfigReader& in) {
  const json* id2label = in.find("id2label");
  const json* label2id = in.find("label2id");
  std::vector<std::string> labels;
  if (id2label != nullptr) {
    labels = labels_of_ids(in, *id2label);
    if (label2id != nullptr && labels_by_name(in, *label2id) != labels) {
      fail("{}: 'id2label' and 'label2id' contradict each other", in.where());
    }
  } else if (label2id != nullptr) {
    labels = labels_by_name(in, *label2id);
  }
  const std::int64_t count =
      in.size("num_labels", labels.empty() ? 2 : static_cast<std::int64_t>(labels.size()));
  if (labels.empty()) {
    for (std::int64_t i = 0; i < count; ++i) labels.push_back("LABEL_" + std::to_string(i));
  }
  if (count != static_cast<std::int64_t>(labels.size())) {
    fail("{}: 'num_labels' is {}, but {} labels are named", in.where(), count, labels.size());
  }
  const char* problem = count == 1 ? "regression" : "single_label_classification";
  if (in.find("problem_type") != nullptr && *in.find("problem_type") != problem) {
    fail("{}: 'problem_type' is {}; with {} label(s) only '{}' is supported", in.where(),
         shown(*in.find("problem_type")), count, problem);
  }
  return labels;
}

// The size of a head when all together have `total`, the value of `key`.
std::int64_t head_size(const ConfigReader& in, const char* key, std::int64_t total, std::int64_t heads) {
  if (total % heads != 0) {
    fail("{}: '{}' ({}) is not a multiple of 'num_attention_heads' ({})", in.where(), key, total, heads);
  }
  return total / heads;
}

// Widths per layer from `costeff`, which the key `widest_key` must not contradict.
void refine(const ConfigReader& costeff, const char* key, const char* widest_key,
            std::vector<std::int64_t>& widths) {
  if (costeff.find(key) == nullptr) return;
  const std::int64_t widest = widths.front();
  widths = costeff.sizes(key, static_cast<std::int64_t>(widths.size()));
  const std::int64_t found = *std::max_element(widths.begin(), widths.end());
  if (found != widest) {
    fail("{}: the largest of '{}' is {}, but '{}' is {}", costeff.where(), key, found, widest_key, widest);
  }
}

// Which of the unpruned model's heads or neurons each layer kept: as many as it has, ascending.
std::vector<std::vector<std::int64_t>> read_kept(const ConfigReader& costeff, const char* key,
                                                 const std::vector<std::int64_t>& widths) {
  const json* lists = costeff.find(key);
  if (lists == nullptr) return {};
  std::vector<std::vector<std::int64_t>> kept;
  bool fits = lists->is_array() && lists->size() == widths.size();
  for (std::size_t k = 0; fits && k < widths.size(); ++k) {
    const json& list = (*lists)[k];
    fits = list.is_array() && static_cast<std::int64_t>(list.size()) == widths[k];
    std::vector<std::int64_t>& layer = kept.emplace_back();
    for (std::size_t i = 0; fits && i < list.size(); ++i) {
      fits = list[i].is_number_integer();
      if (fits) layer.push_back(list[i].get<std::int64_t>());
      fits = fits && layer.back() >= 0 && layer.back() < kMostSize && (i == 0 || layer[i - 1] < layer[i]);
    }
  }
  if (!fits)
    fail("{}: '{}' must list, for each layer, as many ascending places as the layer is wide", costeff.where(),
         key);
  return kept;
}

void read_widths(const ConfigReader& in, BertConfig& config) {
  const std::int64_t layers = in.required_size("num_hidden_layers");
  const std::int64_t heads = in.required_size("num_attention_heads");
  const std::int64_t full_ffn = in.required_size("intermediate_size");
  const std::int64_t slender_hidden = in.optional_size("prun_hidden_size");
  const std::int64_t slender_ffn = in.optional_size("prun_intermediate_size");
  config.head_dim = slender_hidden == -1 ? head_size(in, "hidden_size", config.hidden_size, heads)
                                         : head_size(in, "prun_hidden_size", slender_hidden, heads);
  config.heads.assign(static_cast<std::size_t>(layers), heads);
  config.ffn.assign(static_cast<std::size_t>(layers), slender_ffn == -1 ? full_ffn : slender_ffn);
  config.embedding_rank = in.optional_size("emb_hidden_dim");

  const json* ours = in.find("costeff");
  if (ours == nullptr) return;
  const ConfigReader costeff(*ours, in.where() + ": costeff");
  if (const std::int64_t format = costeff.size("format", 1); format > kModelFormat) {
    fail("{}: the model is of format {}, this costeff reads formats up to {}; a newer costeff wrote it",
         costeff.where(), format, kModelFormat);
  }
  if (costeff.find("exit_threshold") != nullptr) config.exit_threshold = costeff.number("exit_threshold", 0);
  if (config.exit_threshold && !(*config.exit_threshold >= 0))
    fail("{}: 'exit_threshold' is {}: must be 0 or more, in nats", costeff.where(), *config.exit_threshold);
  refine(costeff, "heads", "num_attention_heads", config.heads);
  refine(costeff, "ffn", slender_ffn == -1 ? "intermediate_size" : "prun_intermediate_size", config.ffn);
  config.kept_heads = read_kept(costeff, "kept_heads", config.heads);
  config.kept_neurons = read_kept(costeff, "kept_neurons", config.ffn);
  if (const std::int64_t size = costeff.size("head_size", config.head_dim); size != config.head_dim) {
    fail("{}: 'head_size' is {}, but the other sizes make it {}", costeff.where(), size, config.head_dim);
  }
}

// Each count is below 2^63 as sizes are at most 2^20; their sum may not be.
ParameterCounts counts_of(const BertConfig& config) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t rank = config.embedding_rank;
  const std::int64_t words = rank == -1 ? config.vocab_size * hidden : (config.vocab_size + hidden) * rank;
  const std::int64_t norm = 2 * hidden;
  ParameterCounts counts;
  counts.embeddings = words + (config.max_position_embeddings + config.type_vocab_size) * hidden + norm;
  for (std::size_t k = 0; k < config.heads.size(); ++k) {
    const std::int64_t width = config.heads[k] * config.head_dim;
    const std::int64_t ffn = config.ffn[k];
    counts.layers.push_back(3 * (hidden + 1) * width + (width + 1) * hidden + (hidden + 1) * ffn +
                            (ffn + 1) * hidden + 2 * norm);
  }
  for (std::int64_t i = config.first_exit(); i <= config.layers(); ++i) {
    const ExitShape shape = config.exit_shape(i);
    counts.exits.push_back({.dense = shape.dense ? (shape.read + 1) * hidden : 0,
                            .classifier = (shape.classifier + 1) * config.num_labels()});
  }
  return counts;
}

// Their sum, exact below 2^53.
double sum(const ParameterCounts& counts) {
  auto total = static_cast<double>(counts.embeddings);
  for (const std::int64_t layer : counts.layers) total += static_cast<double>(layer);
  for (const auto& exit : counts.exits)
    total += static_cast<double>(exit.dense) + static_cast<double>(exit.classifier);
  return total;
}

bool all_equal(const std::vector<std::int64_t>& values) {
  return std::all_of(values.begin(), values.end(), [&](std::int64_t x) { return x == values.front(); });
}

void write_slender_keys(const BertConfig& config, json& out) {
  const std::int64_t heads = *std::max_element(config.heads.begin(), config.heads.end());
  const std::int64_t ffn = *std::max_element(config.ffn.begin(), config.ffn.end());
  out["num_attention_heads"] = heads;
  out["prun_hidden_size"] = heads * config.head_dim;
  out["prun_intermediate_size"] = ffn;
  out["emb_hidden_dim"] = config.embedding_rank;
  if (!out.contains("intermediate_size")) out["intermediate_size"] = ffn;
  json& costeff = out["costeff"];
  if (!costeff.is_object()) costeff = json::object();
  for (const auto& [key, kept] :
       {std::pair("kept_heads", &config.kept_heads), {"kept_neurons", &config.kept_neurons}}) {
    if (kept->empty()) {
      costeff.erase(key);
    } else {
      costeff[key] = *kept;
    }
  }
  costeff["format"] = kModelFormat;
  costeff.erase("exit_threshold");
  if (config.exit_threshold) costeff["exit_threshold"] = *config.exit_threshold;
  costeff["head_size"] = config.head_dim;
  costeff["heads"] = config.heads;
  costeff["ffn"] = config.ffn;
}

void write_plain_keys(const BertConfig& config, json& out) {
  out["num_attention_heads"] = config.heads.front();
  out["intermediate_size"] = config.ffn.front();
  for (const char* key : {"prun_hidden_size", "prun_intermediate_size", "emb_hidden_dim"}) out.erase(key);
  if (const auto costeff = out.find("costeff"); costeff != out.end() && costeff->is_object()) {
    for (const char* key :
         {"format", "exit_threshold", "head_size", "heads", "ffn", "kept_heads", "kept_neurons"})
      costeff->erase(key);
    if (costeff->empty()) out.erase(costeff);
  }
}

}  // namespace

std::int64_t ParameterCounts::total() const {
  return static_cast<std::int64_t>(sum(*this));
}

ParameterCounts count_parameters(const BertConfig& config) {
  config.check("BERT config");
  return counts_of(config);
}

bool BertConfig::is_plain() const {
  return all_equal(heads) && all_equal(ffn) && heads.front() * head_dim == hidden_size &&
         embedding_rank == -1 && !exits;
}

ExitShape BertConfig::exit_shape(std::int64_t i) const {
  if (!exits) return {.read = hidden_size, .dense = true, .classifier = hidden_size};
  return exits->shape(i, hidden_size);
}

BertConfig BertConfig::plain(std::int64_t vocab_size, std::int64_t hidden_size, std::int64_t layers,
                             std::int64_t heads, std::int64_t ffn) {
  return from_json({{"vocab_size", vocab_size},
                    {"hidden_size", hidden_size},
                    {"num_hidden_layers", layers},
                    {"num_attention_heads", heads},
                    {"intermediate_size", ffn}},
                   "BertConfig");
}

BertConfig BertConfig::read(const std::string& path) {
  return from_json(read_json<json>(path), path);
}

BertConfig BertConfig::from_json(const json& source, const std::string& where) {
  const ConfigReader in(source, where);
  refuse_what_is_not_bert(in);
  BertConfig config;
  config.vocab_size = in.required_size("vocab_size");
  config.hidden_size = in.required_size("hidden_size");
  read_widths(in, config);
  config.max_position_embeddings = in.size("max_position_embeddings", config.max_position_embeddings);
  config.type_vocab_size = in.size("type_vocab_size", config.type_vocab_size);
  config.pad_token_id = in.integer("pad_token_id", config.pad_token_id);
  config.layer_norm_eps = in.number("layer_norm_eps", config.layer_norm_eps);
  config.initializer_range = in.number("initializer_range", config.initializer_range);
  config.hidden_dropout_prob = in.number("hidden_dropout_prob", config.hidden_dropout_prob);
  config.attention_probs_dropout_prob =
      in.number("attention_probs_dropout_prob", config.attention_probs_dropout_prob);
  config.classifier_dropout = in.number("classifier_dropout", config.hidden_dropout_prob);
  config.exits = read_exits(in);
  config.labels = read_labels(in);
  config.original = source.dump();
  config.check(where);
  return config;
}

json BertConfig::to_json() const {
  json out = original.empty() ? json::object() : json::parse(original);
  out["architectures"] = {exits ? "CosteffForSequenceClassification" : "BertForSequenceClassification"};
  out["model_type"] = "bert";
  out["hidden_act"] = "gelu";
  out["position_embedding_type"] = "absolute";
  out["vocab_size"] = vocab_size;
  out["hidden_size"] = hidden_size;
  out["num_hidden_layers"] = layers();
  out["max_position_embeddings"] = max_position_embeddings;
  out["type_vocab_size"] = type_vocab_size;
  out["pad_token_id"] = pad_token_id;
  out["layer_norm_eps"] = layer_norm_eps;
  out["initializer_range"] = initializer_range;
  out["hidden_dropout_prob"] = hidden_dropout_prob;
  out["attention_probs_dropout_prob"] = attention_probs_dropout_prob;
  out["classifier_dropout"] =
      classifier_dropout == hidden_dropout_prob ? json(nullptr) : json(classifier_dropout);
  out["problem_type"] = is_regression() ? "regression" : "single_label_classification";
  out["id2label"] = json::object();
  out["label2id"] = json::object();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    out["id2label"][std::to_string(i)] = labels[i];
    out["label2id"][labels[i]] = i;
  }
  // The labels say their number; the weights' dtype is in the weights' file, which may be saved in another
  // one.
  for (const char* key : {"num_labels", "torch_dtype", "dtype"}) out.erase(key);
  write_exits(exits, out);
  is_plain() ? write_plain_keys(*this, out) : write_slender_keys(*this, out);
  return out;
}

void BertConfig::check(const std::string& where) const {
  check_size(where, "vocab_size", vocab_size);
  check_size(where, "hidden_size", hidden_size);
  check_size(where, "head size", head_dim);
  check_size(where, "num_hidden_layers", layers());
  check_size(where, "max_position_embeddings", max_position_embeddings);
  check_size(where, "type_vocab_size", type_vocab_size);
  check_size(where, "num_labels", num_labels());
  if (ffn.size() != heads.size()) {
    fail("{}: {} layers have heads, {} have feed-forward neurons", where, heads.size(), ffn.size());
  }
  for (const std::int64_t count : heads) check_size(where, "heads", count);
  for (const std::int64_t count : ffn) check_size(where, "ffn", count);
  if (embedding_rank != -1 && (embedding_rank < 1 || embedding_rank > hidden_size)) {
    fail("{}: 'emb_hidden_dim' is {}; it must be -1 or from 1 to 'hidden_size' ({})", where, embedding_rank,
         hidden_size);
  }
  if (exits && (exits->first < 1 || exits->first > layers())) {
    fail("{}: the first exit is {}; it must be from 1 to the number of layers ({})", where, exits->first,
         layers());
  }
  if (exits) check_size(where, "last_n_hidden", exits->last_hidden);
  if (pad_token_id < 0 || pad_token_id >= vocab_size) {
    fail("{}: 'pad_token_id' is {}; it must be from 0 to {}", where, pad_token_id, vocab_size - 1);
  }
  check_number(where, "layer_norm_eps", layer_norm_eps, layer_norm_eps > 0, "above 0");
  check_number(where, "initializer_range", initializer_range, initializer_range >= 0, "0 or more");
  for (const auto& [key, rate] : {std::pair("hidden_dropout_prob", hidden_dropout_prob),
                                  std::pair("attention_probs_dropout_prob", attention_probs_dropout_prob),
                                  std::pair("classifier_dropout", classifier_dropout)}) {
    check_number(where, key, rate, rate >= 0 && rate < 1, "from 0 to below 1");
  }
  if (std::set<std::string>(labels.begin(), labels.end()).size() != labels.size()) {
    fail("{}: two labels in 'id2label' have the same name", where);
  }
  if (const double total = sum(counts_of(*this)); total >= kMaxParameters) {
    fail("{}: the sizes make a model of {:.3g} parameters; fewer than 2^33 are supported", where, total);
  }
}

}  // namespace costeff
