#include "costeff/audit/importance_compare.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "costeff/audit/rank_statistics.h"
#include "costeff/methods/slenderise.h"
#include "tensor/error.h"

namespace costeff::audit {
namespace {

double mean(std::span<const double> values) {
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

// The numbers of the removed units, layer by layer.
template <class F>
ByLayer by_layer(std::span<const Removed> removed, std::size_t layers, F&& value) {
  ByLayer values(layers);
  for (const Removed& r : removed) values[static_cast<std::size_t>(r.layer - 1)].push_back(value(r));
  return values;
}

double number(const ByLayer& scores, const Removed& r) {
  return scores[static_cast<std::size_t>(r.layer - 1)][static_cast<std::size_t>(r.place)];
}

ByLayer normalised(ByLayer scores) {
  for (std::vector<double>& layer : scores) {
    const double size = root_mean_square(layer);
    for (double& score : layer) score /= size;
  }
  return scores;
}

// The comparisons of one kind of units.
class Comparer {
 public:
  Comparer(const ImportanceAudit& audit, std::int64_t first_exit, const UnitsAudit& units)
      : audit_(audit), first_exit_(first_exit), units_(units) {}

  std::vector<Comparison> all() {
    const Units units = units_.units;
    const SourceScores& exits = audit_.sources.front();
    for (const SourceScores& s : audit_.sources) {
      for (const Source& truth : truths_of(s.source)) {
        add("paper", of(s.paper, units), s.source, truth);
        add("release", of(s.release, units), s.source, truth);
        add("gate", of(s.gate, units), s.source, truth);
      }
    }
    const Source& source = exits.source;
    add("paper", of(exits.paper, units), source, source, true);
    add("gate", of(exits.gate, units), source, source, true);
    using Layers = Comparison::Layers;
    const auto across = [&](const char* name, const ByLayer& equalised, const ByLayer& plain) {
      add(name, equalised, source, source, false, Layers::equalised);
      add(name, normalised(plain), source, source, false, Layers::normalised);
    };
    across("paper", of(audit_.equalised.paper, units), of(exits.paper, units));
    across("release", of(audit_.equalised.release, units), of(exits.release, units));
    return std::move(comparisons_);
  }

 private:
  // The losses that a source's scores are held against: its own where it was measured, and the exits'.
  std::vector<Source> truths_of(const Source& source) const {
    const Source& exits = audit_.sources.front().source;
    if (source.exit > 0) return {source};
    if (source.name == "features" || (source.name == "all" && audit_.loss == "predictions"))
      return {source, exits};
    return {exits};
  }

  double change(const Removed& r, const Source& truth) const {
    if (truth.exit > 0) return r.change.exits[static_cast<std::size_t>(truth.exit - first_exit_)];
    if (truth.name == "features") return r.change.features;
    return r.change.total() + (truth.name == "all" ? r.change.features : 0);
  }

  void add(const char* definition, const ByLayer& score, const Source& source, const Source& truth,
           bool has_sign = false, Comparison::Layers layers = Comparison::Layers::plain) {
    const auto depth = static_cast<std::size_t>(source.exit > 0 ? source.exit : score.size());
    ByLayer predicted = by_layer(units_.removed, score.size(), [&](const Removed& r) {
      return has_sign ? -number(score, r) : std::abs(number(score, r));
    });
    ByLayer changed = by_layer(units_.removed, score.size(), [&](const Removed& r) {
      return has_sign ? change(r, truth) : std::abs(change(r, truth));
    });
    predicted.resize(depth);
    changed.resize(depth);
    comparisons_.push_back(
        {definition, source.name, truth.name, layers, has_sign, agreement(predicted, changed)});
  }

  const ImportanceAudit& audit_;
  std::int64_t first_exit_;
  const UnitsAudit& units_;
  std::vector<Comparison> comparisons_;
};

void compare_sizes(const ImportanceAudit& audit, UnitsAudit& units) {
  const SourceScores& exits = audit.sources.front();
  double truth = 0, paper = 0, gate = 0, paper_right = 0, gate_right = 0;
  for (const Removed& r : units.removed) {
    const double by_paper = -number(of(exits.paper, units.units), r);
    const double by_gate = -number(of(exits.gate, units.units), r);
    const double change = r.change.total();
    truth += std::abs(change);
    paper += std::abs(by_paper);
    gate += std::abs(by_gate);
    paper_right += by_paper * change > 0 ? 1 : 0;
    gate_right += by_gate * change > 0 ? 1 : 0;
  }
  const auto count = static_cast<double>(std::max<std::size_t>(units.removed.size(), 1));
  units.paper_ratio = truth > 0 ? paper / truth : 0;
  units.gate_ratio = truth > 0 ? gate / truth : 0;
  units.paper_signs = paper_right / count;
  units.gate_signs = gate_right / count;
}

// A score that others are compared with: of which layers, and what it keeps of them.
struct Candidate {
  std::string name;
  ByLayer values;
  std::vector<std::vector<std::int64_t>> kept;
};

ScoreMatrix matrix_of(const std::vector<Candidate>& candidates) {
  ScoreMatrix matrix;
  for (const Candidate& a : candidates) {
    matrix.names.push_back(a.name);
    std::vector<double>& spearmans = matrix.spearman.emplace_back();
    std::vector<double>& kept = matrix.kept.emplace_back();
    for (const Candidate& b : candidates) {
      const auto done = kept.size();
      if (done + 1 < matrix.kept.size()) {  // the other half
        spearmans.push_back(matrix.spearman[done][matrix.kept.size() - 1]);
        kept.push_back(matrix.kept[done][matrix.kept.size() - 1]);
        continue;
      }
      const std::size_t depth = std::min(a.values.size(), b.values.size());
      std::vector<double> within;
      double common = 0, all = 0;
      for (std::size_t k = 0; k < depth; ++k) {
        if (a.values[k].size() > 1) within.push_back(spearman(a.values[k], b.values[k]));
        common += overlap(a.kept[k], b.kept[k]) * static_cast<double>(a.kept[k].size());
        all += static_cast<double>(a.kept[k].size());
      }
      spearmans.push_back(mean(within));
      kept.push_back(all > 0 ? common / all : 1);
    }
  }
  return matrix;
}

std::vector<Candidate> candidates_of(const ImportanceAudit& audit, const UnitsAudit& units) {
  std::vector<Candidate> candidates;
  const auto add = [&](std::string name, ByLayer values) {
    Candidate c{std::move(name), std::move(values), {}};
    for (const std::vector<double>& layer : c.values)
      c.kept.push_back(keep_top(layer, std::min(units.budget, static_cast<std::int64_t>(layer.size()))));
    candidates.push_back(std::move(c));
  };
  const std::size_t layers = of(audit.sources.front().paper, units.units).size();
  if (units.units == Units::heads)
    add("removal (signed change)",
        by_layer(units.removed, layers, [](const Removed& r) { return r.change.total(); }));
  const auto add_source = [&](const char* definition, const SourceScores& s, const ImportanceScores& sums) {
    ByLayer values = absolute(of(sums, units.units));
    if (s.source.exit > 0) values.resize(static_cast<std::size_t>(s.source.exit));
    add(fmt::format("{}, {}", definition, s.source.name), std::move(values));
  };
  for (const SourceScores& s : audit.sources) add_source("paper", s, s.paper);
  for (const SourceScores& s : audit.sources) add_source("release", s, s.release);
  add_source("gate", audit.sources.front(), audit.sources.front().gate);
  return candidates;
}

// Of b units kept of w, b^2 / w are expected in another choice of b.
double kept_by_chance(const ByLayer& scores, std::int64_t budget) {
  double common = 0, all = 0;
  for (const std::vector<double>& layer : scores) {
    const auto width = static_cast<double>(layer.size());
    const double kept = std::min(static_cast<double>(budget), width);
    if (width > 0) common += kept * kept / width;
    all += kept;
  }
  return all > 0 ? common / all : 1;
}

}  // namespace

const ByLayer& of(const ImportanceScores& scores, Units units) {
  return units == Units::heads ? scores.heads : scores.neurons;
}

ByLayer absolute(ByLayer values) {
  for (std::vector<double>& layer : values) {
    for (double& value : layer) value = std::abs(value);
  }
  return values;
}

void compare(const ImportanceAudit& audit, std::int64_t first_exit, UnitsAudit& units) {
  units.comparisons = Comparer(audit, first_exit, units).all();
  compare_sizes(audit, units);
  units.matrix = matrix_of(candidates_of(audit, units));
  units.matrix.kept_by_chance = kept_by_chance(of(audit.sources.front().paper, units.units), units.budget);
}

Agreement agreement(const ByLayer& a, const ByLayer& b) {
  Agreement out;
  std::vector<double> all_a, all_b;
  for (std::size_t k = 0; k < a.size(); ++k) {
    all_a.insert(all_a.end(), a[k].begin(), a[k].end());
    all_b.insert(all_b.end(), b[k].begin(), b[k].end());
    if (a[k].size() < 2) continue;
    out.layers.push_back(static_cast<std::int64_t>(k + 1));
    out.spearman.push_back(spearman(a[k], b[k]));
  }
  out.spearman_across = spearman(all_a, all_b);
  return out;
}

double Agreement::mean_spearman() const {
  return mean(spearman);
}

const Comparison& UnitsAudit::comparison(std::string_view definition, std::string_view source,
                                         std::string_view truth, bool has_sign,
                                         Comparison::Layers layers) const {
  const auto found = std::find_if(comparisons.begin(), comparisons.end(), [&](const Comparison& c) {
    return c.definition == definition && c.source == source && c.truth == truth && c.has_sign == has_sign &&
           c.layers == layers;
  });
  if (found == comparisons.end()) fail("{} by {} was not compared with {}", definition, source, truth);
  return *found;
}

}  // namespace costeff::audit
