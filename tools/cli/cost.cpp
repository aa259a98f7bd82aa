// costeff cost: parameters and FLOPs of a model, from its sizes alone.
#include "costeff/exits/cost.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "costeff/train/classifier.h"
#include "costeff/train/run_folder.h"
#include "tensor/error.h"
#include "tools/cli/commands.h"
#include "tools/cli/model_options.h"
#include "tools/cli/model_text.h"
#include "tools/cli/options.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

// The defaults are BERT-base's.
struct CostSettings {
  std::string model;
  std::int64_t layers = 12;
  std::int64_t hidden = 768;
  std::int64_t heads = 12;
  std::int64_t head_size = 64;
  std::int64_t ffn = 3072;
  std::int64_t rank = -1;
  std::int64_t vocab = 30522;
  std::int64_t positions = 512;
  std::int64_t classes = 2;
  std::int64_t exit_start = 0;
  Pooling pooling = Pooling::cls;
  std::int64_t last_n_hidden = 1;
  HiddenMode hidden_mode = HiddenMode::concat;
  bool pooler_dense = false;
  std::int64_t tokens = kDefaultLength;
  std::string task;
  std::string columns;
  std::string data;
  std::string split = "dev";
  std::int64_t max_length = kDefaultLength;
  bool json = false;
};

Options cost_options(CostSettings& s) {
  Options options("costeff cost [--model DIR | sizes] [options]",
                  "Counts the parameters of a model and the FLOPs of one sequence: matrix products, a "
                  "multiply-add counting 2.\n"
                  "Of a model in a folder (only its config.json is read), or of any sizes.");
  options.group("Model in a folder");
  options.add("model", "DIR", &s.model, "model or run folder (of a run: its best model)",
              {.shown = "none: the sizes below"});
  options.group("Any other model (defaults: BERT-base)");
  options.add("layers", "N", &s.layers, "layers", {.least = 1});
  options.add("hidden", "N", &s.hidden, "width of the hidden states", {.least = 1});
  options.add("heads", "N", &s.heads, "attention heads of a layer; fewer than fill the width: slender",
              {.least = 1});
  options.add("head-size", "N", &s.head_size, "width of a head", {.least = 1});
  options.add("ffn", "N", &s.ffn, "neurons of a layer's feed-forward network", {.least = 1});
  options.add("rank", "N", &s.rank, "word embedding as a product of this rank: slender",
              {.shown = "one matrix", .least = 1});
  options.add("vocab", "N", &s.vocab, "word pieces", {.least = 1});
  options.add("positions", "N", &s.positions, "the longest sequence", {.least = 1});
  options.add("classes", "N", &s.classes, "outputs of each classifier", {.least = 1});
  options.add("exit-start", "N", &s.exit_start,
              "first layer with an exit; 0: a single classifier on a pooler",
              {.shown = "1 if slender, else 0", .least = 0});
  options.add("pooling", "HOW", &s.pooling, "what an exit reads of a hidden state: cls or mean");
  options.add("last-n-hidden", "N", &s.last_n_hidden, "how many hidden states it reads", {.least = 1});
  options.add("hidden-mode", "HOW", &s.hidden_mode, "how these become one: concat or average");
  options.flag("pooler-dense", &s.pooler_dense, "each exit has a dense layer");
  options.group("Sequences");
  options.add("tokens", "N", &s.tokens, "tokens of a sequence, padding included",
              {.shown = "128, or the model's positions", .least = 1});
  options.add("data", "PATH", &s.data,
              "also the mean over the real lengths of a data set, a file or a folder; needs --model",
              {.shown = ""});
  options.add("task", "T", &s.task, "with --data: its task of GLUE", {.shown = ""});
  options.add("columns", "LIST", &s.columns,
              "with --data: any other TSV, its columns as in \"sentence,label\"", {.shown = ""});
  options.add("split", "NAME", &s.split, "with --data: which file of a folder: train, dev or test");
  options.add("max-length", "N", &s.max_length, "with --data: tokens of a text; the rest is cut off",
              {.shown = "128, or the model's positions", .least = 1});
  options.group("Output");
  options.flag("json", &s.json, "one JSON object");
  return options;
}

