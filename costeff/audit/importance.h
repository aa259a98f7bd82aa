// Does the Taylor score predict the loss? Scores of heads and neurons beside what their removal really costs.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "costeff/audit/importance_scores.h"
#include "costeff/audit/removal.h"

namespace costeff::audit {

struct ImportanceSettings {
  std::int64_t heads = 0;      // kept of each layer, where kept sets are compared; 0: half of them
  std::int64_t ffn = 0;        // neurons, likewise
  std::int64_t neurons = 200;  // removed one by one; all layers together
  std::string loss = "auto";   // of the exits: predictions or labels
  bool cumulative = false;
};

// A head or neuron that was removed alone.
struct Removed {
  std::int64_t layer = 1;
  std::int64_t place = 0;  // in its layer, from 0
  SampleLoss change;       // the true change
};

// How two numbers of the same units agree in order.
struct Agreement {
  std::vector<std::int64_t> layers;  // that were compared: those with two units or more
  std::vector<double> spearman;      // within each of them
  double spearman_across = 0;        // all layers together, those with one unit too

  double mean_spearman() const;  // over layers; 0 if there is none
};

// A score beside a true change.
struct Comparison {
  std::string definition;  // "paper", "release", "gate"
  std::string source;      // of the score: "predictions"
  std::string truth;       // the source whose loss changes
  // How layers are made comparable. Equalised: the score of the equalised gradient, 1/(L-k+1) of it in layer
  // k. Normalised: divided by the root mean square of the layer's scores, as a global budget does.
  enum class Layers : std::uint8_t { plain, equalised, normalised } layers = Layers::plain;
  bool has_sign = false;  // minus the signed sum against the signed change; otherwise absolute values
  Agreement agreement;
};

// Scores, and the true change where it is known of every unit, compared with one another.
struct ScoreMatrix {
  std::vector<std::string> names;
  std::vector<std::vector<double>> spearman;  // mean over layers, of those that both sources reach
  std::vector<std::vector<double>> kept;      // share of the kept units that both keep, in these layers
  double kept_by_chance = 0;  // the share, over all layers, where one of the two keeps units at random
};

// What came out for heads, or for the sample of neurons.
struct UnitsAudit {
  Units units = Units::heads;
  std::int64_t budget = 0;  // kept of a layer
  std::vector<Removed> removed;
  std::vector<Comparison> comparisons;  // the first: paper, of the exits' losses, absolute
  ScoreMatrix matrix;
  double paper_ratio = 0;  // sum of the paper's scores / sum of |true change|, of the removed units
  double gate_ratio = 0;
  double paper_signs = 0;  // share of the removed units whose change has the sign that was predicted
  double gate_signs = 0;

  // Throws Error if there is no such comparison.
  const Comparison& comparison(std::string_view definition, std::string_view source, std::string_view truth,
                               bool has_sign = false,
                               Comparison::Layers layers = Comparison::Layers::plain) const;
};

// The loss when the k lowest-scored heads of one layer are gone together.
struct CumulativeRemoval {
  // "paper", "release"; "gate": those first whose going lowers the loss by first derivative; "random";
  // "one by one": by the true change of each head alone.
  std::string order;
  std::vector<std::vector<double>> change;  // by layer, by k - 1: of the sum of the exits' losses

  // With k heads gone: the mean over the layers that have more; 0 if none has.
  double mean(std::size_t k) const;
};

struct ImportanceAudit {
  std::string loss;  // of the exits: "predictions" or "labels"
  SampleLoss whole;  // nothing removed
  std::vector<SourceScores> sources;
  SourceScores equalised;  // of the exits' losses
  // The largest |(L-k+1) equalised / plain - 1| of the release's scores: how far Eq. 3 is from exact.
  double equalisation_error = 0;
  UnitsAudit heads;
  UnitsAudit neurons;
  std::vector<CumulativeRemoval> cumulative;

  const SourceScores& source(std::string_view name) const;
  // Whether the scores are rounding noise, because the gradient is 0: as where a model is its own teacher.
  bool scores_vanish() const;
  // The most heads that were removed together; 0 where that was not asked for, or no layer has two.
  std::size_t most_together() const;
};

// What an audit will compute.
struct ImportanceWork {
  std::int64_t forward_passes = 0;  // of a batch
  std::int64_t backward_passes = 0;
  std::int64_t removals = 0;
  std::int64_t layer_passes = 0;   // of the whole sample: what removals compute
  std::size_t gradient_bytes = 0;  // of one backward pass
  std::size_t state_bytes = 0;
  double seconds = 0;  // about, judged by one forward pass
};

struct ImportanceObserver {
  std::function<void(const ImportanceWork& work)> begin;  // after one forward pass
  std::function<void(std::string_view job, std::int64_t done, std::int64_t total)> progress;
};

// Throws UsageError for settings that do not fit the subject.
ImportanceAudit audit_importance(const Subject& subject, const ImportanceSettings& settings,
                                 const ImportanceObserver& observer);

// `wanted` neurons of all layers together, shared out evenly; in a layer one of each quantile of the scores.
std::vector<std::vector<std::int64_t>> stratified_sample(const std::vector<std::vector<double>>& scores,
                                                         std::int64_t wanted, std::uint64_t seed);

// Within a layer and across them; values by layer, the same units on both sides.
Agreement agreement(const std::vector<std::vector<double>>& a, const std::vector<std::vector<double>>& b);

}  // namespace costeff::audit
