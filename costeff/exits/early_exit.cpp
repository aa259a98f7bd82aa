#include "costeff/exits/early_exit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>

#include "costeff/exits/multi_exit.h"

namespace costeff {
namespace {

// The sequences of a batch that have not left, and what of their hidden states is still needed.
class Remaining {
 public:
  Remaining(const Bert& model, const TokenBatch& batch, Precision precision)
      : model_(model),
        exits_(model.config().exits.value_or(ExitConfig{})),
        forward_(precision),
        layout_(batch.layout),
        sequences_(static_cast<std::size_t>(layout_->sequences())),
        hidden_(model.embed(forward_, batch)) {
    std::iota(sequences_.begin(), sequences_.end(), 0);
    if (is_read(0)) add_state(model_.pool(hidden_, layout_));
  }

  // Which sequences of the whole batch these are, ascending.
  std::span<const std::int32_t> sequences() const { return sequences_; }

  // From h_{k-1} to what exits read of h_k. Where that is [CLS], the other rows of h_k wait for go_on():
  // those of sequences that leave here are never computed.
  void advance(std::int64_t k) {
    if (exits_.pooling == Pooling::cls && k >= model_.config().first_exit()) {
      context_ = model_.attention_context(forward_, k, hidden_, layout_);
      add_state(model_.layer_rows(forward_, k, first_rows(context_, layout_), first_rows(hidden_, layout_)));
    } else {
      hidden_ = model_.layer(forward_, k, hidden_, layout_);
      if (is_read(k)) add_state(model_.pool(hidden_, layout_));
    }
  }

  Tensor logits(std::int64_t i) {
    return model_.exit_logits(forward_, i, states_, layout_, Bert::Rows::pooled).value();
  }

  // After advance(k): goes on with some of them, by their place among those that remain. Computing a [CLS]
  // row again costs less than putting rows back together would.
  void go_on(std::int64_t k, std::span<const std::int32_t> places) {
    if (places.size() < sequences_.size()) keep(places);
    if (!context_.value().defined()) return;
    hidden_ = model_.layer_rows(forward_, k, context_, hidden_);
    context_ = Variable();
  }

 private:
  // Whether an exit reads h_k: exit i reads `last_hidden` states up to h_i.
  bool is_read(std::int64_t k) const { return k + exits_.last_hidden > model_.config().first_exit(); }

  void add_state(Variable state) {
    if (static_cast<std::int64_t>(states_.size()) == exits_.last_hidden) states_.erase(states_.begin());
    states_.push_back(std::move(state));
  }

  // The rows of those that stay move together even when few leave: copying a row costs a few percent of what
  // a layer computes for it.
  void keep(std::span<const std::int32_t> places) {
    CachedVector<std::int32_t> rows, offsets(1, 0), lengths, kept;
    rows.reserve(static_cast<std::size_t>(layout_->tokens()));
    for (const std::int32_t s : places) {
      for (std::int64_t row = layout_->offset(s); row < layout_->offset(s + 1); ++row)
        rows.push_back(static_cast<std::int32_t>(row));
      offsets.push_back(static_cast<std::int32_t>(rows.size()));
      lengths.push_back(static_cast<std::int32_t>(layout_->length(s)));
      kept.push_back(sequences_[static_cast<std::size_t>(s)]);
    }
    const Tensor token_rows = Tensor::from(std::span<const std::int32_t>(rows), {offsets.back()});
    const Tensor sequence_rows = Tensor::from(places, {static_cast<std::int64_t>(places.size())});
    hidden_ = gather_rows(hidden_, token_rows);
    if (context_.value().defined()) context_ = gather_rows(context_, token_rows);
    for (Variable& state : states_) state = gather_rows(state, sequence_rows);
    layout_ = make_layout(offsets, lengths);
    sequences_ = std::move(kept);
  }

