#include "tools/cli/eval_results.h"

#include <algorithm>

#include "costeff/exits/cost.h"
#include "tensor/error.h"

namespace costeff {
namespace {

// The sequences that are shorter than the median of all.
std::vector<std::int32_t> below_median(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int64_t> sorted = lengths;
  std::sort(sorted.begin(), sorted.end());
  const std::size_t n = sorted.size();
  const std::int64_t twice_median = sorted[(n - 1) / 2] + sorted[n / 2];
  std::vector<std::int32_t> below;
  for (std::size_t s = 0; s < n; ++s) {
    if (2 * lengths[s] < twice_median) below.push_back(static_cast<std::int32_t>(s));
  }
  if (below.empty()) {
    fail("--short-half: no text is shorter than the median, {:.1f} tokens",
         static_cast<double>(twice_median) / 2);
  }
  return below;
}

Json metrics_json(const Evaluation& evaluation) {
  Json out = Json::object();
  for (const auto& [name, value] : evaluation.metrics) {
    out[name] = value;
    if (name == "acc" || name.ends_with("/acc")) out["accuracy"] = value;
  }
  out["loss"] = evaluation.loss;
  out["examples"] = evaluation.examples;
  return out;
}

void add_exits(const Answers& answers, Json& out) {
  if (answers.short_half) out["short_half"] = metrics_json(*answers.short_half);
  out["average_exit"] = answers.average_exit;
  out["exit_counts"] = answers.counts;
  out["flops"] = answers.flops;
  out["flops_reduction"] = answers.flops_reduction;
  out["flops_padded"] = answers.flops_padded;
}

Json row_json(const char* key, const Json& value, const Answers& answers) {
  Json row{{key, value}};
  row.update(metrics_json(answers.evaluation));
  add_exits(answers, row);
  return row;
}

std::string flops_text(double flops) {
  return flops < 1e9 ? fmt::format("{:.2f} M", flops / 1e6) : fmt::format("{:.2f} G", flops / 1e9);
}

std::string line(std::string_view name, std::string_view value) {
  return fmt::format("{:<14} {}\n", name, value);
}

// A table whose first column says which exit, or which threshold.
template <class Key>
std::string table(std::string_view title, const std::vector<std::pair<Key, Answers>>& rows) {
  if (rows.empty()) return "";
  const Answers& any = rows[0].second;
  std::string out = fmt::format("\n{:>10} {:>12} {:>10}", title, any.evaluation.metrics.back().first, "loss");
  if (any.short_half) out += fmt::format(" {:>12}", "short half");
  out += fmt::format(" {:>13} {:>10} {:>16}\n", "average exit", "FLOPs", "FLOPs reduction");
  for (const auto& [key, answers] : rows) {
    const Evaluation& e = answers.evaluation;
    out += fmt::format("{:>10} {:>12.4f} {:>10.4f}", key, e.score(), e.loss);
    if (answers.short_half) out += fmt::format(" {:>12.4f}", answers.short_half->score());
    out += fmt::format(" {:>13.2f} {:>10} {:>16.2f}\n", answers.average_exit, flops_text(answers.flops),
                       answers.flops_reduction);
  }
  return out;
}

}  // namespace

Scorer::Scorer(const BertConfig& config, const Task& task, const EncodedDataset& data, bool short_half)
    : config_(config), task_(task), data_(data), lengths_(sequence_lengths(data)) {
  if (short_half) short_half_ = below_median(lengths_);
}

Answers Scorer::score(const ExitChoice& choice, double seconds) const {
  Answers out;
  out.evaluation = evaluate_logits(choice.logits, task_, data_);
  out.evaluation.seconds = seconds;
  if (short_half_) out.short_half = evaluate_logits(choice.logits, task_, data_, *short_half_);
  out.counts = count_exits(choice.exits, config_.layers());
  out.average_exit = average_exit(choice.exits);
  out.flops = early_exit_flops(config_, lengths_, choice.exits);
  out.flops_reduction = flops_reduction(mean_flops(config_, lengths_), out.flops);
  out.flops_padded = early_exit_flops(
      forward_flops(config_, kPaddedLength),
      std::span(out.counts).last(static_cast<std::size_t>(config_.layers() - config_.first_exit() + 1)));
  return out;
}

Answers Scorer::score(const ExitLogits& logits, std::int64_t exit) const {
  return score({.exits = std::vector<std::int64_t>(data_.size(), exit),
                .logits = logits.exits[static_cast<std::size_t>(exit - logits.first)]},
               logits.seconds);
}

Json to_json(const EvalResults& results) {
  Json out = metrics_json(results.answers.evaluation);
  out["seconds"] = results.answers.evaluation.seconds;
  out["sequences_per_second"] = results.answers.evaluation.sequences_per_second();
  add_exits(results.answers, out);
  for (const auto& [exit, answers] : results.exits) out["exits"].push_back(row_json("exit", exit, answers));
  for (const auto& [threshold, answers] : results.sweep)
    out["sweep"].push_back(row_json("entropy", threshold, answers));
  return out;
}

std::string to_text(const EvalResults& results) {
  const Answers& a = results.answers;
  const Evaluation& e = a.evaluation;
  std::string out;
  for (const auto& [name, value] : e.metrics) out += line(name, fmt::format("{:.4f}", value));
  out += line("loss", fmt::format("{:.4f}", e.loss));
  if (a.short_half) {
    out += line("short half", fmt::format("{} {:.4f}, {} examples", a.short_half->metrics.back().first,
                                          a.short_half->score(), a.short_half->examples));
  }
  out += line("examples", fmt::format("{} in {:.2f} s, {:.0f} a second", e.examples, e.seconds,
                                      e.sequences_per_second()));
  out += line("FLOPs", fmt::format("{} an example", flops_text(a.flops)));
  if (a.flops_reduction > 1) {
    out += line("reduction", fmt::format("{:.2f} times fewer FLOPs than at full depth", a.flops_reduction));
    out += line("average exit", fmt::format("{:.2f} of {}", a.average_exit, a.counts.size()));
  }
  return out + table("exit", results.exits) + table("entropy", results.sweep);
}

}  // namespace costeff