constexpr const char* kSizeFlags[] = {"layers", "hidden", "heads",     "head-size", "ffn",
                                      "rank",   "vocab",  "positions", "classes",   "exit-start"};
constexpr const char* kExitFlags[] = {"pooling", "last-n-hidden", "hidden-mode", "pooler-dense"};

void check_sizes(const CostSettings& s) {
  constexpr std::int64_t kMost = std::int64_t{1} << 20;
  const std::int64_t sizes[] = {s.layers, s.hidden, s.heads,     s.head_size, s.ffn,
                                s.rank,   s.vocab,  s.positions, s.classes,   s.exit_start};
  for (std::size_t i = 0; i < std::size(sizes); ++i) {
    if (sizes[i] > kMost) fail_usage("--{} {}: must be at most {}", kSizeFlags[i], sizes[i], kMost);
  }
  if (s.last_n_hidden > kMost) fail_usage("--last-n-hidden {}: must be at most {}", s.last_n_hidden, kMost);
  if (s.heads * s.head_size > s.hidden) {
    fail_usage("--heads {} of --head-size {} make {}, more than --hidden {}: a smaller --head-size is needed",
               s.heads, s.head_size, s.heads * s.head_size, s.hidden);
  }
  if (s.rank > s.hidden) fail_usage("--rank {}: must be at most --hidden, {}", s.rank, s.hidden);
}

// The exits that the flags describe, in a model with these widths.
std::optional<ExitConfig> given_exits(const CostSettings& s, const Options& options, bool slender) {
  const std::int64_t first = options.given("exit-start") ? s.exit_start : slender ? 1 : 0;
  if (first > s.layers) fail_usage("--exit-start {}: the model has {} layers", first, s.layers);
  if (first > 0) {
    return ExitConfig{.first = first,
                      .pooling = s.pooling,
                      .mode = s.hidden_mode,
                      .last_hidden = s.last_n_hidden,
                      .dense = s.pooler_dense};
  }
  for (const char* flag : kExitFlags) {
    if (options.given(flag))
      fail_usage("--{} is about exits, and this model has none: --exit-start 1 gives it some", flag);
  }
  return std::nullopt;
}

// The model that the flags describe.
BertConfig given_sizes(const CostSettings& s, const Options& options) {
  check_sizes(s);
  BertConfig config;
  config.vocab_size = s.vocab;
  config.hidden_size = s.hidden;
  config.head_dim = s.head_size;
  config.heads.assign(static_cast<std::size_t>(s.layers), s.heads);
  config.ffn.assign(static_cast<std::size_t>(s.layers), s.ffn);
  config.embedding_rank = s.rank;
  config.max_position_embeddings = s.positions;
  config.labels.clear();
  for (std::int64_t i = 0; i < s.classes; ++i) config.labels.push_back(std::to_string(i));
  config.exits = given_exits(s, options, is_slender(config));
  return config;
}

void refuse_sizes(const Options& options) {
  for (const std::span<const char* const> flags :
       {std::span<const char* const>(kSizeFlags), std::span<const char* const>(kExitFlags)}) {
    for (const char* flag : flags) {
      if (options.given(flag))
        fail_usage("--{} does not go with --model, which has sizes and exits of its own", flag);
    }
  }
}

void check_data_flags(const CostSettings& s, const Options& options) {
  for (const char* flag : {"task", "columns", "split", "max-length"}) {
    if (options.given(flag) && s.data.empty())
      fail_usage("--{} is about a data set: --data is missing", flag);
  }
  if (s.data.empty()) return;
  split_named(s.split);
  if (s.model.empty()) fail_usage("--data needs --model, whose vocabulary cuts the texts into tokens");
  if (s.task.empty() == s.columns.empty()) fail_usage("with --data, one of --task and --columns is needed");
}

