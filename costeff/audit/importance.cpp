#include "costeff/audit/importance.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "costeff/audit/importance_compare.h"
#include "tensor/error.h"
#include "tensor/philox.h"

namespace costeff::audit {
namespace {

constexpr std::uint32_t kNeuronSample = 5, kRandomOrder = 6;
constexpr std::int64_t kOrders = 5;  // of cumulative removal

std::uint32_t random_number(std::uint64_t seed, std::uint32_t purpose, std::size_t layer, std::size_t i) {
  return philox4x32({static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(layer), purpose, 0},
                    {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)})[0];
}

std::int64_t budget(std::int64_t asked, const std::vector<std::int64_t>& widths, const char* flag,
                    const char* what) {
  const std::int64_t widest = *std::max_element(widths.begin(), widths.end());
  if (asked < 0 || asked > widest)
    fail_usage("--{} {}: the model's widest layer has {} {}", flag, asked, widest, what);
  return asked > 0 ? asked : (widest + 1) / 2;
}

// Counts, before anything long begins.
ImportanceWork plan_work(const Subject& subject, const ImportanceSettings& settings,
                         const RemovalSweep& sweep, std::size_t sources) {
  const BertConfig& config = subject.student.model->config();
  const std::int64_t layers = config.layers();
  const auto batches = static_cast<std::int64_t>(subject.batches.size());
  ImportanceWork work;
  work.forward_passes = 2 * batches;
  work.backward_passes = batches * static_cast<std::int64_t>(sources + 1);
  const auto count = [&](std::int64_t k, std::int64_t removals) {
    work.removals += removals;
    work.layer_passes += removals * (layers - k + 1);
  };
  for (std::int64_t k = 1; k <= layers; ++k) {
    const auto at = static_cast<std::size_t>(k - 1);
    count(k, config.heads[at]);
    count(k, std::min(config.ffn[at], settings.neurons / layers + (k <= settings.neurons % layers ? 1 : 0)));
    if (settings.cumulative) count(k, kOrders * (config.heads[at] - 1));
  }
  work.gradient_bytes = static_cast<std::size_t>(subject.student.model->parameters().count()) *
                        size_of(subject.student.model->parameters().dtype());
  work.state_bytes = sweep.bytes();
  // A backward pass costs two forward passes, a pass from one exit half of that on average.
  const double passes = 2 + 2 * static_cast<double>(sources + 1) * 0.7;
  work.seconds = sweep.seconds_per_layer() *
                 (static_cast<double>(work.layer_passes) + passes * static_cast<double>(layers));
  return work;
}

// Removes units one by one or together, and counts layers.
class Remover {
 public:
  Remover(const RemovalSweep& sweep, std::int64_t layers, const ImportanceWork& work,
          const ImportanceObserver& observer)
      : sweep_(sweep), layers_(layers), work_(work), observer_(observer) {}

  SampleLoss change(Units units, std::int64_t k, std::span<const std::int64_t> places) {
    SampleLoss change = sweep_.change(units, k, places);
    done_ += layers_ - k + 1;
    observer_.progress("removing", done_, work_.layer_passes);
    return change;
  }

  void remove(std::int64_t k, std::int64_t place, UnitsAudit& audit) {
    audit.removed.push_back({k, place, change(audit.units, k, {{place}})});
  }

 private:
  const RemovalSweep& sweep_;
  std::int64_t layers_;
  const ImportanceWork& work_;
  const ImportanceObserver& observer_;
  std::int64_t done_ = 0;
};

std::vector<std::int64_t> ascending(std::span<const double> values) {
  std::vector<std::int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return values[static_cast<std::size_t>(a)] < values[static_cast<std::size_t>(b)];
  });
  return order;
}

CumulativeRemoval remove_together(std::string order, const ByLayer& values, Remover& remover) {
  CumulativeRemoval out{std::move(order), {}};
  for (std::size_t layer = 0; layer < values.size(); ++layer) {
    const std::vector<std::int64_t> places = ascending(values[layer]);
    std::vector<double>& changes = out.change.emplace_back();
    for (std::size_t k = 1; k < places.size(); ++k) {
      const auto at = static_cast<std::int64_t>(layer + 1);
      changes.push_back(remover.change(Units::heads, at, std::span(places).first(k)).total());
    }
  }
  return out;
}

void remove_cumulatively(std::uint64_t seed, Remover& remover, ImportanceAudit& audit) {
  const SourceScores& exits = audit.sources.front();
  ByLayer random = exits.paper.heads, truth = exits.paper.heads, gate = exits.gate.heads;
  for (std::size_t k = 0; k < random.size(); ++k) {
    for (std::size_t i = 0; i < random[k].size(); ++i) random[k][i] = random_number(seed, kRandomOrder, k, i);
    for (double& derivative : gate[k]) derivative = -derivative;
  }
  for (const Removed& r : audit.heads.removed)
    truth[static_cast<std::size_t>(r.layer - 1)][static_cast<std::size_t>(r.place)] = r.change.total();
  audit.cumulative.push_back(remove_together("paper", absolute(exits.paper.heads), remover));
  audit.cumulative.push_back(remove_together("release", exits.release.heads, remover));
  audit.cumulative.push_back(remove_together("gate", gate, remover));
  audit.cumulative.push_back(remove_together("random", random, remover));
  audit.cumulative.push_back(remove_together("one by one", truth, remover));
}

