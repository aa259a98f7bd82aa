#include "costeff/classifier.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>

#include "tensor/error.h"

namespace costeff {
namespace {

// Mean loss of a batch's logits times its sequences.
double summed_loss(const Task& task, const Tensor& logits, const Batch& batch) {
  double sum = 0;
  const std::int64_t labels = logits.shape()[1];
  for (std::int64_t s = 0; s < logits.shape()[0]; ++s) {
    const auto i = static_cast<std::size_t>(s);
    if (task.regression) {
      sum += std::pow(logits.at(s) - batch.scores[i], 2);
      continue;
    }
    double largest = -std::numeric_limits<double>::infinity();
    for (std::int64_t c = 0; c < labels; ++c) largest = std::max(largest, logits.at(s * labels + c));
    double total = 0;
    for (std::int64_t c = 0; c < labels; ++c) total += std::exp(logits.at(s * labels + c) - largest);
    sum += largest + std::log(total) - logits.at(s * labels + batch.labels[i]);
  }
  return sum;
}

std::int32_t argmax(const Tensor& logits, std::int64_t row) {
  const std::int64_t labels = logits.shape()[1];
  std::int64_t best = 0;
  for (std::int64_t c = 1; c < labels; ++c) {
    if (logits.at(row * labels + c) > logits.at(row * labels + best)) best = c;
  }
  return static_cast<std::int32_t>(best);
}

Tensor logits_of(const Bert& model, const Batch& batch) {
  Forward forward;
  return model.logits(forward, token_batch(batch)).value();
}

}  // namespace

std::string resolve_model(const std::string& path) {
  std::string best = path + "/best";
  recover_folder(best);
  recover_folder(path);
  if (is_model_folder(best)) return best;
  if (!std::filesystem::exists(path)) fail("there is no model at {}", path);
  if (!is_model_folder(path)) fail("{} holds no model: no config.json", path);
  if (std::filesystem::exists(path + "/log.jsonl")) fail("the run at {} has no best model yet", path);
  return path;
}

Classifier load_classifier(const std::string& path, const LoadOptions& options, LoadReport* report) {
  const std::string folder = resolve_model(path);
  Classifier c{folder, Tokenizer::from_folder(folder), load_bert(folder, options, report)};
  const auto tokens = static_cast<std::int64_t>(c.tokenizer.vocabulary_size());
  if (tokens != c.model->config().vocab_size) {
    fail("{}: vocab.txt has {} tokens, but the model's embedding has {} (vocab_size in config.json)", folder,
         tokens, c.model->config().vocab_size);
  }
  return c;
}

TokenBatch token_batch(const Batch& batch) {
  const Shape rows{static_cast<std::int64_t>(batch.tokens())};
  return {Tensor::from(std::span(batch.ids), rows), Tensor::from(std::span(batch.token_types), rows),
          Tensor::from(std::span(batch.positions), rows), make_layout(batch.offsets, batch.lengths)};
}

Evaluation evaluate(const Bert& model, const Task& task, const EncodedDataset& data,
                    const EvaluateOptions& options) {
  if (model.config().num_labels() != task.num_classes()) {
    fail("the model has {} outputs, task {} has {}", model.config().num_labels(), task.name,
         task.num_classes());
  }
  std::vector<std::int32_t> order(data.size());
  std::iota(order.begin(), order.end(), 0);
  std::vector<std::int32_t> predicted(data.size());
  std::vector<double> scores(data.size());
  Evaluation result;
  result.examples = data.size();
  Batch batch;
  const std::optional<std::size_t> pad_to = options.pad_to > 0 ? std::optional(options.pad_to) : std::nullopt;
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t begin = 0; begin < data.size(); begin += options.batch) {
    const std::size_t count = std::min(options.batch, data.size() - begin);
    fill_batch(data, std::span(order).subspan(begin, count), pad_to, batch);
    const Tensor logits = logits_of(model, batch);
    result.loss += summed_loss(task, logits, batch);
    for (std::size_t s = 0; s < count; ++s) {
      const auto row = static_cast<std::int64_t>(s);
      predicted[begin + s] = task.regression ? 0 : argmax(logits, row);
      scores[begin + s] = logits.at(row * logits.shape()[1]);
    }
    if (options.progress) options.progress(begin + count, data.size());
  }
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.loss /= static_cast<double>(data.size());
  result.metrics = task.regression ? evaluate(task, std::span<const double>(scores), data.scores)
                                   : evaluate(task, std::span<const std::int32_t>(predicted), data.labels);
  return result;
}

std::vector<std::vector<double>> predict_logits(const Bert& model, const Batch& batch) {
  const Tensor logits = logits_of(model, batch);
  const std::int64_t labels = logits.shape()[1];
  std::vector<std::vector<double>> rows(static_cast<std::size_t>(logits.shape()[0]));
  for (std::size_t s = 0; s < rows.size(); ++s) {
    for (std::int64_t c = 0; c < labels; ++c)
      rows[s].push_back(logits.at(static_cast<std::int64_t>(s) * labels + c));
  }
  return rows;
}

std::vector<double> probabilities(std::span<const double> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  for (const double z : logits) p.push_back(std::exp(z - largest));
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= total;
  return p;
}

}  // namespace costeff
