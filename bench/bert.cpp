// Times this engine on the work that bench/torch_bert.py gives PyTorch, and prints one JSON line of the same
// keys.
//
//   bench_bert --model base|minilm --batch 8 --tokens 128 --mode train|infer
//   bench_bert --model DIR --tsv train.tsv --batch 32 --tokens 128 --mode train|infer
//   bench_bert --model base --vocab DIR --tsv train.tsv --device cuda --precision bf16
//
// Training is forward, cross-entropy, backward, clipping to 1.0, AdamW, dropout 0.1. Sentences of a TSV are
// packed, without padding.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <chrono>
#include <iostream>
#include <random>

#include "costeff/train/classifier.h"
#include "costeff/train/trainer.h"
#include "tensor/backend.h"
#include "tensor/error.h"

namespace {

using namespace costeff;
namespace po = boost::program_options;

struct Work {
  std::unique_ptr<Bert> model;
  std::vector<Batch> batches;
};

BertConfig shape_of(const std::string& name) {
  return name == "base" ? BertConfig::plain(30522, 768, 12, 12, 3072)
                        : BertConfig::plain(30522, 384, 6, 12, 1536);
}

Batch random_batch(std::size_t sequences, std::size_t tokens) {
  std::mt19937 random(0);
  EncodedDataset data;
  for (std::size_t s = 0; s < sequences; ++s) {
    Encoding e;
    for (std::size_t t = 0; t < tokens; ++t)
      e.ids.push_back(static_cast<std::int32_t>(1000 + random() % 29000));
    e.token_type_ids.assign(tokens, 0);
    data.add(e, static_cast<std::int32_t>(s % 2), 0);
  }
  std::vector<std::int32_t> order(sequences);
  for (std::size_t s = 0; s < sequences; ++s) order[s] = static_cast<std::int32_t>(s);
  Batch batch;
  fill_batch(data, order, std::nullopt, batch);
  return batch;
}

std::vector<Batch> batches_of(const po::variables_map& flags, const std::string& folder) {
  const auto size = flags["batch"].as<std::size_t>();
  const auto count = flags["reps"].as<std::size_t>() + 3;
  if (!flags.contains("tsv"))
    return std::vector<Batch>(count, random_batch(size, flags["tokens"].as<std::size_t>()));
  const Tokenizer tokenizer =
      Tokenizer::from_folder(flags.contains("vocab") ? flags["vocab"].as<std::string>() : folder);
  const Task task = find_task("SST-2");
  std::vector<Example> rows = load_examples(task, flags["tsv"].as<std::string>()).rows;
  std::shuffle(rows.begin(), rows.end(), std::mt19937(0));
  rows.resize(std::min(rows.size(), size * count));
  const EncodedDataset data = encode_dataset(tokenizer, rows, flags["tokens"].as<std::size_t>());
  Batcher batcher({.batch_size = size, .shuffle = false, .drop_last = true}, data);
  std::vector<Batch> batches(batcher.batches());
  for (std::size_t i = 0; i < batches.size(); ++i)
    fill_batch(data, batcher.batch(i), std::nullopt, batches[i]);
  return batches;
}

po::variables_map parse(int argc, char** argv) {
  po::options_description options;
  options.add_options()("model", po::value<std::string>()->default_value("base"))(
      "batch", po::value<std::size_t>()->default_value(32))(
      "tokens", po::value<std::size_t>()->default_value(128))("tsv", po::value<std::string>())(
      "mode", po::value<std::string>()->default_value("train"))(
      "reps", po::value<std::size_t>()->default_value(8))("threads", po::value<int>()->default_value(2))(
      "vocab", po::value<std::string>())("device", po::value<std::string>()->default_value("cpu"))(
      "precision", po::value<std::string>()->default_value("f32"));
  po::variables_map flags;
  po::store(po::parse_command_line(argc, argv, options), flags);
  return flags;
}

struct Timing {
  double seconds;
  double tokens;
};

// Of each batch but the first three, which are for warming up.
std::vector<Timing> time_batches(Bert& model, const std::vector<Batch>& batches, bool train,
                                 Precision precision) {
  if (batches.size() <= 3)
    fail("{} batches are too few to time: the first three are for warming up", batches.size());
  std::optional<Trainer> trainer;
  if (train)
    trainer.emplace(model.parameters(),
                    TrainerOptions{.learning_rate = 2e-5, .total = 1 << 20, .precision = precision});
  std::vector<Timing> timings;
  for (const Batch& batch : batches) {
    const auto start = std::chrono::steady_clock::now();
    if (train) {
      trainer->step(std::span(&batch, 1), [&](Forward& forward, const Batch& b, const TokenBatch& tokens) {
        return cross_entropy(model.logits(forward, tokens),
                             Tensor::from(std::span(b.labels), {static_cast<std::int64_t>(b.sequences())}));
      });
    } else {
      predict_logits(model, batch, precision);
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    timings.push_back({seconds, static_cast<double>(batch.tokens())});
  }
  timings.erase(timings.begin(), timings.begin() + 3);
  return timings;
}

}  // namespace

int main(int argc, char** argv) {
  tune_process(argv);
  const po::variables_map flags = parse(argc, argv);
  set_threads(flags["threads"].as<int>());

  const auto name = flags["model"].as<std::string>();
  std::unique_ptr<Bert> model;
  if (name == "base" || name == "minilm") {
    model = std::make_unique<Bert>(shape_of(name));
    model->initialise(0);
  } else {
    model = load_bert(name, {.labels = {"0", "1"}});
  }
  model->to(device_named(flags["device"].as<std::string>()));
  const bool train = flags["mode"].as<std::string>() == "train";
  std::vector<Timing> timings = time_batches(*model, batches_of(flags, name), train,
                                             choice_named<Precision>(flags["precision"].as<std::string>()));
  double seconds = 0;
  double tokens = 0;
  for (const Timing& t : timings) {
    seconds += t.seconds;
    tokens += t.tokens;
  }
  std::nth_element(timings.begin(), timings.begin() + static_cast<std::ptrdiff_t>(timings.size() / 2),
                   timings.end(), [](const Timing& a, const Timing& b) { return a.seconds < b.seconds; });
  const BertConfig& c = model->config();
  const auto hidden = static_cast<double>(c.hidden_size);
  const double per_token = (train ? 6 : 2) * static_cast<double>(c.layers()) *
                           (4 * hidden * hidden + 2 * hidden * static_cast<double>(c.ffn[0]));
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  fmt::print(
      R"({{"engine": "costeff", "device": "{}", "precision": "{}", "model": "{}", "mode": "{}", "pad": "{}", "batch": {}, "max_tokens": {}, )",
      flags["device"].as<std::string>(), flags["precision"].as<std::string>(), name,
      flags["mode"].as<std::string>(), flags.contains("tsv") ? "packed" : "none",
      flags["batch"].as<std::size_t>(), flags["tokens"].as<std::size_t>());
  fmt::print(
      R"("median_s": {:.5f}, "seq_per_s": {:.2f}, "real_tokens_per_s": {:.0f}, "useful_gflops_per_s": {:.1f}, )",
      timings[timings.size() / 2].seconds,
      static_cast<double>(flags["batch"].as<std::size_t>() * timings.size()) / seconds, tokens / seconds,
      per_token * tokens / seconds / 1e9);
  fmt::print("\"peak_mb\": {}}}\n", usage.ru_maxrss / 1024);
}