double equalisation_error(const ImportanceAudit& audit) {
  double worst = 0;
  const auto look = [&](const ByLayer& plain, const ByLayer& equalised) {
    for (std::size_t k = 0; k < plain.size(); ++k) {
      const auto factor = static_cast<double>(plain.size() - k);
      for (std::size_t i = 0; i < plain[k].size(); ++i) {
        if (plain[k][i] > 0) worst = std::max(worst, std::abs(factor * equalised[k][i] / plain[k][i] - 1));
      }
    }
  };
  look(audit.sources.front().release.heads, audit.equalised.release.heads);
  look(audit.sources.front().release.neurons, audit.equalised.release.neurons);
  return worst;
}

}  // namespace

ImportanceAudit audit_importance(const Subject& subject, const ImportanceSettings& settings,
                                 const ImportanceObserver& observer) {
  const BertConfig& config = subject.student.model->config();
  ImportanceAudit audit;
  audit.loss = exits_loss(subject, settings.loss);
  audit.heads = {.units = Units::heads, .budget = budget(settings.heads, config.heads, "heads", "heads")};
  audit.neurons = {.units = Units::neurons, .budget = budget(settings.ffn, config.ffn, "ffn", "neurons")};
  if (settings.neurons < 0) fail_usage("neurons {}: must be at least 0", settings.neurons);
  const std::vector<Source> sources = loss_sources(subject, audit.loss);
  const RemovalSweep sweep(subject, audit.loss);
  audit.whole = sweep.loss();
  const ImportanceWork work = plan_work(subject, settings, sweep, sources.size());
  observer.begin(work);

  const auto batches = static_cast<std::int64_t>(subject.batches.size());
  audit.sources = score_sources(subject, sources, audit.loss, false, [&](std::int64_t done, std::int64_t) {
    observer.progress("gradients", done, work.backward_passes);
  });
  audit.equalised =
      score_sources(subject, {sources.front()}, audit.loss, true, [&](std::int64_t done, std::int64_t) {
        observer.progress("gradients", work.backward_passes - batches + done, work.backward_passes);
      }).front();
  audit.equalisation_error = equalisation_error(audit);

  Remover remover(sweep, config.layers(), work, observer);
  for (std::int64_t k = 1; k <= config.layers(); ++k) {
    for (std::int64_t a = 0; a < config.heads[static_cast<std::size_t>(k - 1)]; ++a)
      remover.remove(k, a, audit.heads);
  }
  const std::uint64_t seed = subject.training.seed;
  const auto sample =
      stratified_sample(absolute(audit.sources.front().paper.neurons), settings.neurons, seed);
  for (std::size_t k = 0; k < sample.size(); ++k) {
    for (const std::int64_t u : sample[k]) remover.remove(static_cast<std::int64_t>(k + 1), u, audit.neurons);
  }
  compare(audit, config.first_exit(), audit.heads);
  compare(audit, config.first_exit(), audit.neurons);
  if (settings.cumulative) remove_cumulatively(seed, remover, audit);
  return audit;
}

std::vector<std::vector<std::int64_t>> stratified_sample(const std::vector<std::vector<double>>& scores,
                                                         std::int64_t wanted, std::uint64_t seed) {
  std::vector<std::vector<std::int64_t>> sample(scores.size());
  const auto layers = static_cast<std::int64_t>(scores.size());
  for (std::size_t k = 0; k < scores.size(); ++k) {
    const std::vector<std::int64_t> order = ascending(scores[k]);
    const auto width = static_cast<std::int64_t>(order.size());
    const std::int64_t share =
        std::min(width, wanted / layers + (static_cast<std::int64_t>(k) < wanted % layers ? 1 : 0));
    for (std::int64_t s = 0; s < share; ++s) {
      const std::int64_t begin = s * width / share, end = (s + 1) * width / share;
      const std::uint32_t draw = random_number(seed, kNeuronSample, k, static_cast<std::size_t>(s));
      sample[k].push_back(order[static_cast<std::size_t>(begin + draw % (end - begin))]);
    }
  }
  return sample;
}

const SourceScores& ImportanceAudit::source(std::string_view name) const {
  const auto found = std::find_if(sources.begin(), sources.end(),
                                  [&](const SourceScores& s) { return s.source.name == name; });
  if (found == sources.end()) fail("no source {}", name);
  return *found;
}

bool ImportanceAudit::scores_vanish() const {
  constexpr double kNoise = 1e-6;  // of the loss
  const ImportanceScores& paper = sources.front().paper;
  double largest = 0;
  for (const Units units : {Units::heads, Units::neurons}) {
    for (const std::vector<double>& layer : of(paper, units)) {
      for (const double sum : layer) largest = std::max(largest, std::abs(sum));
    }
  }
  return largest <= kNoise * whole.total();
}

std::size_t ImportanceAudit::most_together() const {
  std::size_t most = 0;
  for (const CumulativeRemoval& c : cumulative) {
    for (const std::vector<double>& layer : c.change) most = std::max(most, layer.size());
  }
  return most;
}

double CumulativeRemoval::mean(std::size_t k) const {
  double sum = 0, layers = 0;
  for (const std::vector<double>& layer : change) {
    if (k > layer.size()) continue;
    sum += layer[k - 1];
    ++layers;
  }
  return layers > 0 ? sum / layers : 0;
}

}  // namespace costeff::audit
