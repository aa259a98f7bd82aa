#include "tools/cli/results_text.h"

#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <limits>

#include "tensor/error.h"
#include "tools/cli/model_text.h"

namespace costeff {
namespace {

// Of the numbers of a model over runs.
struct Spread {
  double mean = 0;
  double deviation = 0;  // of a sample; 0 for a single run
};

Spread spread_of(const std::vector<Results>& runs, std::size_t model,
                 const std::function<double(const ModelRecord&)>& number) {
  Spread s;
  const auto count = static_cast<double>(runs.size());
  for (const Results& run : runs) s.mean += number(run.models[model]) / count;
  double squares = 0;
  for (const Results& run : runs) squares += std::pow(number(run.models[model]) - s.mean, 2);
  if (runs.size() > 1) s.deviation = std::sqrt(squares / (count - 1));
  return s;
}

// "-" where there is no number, as for the correlation of constant answers.
std::string text_of(double number, int decimals, double factor = 1) {
  return std::isfinite(number) ? fmt::format("{:.{}f}", factor * number, decimals) : "-";
}

void require_alike(const std::vector<Results>& runs) {
  for (const Results& run : runs) {
    bool alike = run.task == runs[0].task && run.models.size() == runs[0].models.size();
    for (std::size_t i = 0; alike && i < run.models.size(); ++i)
      alike = run.models[i].name == runs[0].models[i].name;
    if (!alike) {
      fail_usage("runs of {} on {} and of {} on {} with other models have no mean; name them one by one",
                 runs[0].method, runs[0].task, run.method, run.task);
    }
  }
}

}  // namespace

std::string results_text(const std::vector<Results>& runs) {
  require_alike(runs);
  const bool several = runs.size() > 1;
  std::string text = fmt::format("{:<22} {:>12} {:>10} {:>{}} {:>8} {:>7} {:>12}\n", "model", "parameters",
                                 "MFLOPs", runs[0].metric, several ? 17 : 8, "kept", "exit", "sentences/s");
  for (std::size_t i = 0; i < runs[0].models.size(); ++i) {
    const auto over = [&](auto&& number) { return spread_of(runs, i, number); };
    const Spread score = over([](const ModelRecord& m) { return m.score; });
    const double parameters =
        over([](const ModelRecord& m) { return static_cast<double>(m.parameters); }).mean;
    const double share = over([](const ModelRecord& m) {
                           return m.share.value_or(std::numeric_limits<double>::quiet_NaN());
                         }).mean;
    text += fmt::format(
        "{:<22} {:>12} {:>10} {:>8}{} {:>6} % {:>7} {:>12}\n", runs[0].models[i].name,
        grouped(std::llround(parameters)),
        text_of(over([](const ModelRecord& m) { return m.flops; }).mean, 1, 1e-6), text_of(score.mean, 4),
        several ? fmt::format(" ± {}", text_of(score.deviation, 4)) : "", text_of(share, 1, 100),
        text_of(over([](const ModelRecord& m) { return m.average_exit; }).mean, 2),
        text_of(over([](const ModelRecord& m) { return m.sequences_per_second; }).mean, 0));
  }
  if (several) text += fmt::format("Means over {} runs; ± is the standard deviation.\n", runs.size());
  return text +
         "FLOPs are the mean over dev's sentences at their real lengths, up to the exit that each left at.\n";
}

}  // namespace costeff