// As many as asked for, by default no more than the model has positions for.
std::int64_t within_positions(const BertConfig& config, const Options& options, const char* flag,
                              std::int64_t value) {
  const std::int64_t positions = config.max_position_embeddings;
  if (!options.given(flag)) return std::min(value, positions);
  if (value > positions) fail_usage("--{} {}: the model has {} positions", flag, value, positions);
  return value;
}

struct Dataset {
  std::string file;
  std::vector<std::int64_t> lengths;  // tokens

  double mean_length() const {
    double sum = 0;
    for (const std::int64_t length : lengths) sum += static_cast<double>(length);
    return sum / static_cast<double>(lengths.size());
  }
};

Dataset read_lengths(const CostSettings& s, const std::string& folder, std::int64_t max_length) {
  Task task = s.columns.empty() ? find_task(s.task) : custom_task(s.columns);
  // Labels have no length: a column that no TSV can have stands for none.
  task.label_column.assign(1, '\t');
  const std::string file = split_file(task, s.data, split_named(s.split));
  const Examples examples = load_examples(task, file, Labels::optional);
  const Tokenizer tokenizer = Tokenizer::from_folder(folder);
  return {file,
          sequence_lengths(encode_dataset(tokenizer, examples.rows, static_cast<std::size_t>(max_length)))};
}

struct Cost {
  std::string folder;  // empty: of given sizes
  BertConfig config;
  ParameterCounts parameters;
  std::int64_t tokens = 0;
  Flops padded;  // of a sequence of `tokens`
  std::optional<Dataset> data;
  Flops real;  // its mean
};

Json to_json(const Cost& cost) {
  Json layers = Json::array();
  for (const LayerFlops& layer : cost.padded.layers) {
    layers.push_back({{"projections", whole(layer.projections)},
                      {"attention", whole(layer.attention)},
                      {"ffn", whole(layer.ffn)}});
  }
  Json exits = Json::array();
  Json exit_parameters = Json::array();
  Json by_exit = Json::array();
  for (const auto& exit : cost.padded.exits) exits.push_back(whole(exit.total()));
  for (const auto& exit : cost.parameters.exits) exit_parameters.push_back(exit.total());
  for (const double flops : cost.padded.by_exit()) by_exit.push_back(whole(flops));
  const BertConfig& config = cost.config;
  Json out = {{"model", cost.folder.empty() ? Json(nullptr) : Json(cost.folder)},
              {"hidden_size", config.hidden_size},
              {"vocab_size", config.vocab_size},
              {"embedding_rank", config.embedding_rank},
              {"positions", config.max_position_embeddings},
              {"classes", config.num_labels()},
              {"head_size", config.head_dim},
              {"heads", config.heads},
              {"ffn", config.ffn},
              {"slender", is_slender(config)},
              {"exits", exits_json(config)},
              {"first_exit", config.first_exit()},
              {"parameters", cost.parameters.total()},
              {"embedding_parameters", cost.parameters.embeddings},
              {"parameters_by_layer", cost.parameters.layers},
              {"parameters_by_exit", exit_parameters},
              {"tokens", cost.tokens},
              {"flops", whole(cost.padded.total())},
              {"flops_by_exit", by_exit},
              {"flops_by_part",
               {{"embeddings", whole(cost.padded.embeddings)}, {"layers", layers}, {"exits", exits}}}};
  if (cost.data) {
    out["data"] = cost.data->file;
    out["sequences"] = cost.data->lengths.size();
    out["mean_length"] = cost.data->mean_length();
    out["flops_real_lengths"] = cost.real.total();
    out["flops_by_exit_real_lengths"] = cost.real.by_exit();
  }
  return out;
}

