// Scores beside removals: how they are compared, sampled and removed together; all in f64.
#include <cmath>

#include "costeff/audit/importance_compare.h"
#include "costeff/audit/rank_statistics.h"
#include "tests/costeff/audit_subject.h"

namespace costeff::audit {
namespace {

using namespace costeff::testing;

ImportanceAudit audited(const Subject& subject, const ImportanceSettings& settings) {
  return audit_importance(
      subject, settings, {[](const ImportanceWork&) {}, [](std::string_view, std::int64_t, std::int64_t) {}});
}

TEST(AuditImportance, ComparesWithinAndAcrossLayers) {
  const Subject subject = make_subject(true);
  const ImportanceAudit audit = audited(subject, {.heads = 2, .ffn = 10, .neurons = 20, .cumulative = true});
  ASSERT_EQ(audit.heads.removed.size(), 12);
  ASSERT_EQ(audit.neurons.removed.size(), 20);
  EXPECT_LT(audit.equalisation_error, 1e-9);

  std::vector<double> score, truth, equalised, normalised;
  double mean = 0;
  for (std::size_t k = 0; k < 3; ++k) {
    std::vector<double> in_layer, true_in_layer;
    for (std::size_t a = 0; a < 4; ++a) {
      in_layer.push_back(std::abs(audit.sources[0].paper.heads[k][a]));
      true_in_layer.push_back(std::abs(audit.heads.removed[4 * k + a].change.total()));
      equalised.push_back(in_layer.back() / static_cast<double>(3 - k));
    }
    double squares = 0;
    for (const double x : in_layer) squares += x * x / 4;
    for (const double x : in_layer) normalised.push_back(x / std::sqrt(squares));
    score.insert(score.end(), in_layer.begin(), in_layer.end());
    truth.insert(truth.end(), true_in_layer.begin(), true_in_layer.end());
    mean += spearman(in_layer, true_in_layer) / 3;
  }
  using Layers = Comparison::Layers;
  const auto found = [&](Layers layers) -> const Agreement& {
    return audit.heads.comparison("paper", "predictions", "predictions", false, layers).agreement;
  };
  EXPECT_NEAR(found(Layers::plain).mean_spearman(), mean, 1e-12);
  EXPECT_NEAR(found(Layers::plain).spearman_across, spearman(score, truth), 1e-12);
  EXPECT_NEAR(found(Layers::equalised).spearman_across, spearman(equalised, truth), 1e-12);
  EXPECT_NEAR(found(Layers::normalised).spearman_across, spearman(normalised, truth), 1e-12);
  for (const Layers layers : {Layers::equalised, Layers::normalised})
    EXPECT_EQ(found(layers).spearman, found(Layers::plain).spearman);
  // An exit's scores are held against its own loss, in the layers below it.
  EXPECT_EQ(audit.heads.comparison("gate", "exit 2", "exit 2").agreement.layers,
            (std::vector<std::int64_t>{1, 2}));
}

// One neuron of forty is little, so that the first derivative of its gate nearly is its removal, sign and
// size; the paper's sum counts its way in besides its way out.
TEST(AuditImportance, TheGateForecastsTheRemovalOfANeuron) {
  const ImportanceAudit audit = audited(make_subject(true), {.neurons = 60});
  const UnitsAudit& neurons = audit.neurons;
  const auto signed_order = [&](const char* definition) {
    return neurons.comparison(definition, "predictions", "predictions", true).agreement.mean_spearman();
  };
  EXPECT_GT(signed_order("gate"), 0.9);
  EXPECT_GT(signed_order("paper"), 0.5);
  EXPECT_GT(neurons.gate_signs, 0.8);
  EXPECT_GT(neurons.paper_signs, 0.6);
  EXPECT_NEAR(neurons.gate_ratio, 1, 0.2);
  EXPECT_GT(neurons.paper_ratio, neurons.gate_ratio);
}

TEST(AuditImportance, MatrixAndHeadsRemovedTogether) {
  const Subject subject = make_subject(true);
  const ImportanceAudit audit = audited(subject, {.heads = 2, .neurons = 0, .cumulative = true});
  const ScoreMatrix& m = audit.heads.matrix;
  ASSERT_EQ(m.names[0], "removal (signed change)");
  ASSERT_EQ(m.names[1], "paper, predictions");
  double kept = 0;
  for (std::size_t k = 0; k < 3; ++k) {
    std::vector<double> truth, score;
    for (std::size_t a = 0; a < 4; ++a) {
      truth.push_back(audit.heads.removed[4 * k + a].change.total());
      score.push_back(std::abs(audit.sources[0].paper.heads[k][a]));
    }
    kept += overlap(keep_top(truth, 2), keep_top(score, 2)) / 3;
    // One alone, the lowest by each order, and three: all but the highest.
    EXPECT_EQ(audit.cumulative[4].change[k][0], *std::min_element(truth.begin(), truth.end()));
    const auto lowest =
        static_cast<std::size_t>(std::min_element(score.begin(), score.end()) - score.begin());
    EXPECT_EQ(audit.cumulative[0].order, "paper");
    EXPECT_EQ(audit.cumulative[0].change[k][0], truth[lowest]);
    ASSERT_EQ(audit.cumulative[0].change[k].size(), 3);
    const RemovalSweep sweep(subject, "predictions");
    const std::vector<std::int64_t> rest = all_but(4, keep_top(score, 1));
    EXPECT_NEAR(audit.cumulative[0].change[k][2],
                sweep.change(Units::heads, static_cast<std::int64_t>(k + 1), rest).total(), 1e-13);
  }
  EXPECT_NEAR(m.kept[0][1], kept, 1e-12);
  for (std::size_t i = 0; i < m.names.size(); ++i) {
    EXPECT_EQ(m.kept[i][i], 1);
    for (std::size_t j = 0; j < i; ++j) EXPECT_EQ(m.spearman[i][j], m.spearman[j][i]);
  }
}

TEST(AuditImportance, EachOrderRemovesItsLowestFirst) {
  const ImportanceAudit audit = audited(make_subject(true), {.neurons = 0, .cumulative = true});
  const SourceScores& exits = audit.sources.front();
  ASSERT_EQ(audit.cumulative.size(), 5);
  const char* names[] = {"paper", "release", "gate", "random", "one by one"};
  for (std::size_t order = 0; order < 5; ++order) {
    EXPECT_EQ(audit.cumulative[order].order, names[order]);
    for (std::size_t k = 0; k < 3; ++k) {
      const auto change_of = [&](std::size_t head) {
        return audit.heads.removed[4 * k + head].change.total();
      };
      std::size_t lowest = 0;
      for (std::size_t a = 1; a < 4; ++a) {
        const auto below = [&](auto&& value) { return value(a) < value(lowest); };
        const bool lower[] = {
            below([&](std::size_t i) { return std::abs(exits.paper.heads[k][i]); }),
            below([&](std::size_t i) { return exits.release.heads[k][i]; }),
            // The derivative by a factor on the head's output: its going lowers the loss most where that is
            // largest.
            below([&](std::size_t i) { return -exits.gate.heads[k][i]; }),
            false,
            below([&](std::size_t i) { return change_of(i); }),
        };
        if (lower[order]) lowest = a;
      }
      const double first = audit.cumulative[order].change[k][0];
      if (order != 3) {
        EXPECT_EQ(first, change_of(lowest)) << names[order] << " layer " << k + 1;
      } else {
        EXPECT_TRUE(first == change_of(0) || first == change_of(1) || first == change_of(2) ||
                    first == change_of(3));
      }
    }
  }
}

TEST(AuditImportance, WhatChanceKeepsOfUnequalLayers) {
  ImportanceAudit audit;
  audit.loss = "labels";
  SourceScores& s = audit.sources.emplace_back();
  s.source.name = "labels";
  s.paper.heads = s.release.heads = s.gate.heads = {{1}, {3, 2, 1}, {2, 1}};
  audit.equalised = s;
  UnitsAudit units;
  units.units = Units::heads;
  units.budget = 2;
  for (const auto& [layer, place] : {std::pair{1, 0}, {2, 0}, {2, 1}, {2, 2}, {3, 0}, {3, 1}})
    units.removed.push_back({layer, place, {.exits = {0.1 * place}}});
  compare(audit, 1, units);
  // Of 1, 3 and 2 heads 1, 2 and 2 stay; another choice of as many shares 1, 2 * 2 / 3 and 2 of them.
  EXPECT_NEAR(units.matrix.kept_by_chance, (1 + 4.0 / 3 + 2) / 5, 1e-12);
  const UnitsAudit once = units;
  compare(audit, 1, units);
  EXPECT_EQ(units.comparisons.size(), once.comparisons.size());
  EXPECT_EQ(units.matrix.names, once.matrix.names);
  EXPECT_EQ(units.matrix.kept, once.matrix.kept);
}

TEST(AuditImportance, OneExitAndNoTeacher) {
  const ImportanceAudit audit = audited(make_subject(false, {.first = 3}), {.neurons = 3});
  ASSERT_EQ(audit.sources.size(), 1);
  EXPECT_EQ(audit.sources[0].source.name, "labels");
  EXPECT_EQ(audit.whole.exits.size(), 1);
  EXPECT_EQ(audit.heads.budget, 2);
  EXPECT_EQ(audit.heads.comparison("paper", "labels", "labels").agreement.layers.size(), 3);
}

TEST(AuditImportance, RefusesWhatDoesNotFit) {
  const Subject subject = make_subject(false);
  EXPECT_THROW(audited(subject, {.heads = 5}), UsageError);
  EXPECT_THROW(audited(subject, {.ffn = 41}), UsageError);
  EXPECT_THROW(audited(subject, {.neurons = -1}), UsageError);
  EXPECT_THROW(audited(subject, {.loss = "predictions"}), UsageError);
  EXPECT_THROW(audited(subject, {.loss = "features"}), UsageError);
}

TEST(AuditImportance, SampleHasOneNeuronOfEachQuantile) {
  ByLayer scores(2, std::vector<double>(40));
  for (std::size_t i = 0; i < 40; ++i) {
    scores[0][i] = static_cast<double>((7 * i) % 40);  // each rank once
    scores[1][i] = -static_cast<double>(i);
  }
  const auto sample = stratified_sample(scores, 9, 3);
  ASSERT_EQ(sample[0].size(), 5);
  ASSERT_EQ(sample[1].size(), 4);
  for (std::size_t s = 0; s < 5; ++s) {
    const double rank = scores[0][static_cast<std::size_t>(sample[0][s])];
    EXPECT_GE(rank, 8.0 * static_cast<double>(s));
    EXPECT_LT(rank, 8.0 * static_cast<double>(s + 1));
  }
  EXPECT_EQ(stratified_sample(scores, 9, 3), sample);
  EXPECT_NE(stratified_sample(scores, 9, 4), sample);
  EXPECT_EQ(stratified_sample(scores, 1000, 3)[1].size(), 40);
  EXPECT_TRUE(stratified_sample(scores, 0, 3)[0].empty());
}

}  // namespace
}  // namespace costeff::audit