  const Bert& model_;
  ExitConfig exits_;
  Forward forward_;
  LayoutPtr layout_;
  CachedVector<std::int32_t> sequences_;
  Variable hidden_;                // [tokens, hidden], what the next layer reads
  Variable context_;               // of the layer that is half computed, else undefined
  CachedVector<Variable> states_;  // the last ones, pooled: each [sequences, hidden]
};

// Cut, not rounded: of ln C it stays a threshold that an undecided exit does not get under. As decimals, so
// that what is printed is what was used.
double four_digits(double x) {
  if (x <= 0) return 0;
  const double unit = std::pow(10, std::floor(std::log10(x)) - 3);
  return std::stod(fmt::format("{:.4g}", std::floor(x / unit) * unit));
}

// The entropies that occur at all exits but the last, ascending. Throws UsageError for a regression.
std::vector<double> early_entropies(const ExitLogits& logits) {
  check_rule(entropy_below(0), logits.labels);
  const auto columns = static_cast<std::size_t>(logits.labels);
  std::vector<double> entropies;
  for (std::size_t i = 0; i + 1 < logits.exits.size(); ++i) {
    const std::span<const double> exit = logits.exits[i];
    for (std::size_t at = 0; at < exit.size(); at += columns)
      entropies.push_back(entropy(exit.subspan(at, columns)));
  }
  std::erase_if(entropies, [](double h) { return std::isnan(h); });
  std::sort(entropies.begin(), entropies.end());
  return entropies;
}

// The class of each sequence of logits [sequences, columns].
std::vector<std::ptrdiff_t> classes(std::span<const double> logits, std::size_t columns) {
  std::vector<std::ptrdiff_t> best;
  for (std::size_t at = 0; at < logits.size(); at += columns) {
    const auto row = logits.subspan(at, columns);
    best.push_back(std::max_element(row.begin(), row.end()) - row.begin());
  }
  return best;
}

}  // namespace

EarlyExitOutputs early_exit(const Bert& model, const TokenBatch& batch, const ExitRule& rule,
                            Precision precision) {
  const std::int64_t layers = model.config().layers();
  const auto labels = static_cast<std::size_t>(model.config().num_labels());
  check_rule(rule, model.config().num_labels());
  Remaining remaining(model, batch, precision);
  const std::size_t sequences = remaining.sequences().size();
  EarlyExitOutputs out{.exits = CachedVector<std::int64_t>(sequences),
                       .logits = CachedVector<double>(sequences * labels)};
  CachedVector<std::int32_t> staying;
  CachedVector<ExitMemory> memories(sequences);
  for (std::int64_t k = 1; k <= layers; ++k) {
    remaining.advance(k);
    if (k < model.config().first_exit()) continue;
    const Tensor logits = remaining.logits(k).to(kCpu);
    const std::span<const std::int32_t> here = remaining.sequences();
    staying.clear();
    for (std::size_t place = 0; place < here.size(); ++place) {
      const auto s = static_cast<std::size_t>(here[place]);
      const std::span<double> row = std::span(out.logits).subspan(s * labels, labels);
      for (std::size_t c = 0; c < labels; ++c)
        row[c] = logits.at(static_cast<std::int64_t>(place * labels + c));
      out.exits[s] = k;  // of those that go on, the last exit writes both again
      if (!leaves(rule, row, memories[s])) staying.push_back(static_cast<std::int32_t>(place));
    }
    if (staying.empty()) break;
    if (k < layers) remaining.go_on(k, staying);
  }
  return out;
}

std::vector<std::int64_t> count_exits(std::span<const std::int64_t> exits, std::int64_t layers) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(layers), 0);
  for (const std::int64_t exit : exits) ++counts[static_cast<std::size_t>(exit - 1)];
  return counts;
}

double average_exit(std::span<const std::int64_t> exits) {
  const double sum = std::accumulate(exits.begin(), exits.end(), 0.0);
  return sum / static_cast<double>(exits.size());
}

std::vector<double> sweep_thresholds(const ExitLogits& logits) {
  const std::vector<double> entropies = early_entropies(logits);
  std::vector<double> all = {0};
  for (const double share : {0.02, 0.1, 0.25, 0.5, 0.75, 1.0})
    all.push_back(four_digits(share * std::log(logits.labels)));
  for (const double share : {0.1, 0.25, 0.5, 0.75, 0.9}) {
    if (entropies.empty()) break;
    const auto at = static_cast<std::size_t>(share * static_cast<double>(entropies.size() - 1));
    all.push_back(four_digits(entropies[at]));
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

double consistent_threshold(const ExitLogits& logits, double share) {
  constexpr std::size_t kQuantiles = 100;
  const std::vector<double> entropies = early_entropies(logits);
  if (entropies.empty()) return 0;
  const auto columns = static_cast<std::size_t>(logits.labels);
  const auto full = classes(logits.exits.back(), columns);
  for (std::size_t q = kQuantiles; q > 0; --q) {
    const double threshold = entropies[q * (entropies.size() - 1) / kQuantiles];
    const auto early = classes(choose_exits(logits, entropy_below(threshold)).logits, columns);
    const auto same = std::inner_product(full.begin(), full.end(), early.begin(), std::size_t{0},
                                         std::plus<>(), std::equal_to<>());
    if (static_cast<double>(full.size() - same) <= share * static_cast<double>(full.size())) return threshold;
  }
  return 0;
}

EarlyEvaluation evaluate_early(const Bert& model, const Task& task, const EncodedDataset& data,
                               const ExitRule& rule, const EvaluateOptions& options) {
  require_outputs(model.config().num_labels(), task);
  EarlyEvaluation result;
  const double seconds = visit_batches(data, options, [&](std::size_t, const Batch& batch) {
    const EarlyExitOutputs outputs = early_exit(model, token_batch(batch), rule, options.precision);
    result.choice.exits.insert(result.choice.exits.end(), outputs.exits.begin(), outputs.exits.end());
    result.choice.logits.insert(result.choice.logits.end(), outputs.logits.begin(), outputs.logits.end());
  });
  result.evaluation = evaluate_logits(result.choice.logits, task, data);
  result.evaluation.seconds = seconds;
  result.counts = count_exits(result.choice.exits, model.config().layers());
  result.average_exit = average_exit(result.choice.exits);
  return result;
}

}  // namespace costeff
