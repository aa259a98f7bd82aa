#include "costeff/exits/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <optional>

#include "costeff/exits/multi_exit.h"
#include "tensor/error.h"

namespace costeff {
namespace {

std::vector<std::int32_t> all_of(const EncodedDataset& data) {
  std::vector<std::int32_t> sequences(data.size());
  std::iota(sequences.begin(), sequences.end(), 0);
  return sequences;
}

void append(const Tensor& logits, std::vector<double>& to) {
  const Tensor host = logits.to(kCpu);
  for (std::int64_t i = 0; i < host.numel(); ++i) to.push_back(host.at(i));
}

}  // namespace

double ExitsEvaluation::mean_score() const {
  double sum = 0;
  for (const Evaluation& exit : exits) sum += exit.score();
  return sum / static_cast<double>(exits.size());
}

void require_outputs(std::int64_t labels, const Task& task) {
  if (labels != task.num_classes())
    fail("the model has {} outputs, task {} has {}", labels, task.name, task.num_classes());
}

double visit_batches(const EncodedDataset& data, const EvaluateOptions& options,
                     const std::function<void(std::size_t begin, const Batch& batch)>& visit) {
  const std::vector<std::int32_t> order = all_of(data);
  const std::optional<std::size_t> pad_to = options.pad_to > 0 ? std::optional(options.pad_to) : std::nullopt;
  Batch batch;
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t begin = 0; begin < data.size(); begin += options.batch) {
    const std::size_t count = std::min(options.batch, data.size() - begin);
    fill_batch(data, std::span(order).subspan(begin, count), pad_to, batch);
    visit(begin, batch);
    if (options.progress) options.progress(begin + count, data.size());
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

Evaluation evaluate_logits(std::span<const double> logits, const Task& task, const EncodedDataset& data) {
  return evaluate_logits(logits, task, data, all_of(data));
}

Evaluation evaluate_logits(std::span<const double> logits, const Task& task, const EncodedDataset& data,
                           std::span<const std::int32_t> sequences) {
  const auto columns = static_cast<std::size_t>(task.num_classes());
  std::vector<std::int32_t> predicted, labels;
  std::vector<double> answers, scores;
  Evaluation result;
  result.examples = sequences.size();
  for (const std::int32_t sequence : sequences) {
    const auto s = static_cast<std::size_t>(sequence);
    const std::span<const double> z = logits.subspan(s * columns, columns);
    if (task.regression) {
      result.loss += std::pow(z[0] - data.scores[s], 2);
      answers.push_back(z[0]);
      scores.push_back(data.scores[s]);
    } else {
      result.loss += log_sum_exp(z) - z[static_cast<std::size_t>(data.labels[s])];
      predicted.push_back(static_cast<std::int32_t>(std::max_element(z.begin(), z.end()) - z.begin()));
      labels.push_back(data.labels[s]);
    }
  }
  result.loss /= static_cast<double>(sequences.size());
  result.metrics = task.regression ? evaluate(task, std::span<const double>(answers), scores)
                                   : evaluate(task, std::span<const std::int32_t>(predicted), labels);
  return result;
}

Evaluation evaluate(const Bert& model, const Task& task, const EncodedDataset& data,
                    const EvaluateOptions& options) {
  require_outputs(model.config().num_labels(), task);
  return evaluate_exits(predict_last_exit(model, data, options), task, data).exits[0];
}

ExitLogits predict_last_exit(const Bert& model, const EncodedDataset& data, const EvaluateOptions& options) {
  ExitLogits out{.first = model.config().layers(),
                 .labels = model.config().num_labels(),
                 .exits = std::vector<std::vector<double>>(1)};
  out.seconds = visit_batches(data, options, [&](std::size_t, const Batch& batch) {
    Forward forward(options.precision);
    append(model.logits(forward, token_batch(batch)).value(), out.exits[0]);
  });
  return out;
}

ExitLogits predict_exits(const Bert& model, const EncodedDataset& data, const EvaluateOptions& options) {
  const std::int64_t first = model.config().first_exit();
  ExitLogits out{.first = first,
                 .labels = model.config().num_labels(),
                 .exits = std::vector<std::vector<double>>(
                     static_cast<std::size_t>(model.config().layers() - first + 1))};
  out.seconds = visit_batches(data, options, [&](std::size_t, const Batch& batch) {
    Forward forward(options.precision);
    const MultiExitOutputs outputs = multi_exit(model, forward, token_batch(batch), false);
    for (std::size_t i = 0; i < out.exits.size(); ++i) append(outputs.logits[i].value(), out.exits[i]);
  });
  return out;
}

ExitsEvaluation evaluate_exits(const ExitLogits& logits, const Task& task, const EncodedDataset& data) {
  require_outputs(logits.labels, task);
  ExitsEvaluation result{.first = logits.first, .exits = {}};
  for (const std::vector<double>& exit : logits.exits) {
    result.exits.push_back(evaluate_logits(exit, task, data));
    result.exits.back().seconds = logits.seconds;
  }
  return result;
}

ExitsEvaluation evaluate_exits(const Bert& model, const Task& task, const EncodedDataset& data,
                               const EvaluateOptions& options) {
  require_outputs(model.config().num_labels(), task);
  return evaluate_exits(predict_exits(model, data, options), task, data);
}

ExitChoice choose_exits(const ExitLogits& logits, const ExitRule& rule) {
  check_rule(rule, logits.labels);
  const auto columns = static_cast<std::size_t>(logits.labels);
  const std::size_t sequences = logits.exits[0].size() / columns;
  ExitChoice choice;
  for (std::size_t s = 0; s < sequences; ++s) {
    const auto row = [&](std::size_t i) { return std::span(logits.exits[i]).subspan(s * columns, columns); };
    ExitMemory memory;
    std::size_t i = 0;
    while (i + 1 < logits.exits.size() && !leaves(rule, row(i), memory)) ++i;
    choice.exits.push_back(logits.first + static_cast<std::int64_t>(i));
    choice.logits.insert(choice.logits.end(), row(i).begin(), row(i).end());
  }
  return choice;
}

}  // namespace costeff