std::string to_text(const Cost& cost) {
  const BertConfig& config = cost.config;
  const ParameterCounts& parameters = cost.parameters;
  std::string out;
  if (!cost.folder.empty()) out += fmt::format("{:<12}{}\n", "folder", cost.folder);
  out += fmt::format("{:<12}{} of {} layers: {}\n", "model", kind_of_model(config), config.layers(),
                     sizes_text(config));
  out += fmt::format("{:<12}{}; {}\n", "exits", exits_text(config),
                     config.is_regression() ? "a score" : fmt::format("{} classes", config.num_labels()));
  out +=
      fmt::format("{:<12}{} ({}), {} of them in the embeddings\n", "parameters", grouped(parameters.total()),
                  scaled(static_cast<double>(parameters.total())), grouped(parameters.embeddings));
  out += fmt::format("{:<12}{} for {} tokens; a multiply-add counts 2, matrix products only\n", "FLOPs",
                     scaled(cost.padded.total()), cost.tokens);
  if (cost.data) {
    out += fmt::format("{:<12}{} in the mean over the {} sequences of {}, which have {:.1f} tokens\n", "",
                       scaled(cost.real.total()), cost.data->lengths.size(), cost.data->file,
                       cost.data->mean_length());
  }

  const std::string real_title = cost.data ? fmt::format("{:>14}", "real lengths") : "";
  out += fmt::format("\n{:<12}{:>6}{:>7}{:>15}{:>11}{:>17}{:>15}{}\n", "layer", "heads", "FFN", "parameters",
                     "FLOPs", "exit parameters", "FLOPs to here", real_title);
  out += fmt::format("{:<12}{:>6}{:>7}{:>15}{:>11}\n", "embeddings", "", "", grouped(parameters.embeddings),
                     scaled(cost.padded.embeddings));
  const std::vector<double> by_exit = cost.padded.by_exit();
  const std::vector<double> real = cost.data ? cost.real.by_exit() : std::vector<double>();
  const std::size_t before_first = static_cast<std::size_t>(config.first_exit()) - 1;
  for (std::size_t k = 0; k < config.heads.size(); ++k) {
    out += fmt::format("{:<12}{:>6}{:>7}{:>15}{:>11}", k + 1, config.heads[k], config.ffn[k],
                       grouped(parameters.layers[k]), scaled(cost.padded.layers[k].total()));
    if (k >= before_first) {
      const std::size_t j = k - before_first;
      out += fmt::format("{:>17}{:>15}", grouped(parameters.exits[j].total()), scaled(by_exit[j]));
      if (cost.data) out += fmt::format("{:>14}", scaled(real[j]));
    }
    out += "\n";
  }
  return out;
}

}  // namespace

int run_cost(const Invocation& invocation) {
  CostSettings s;
  Options options = cost_options(s);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  check_data_flags(s, options);

  Cost cost;
  if (s.model.empty()) {
    cost.config = given_sizes(s, options);
    try {
      cost.parameters = count_parameters(cost.config);
    } catch (const Error& error) {  // the flags are to blame, not a file
      throw UsageError(error.what());
    }
  } else {
    refuse_sizes(options);
    require_model(s.model);
    cost.folder = resolve_model(s.model);
    cost.config = BertConfig::read(cost.folder + "/config.json");
    cost.parameters = count_parameters(cost.config);
  }
  cost.tokens = within_positions(cost.config, options, "tokens", s.tokens);
  cost.padded = forward_flops(cost.config, cost.tokens);
  if (!s.data.empty()) {
    const std::int64_t max_length = within_positions(cost.config, options, "max-length", s.max_length);
    cost.data = read_lengths(s, cost.folder, max_length);
    cost.real = mean_flops(cost.config, cost.data->lengths);
  }
  write_output(s.json ? to_json(cost).dump() + "\n" : to_text(cost));
  return 0;
}

}  // namespace costeff
