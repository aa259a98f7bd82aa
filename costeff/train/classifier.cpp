#include "costeff/train/classifier.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "costeff/exits/multi_exit.h"
#include "costeff/train/run_records.h"
#include "tensor/error.h"

namespace costeff {

std::string resolve_model(const std::string& path) {
  std::string best = path + "/best";
  std::string last = path + "/last";
  for (const std::string& folder : {best, last, path}) recover_folder(folder);
  if (is_model_folder(best)) return best;
  if (is_model_folder(last)) return last;
  if (has_results(path)) {
    const Results results = read_results(path);
    if (const ModelRecord* product = results.product()) return path + "/" + product->folder;
  }
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

std::vector<std::vector<double>> predict_logits(const Bert& model, const Batch& batch, Precision precision) {
  Forward forward(precision);
  const Tensor logits = model.logits(forward, token_batch(batch)).value().to(kCpu);
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
