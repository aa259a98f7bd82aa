// The audit of importance against pruned models evaluated from scratch, finite differences, and identities;
// all in f64.
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <numeric>

#include "costeff/audit/importance_compare.h"
#include "costeff/rank_statistics.h"
#include "costeff/slenderise.h"
#include "tests/costeff/support.h"

namespace costeff::audit {
namespace {

using namespace costeff::testing;

Tokenizer any_tokenizer() {
  const std::string file = fmt::format("{}costeff_vocabulary_{}.txt", ::testing::TempDir(), getpid());
  std::ofstream(file) << "[PAD]\n[UNK]\n[CLS]\n[SEP]\n";
  Tokenizer tokenizer = Tokenizer::from_file(file);
  std::remove(file.c_str());
  return tokenizer;
}

std::unique_ptr<Bert> made(std::uint64_t seed, std::optional<ExitConfig> exits) {
  BertConfig config = small_config();
  config.exits = std::move(exits);
  auto model = std::make_unique<Bert>(std::move(config), DType::f64);
  model->initialise(seed);
  return model;
}

// Ten sentences in batches of 4, 4 and 2; three layers of 4 heads and 40 neurons.
Subject make_subject(bool taught, const ExitConfig& exits = {}) {
  EncodedDataset data = random_dataset(10);
  std::vector<Batch> batches = {batch_of(data, 0, 4), batch_of(data, 4, 8), batch_of(data, 8, 10)};
  Settings settings = default_settings(Stage::recover);
  settings.temperature = 2;
  std::unique_ptr<Teacher> teacher;
  if (taught) teacher = std::make_unique<Teacher>(made(8, std::nullopt));
  return {settings,
          {},
          custom_task("sentence,label", "0,1,2"),
          {"", any_tokenizer(), made(7, exits)},
          std::move(teacher),
          std::move(data),
          std::move(batches)};
}

// The loss of each exit and of the features, of any model, with nothing but multi_exit().
SampleLoss from_scratch(const Subject& subject, const Bert& model, bool labels) {
  SampleLoss sum;
  for (const Batch& batch : subject.batches) {
    const TokenBatch tokens = token_batch(batch);
    Forward forward;
    const MultiExitOutputs out = multi_exit(model, forward, tokens, false);
    const double share = static_cast<double>(batch.sequences()) / static_cast<double>(subject.data.size());
    sum.exits.resize(out.logits.size());
    for (std::int64_t i = out.first; i <= out.last(); ++i) {
      const MultiExitOutputs exit{i, {out.exit(i)}, out.hidden};
      const Variable loss =
          labels ? hard_loss(exit, batch)
                 : prediction_loss(exit, (*subject.teacher)(batch, tokens), subject.training.temperature);
      sum.exits[static_cast<std::size_t>(i - out.first)] += share * loss.value().item();
    }
    if (subject.teacher != nullptr)
      sum.features +=
          share * feature_loss(out, (*subject.teacher)(batch, tokens), tokens.layout).value().item();
  }
  return sum;
}

std::vector<std::int64_t> all_but(std::int64_t width, std::span<const std::int64_t> without) {
  std::vector<std::int64_t> kept;
  for (std::int64_t i = 0; i < width; ++i) {
    if (std::find(without.begin(), without.end(), i) == without.end()) kept.push_back(i);
  }
  return kept;
}

void expect_change_of_pruned(const Subject& subject, bool labels, Units units, std::int64_t k,
                             const std::vector<std::int64_t>& places) {
  const Bert& model = *subject.student.model;
  Kept kept;
  for (std::int64_t j = 1; j <= 3; ++j) {
    const bool here = j == k;
    kept.heads.push_back(all_but(4, here && units == Units::heads ? places : std::vector<std::int64_t>()));
    kept.neurons.push_back(
        all_but(40, here && units == Units::neurons ? places : std::vector<std::int64_t>()));
  }
  const SampleLoss whole = from_scratch(subject, model, labels);
  const SampleLoss pruned = from_scratch(subject, *prune(model, kept), labels);
  const RemovalSweep sweep(subject, labels ? "labels" : "predictions");
  const SampleLoss change = sweep.change(units, k, places);
  ASSERT_EQ(change.exits.size(), whole.exits.size());
  const std::int64_t first = model.config().first_exit();
  for (std::size_t i = 0; i < whole.exits.size(); ++i) {
    EXPECT_NEAR(sweep.loss().exits[i], whole.exits[i], 1e-12);
    EXPECT_NEAR(change.exits[i], pruned.exits[i] - whole.exits[i], 1e-12) << "layer " << k << " exit " << i;
    if (first + static_cast<std::int64_t>(i) < k) {
      EXPECT_EQ(change.exits[i], 0);
    } else {
      EXPECT_NE(change.exits[i], 0);
    }
  }
  EXPECT_NEAR(change.features, pruned.features - whole.features, 1e-12);
}

TEST(AuditRemoval, IsWhatPruningDoes) {
  const Subject taught = make_subject(true), alone = make_subject(false);
  for (std::int64_t k = 1; k <= 3; ++k) {
    for (const Subject* subject : {&taught, &alone}) {
      expect_change_of_pruned(*subject, subject == &alone, Units::heads, k, {k});
      expect_change_of_pruned(*subject, subject == &alone, Units::neurons, k, {13 * k});
    }
  }
  expect_change_of_pruned(taught, true, Units::heads, 2, {0, 2, 3});
  expect_change_of_pruned(taught, false, Units::neurons, 1, {0, 5, 39});
}

TEST(AuditRemoval, ReadsSeveralStatesAndLaterFirstExits) {
  expect_change_of_pruned(make_subject(true, {.pooling = Pooling::mean, .last_hidden = 2}), false,
                          Units::heads, 3, {1});
  expect_change_of_pruned(make_subject(true, {.first = 3}), false, Units::heads, 1, {1});
}

TEST(AuditRemoval, PutsTheWeightsBack) {
  const Subject subject = make_subject(true);
  const Tensor& values = subject.student.model->parameters().values();
  const Tensor before = values.clone();
  const RemovalSweep sweep(subject, "predictions");
  const std::int64_t places[] = {0, 3};
  for (std::int64_t k = 1; k <= 3; ++k) {
    sweep.change(Units::heads, k, places);
    sweep.change(Units::neurons, k, places);
  }
  EXPECT_EQ(std::memcmp(before.raw(), values.raw(), values.bytes()), 0);
  const std::int64_t outside[] = {4};
  EXPECT_THROW(sweep.change(Units::heads, 1, outside), Error);
}

class AuditScores : public ::testing::Test {
 protected:
  std::vector<SourceScores> scores(bool equalise = false) const {
    return score_sources(subject_, loss_sources(subject_, "predictions"), "predictions", equalise,
                         [](std::int64_t, std::int64_t) {});
  }

  // Multiplies rows or columns of a weight: those of unit `place`, `width` each.
  void scale(const std::string& name, bool columns, std::int64_t place, std::int64_t width,
             double factor) const {
    const Tensor w = subject_.student.model->parameters().find(name).value();
    const std::int64_t rows = w.shape()[0], cols = w.numel() / rows;
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < cols; ++c) {
        if ((columns ? c : r) / width == place) w.data<double>()[r * cols + c] *= factor;
      }
    }
  }

  void scale_unit(Units units, std::int64_t k, std::int64_t place, bool gate, double factor) const {
    const std::string layer = fmt::format("bert.encoder.layer.{}.", k - 1);
    const bool heads = units == Units::heads;
    const std::int64_t width = heads ? subject_.student.model->config().head_dim : 1;
    scale(layer + (heads ? "attention.output.dense.weight" : "output.dense.weight"), true, place, width,
          factor);
    if (gate) return;
    for (const char* name : {"query", "key", "value"}) {
      if (!heads) continue;
      scale(fmt::format("{}attention.self.{}.weight", layer, name), false, place, width, factor);
      scale(fmt::format("{}attention.self.{}.bias", layer, name), false, place, width, factor);
    }
    if (heads) return;
    scale(layer + "intermediate.dense.weight", false, place, 1, factor);
    scale(layer + "intermediate.dense.bias", false, place, 1, factor);
  }

  // dL/dz, where z multiplies the unit's weights.
  SampleLoss derivative(Units units, std::int64_t k, std::int64_t place, bool gate) const {
    constexpr double kStep = 1e-4;
    const Tensor before = subject_.student.model->parameters().values().clone();
    const auto at = [&](double factor) {
      scale_unit(units, k, place, gate, factor);
      SampleLoss loss = from_scratch(subject_, *subject_.student.model, false);
      subject_.student.model->parameters().values().copy_from(before);
      return loss;
    };
    const SampleLoss up = at(1 + kStep), down = at(1 - kStep);
    SampleLoss d{up.exits, (up.features - down.features) / (2 * kStep)};
    for (std::size_t i = 0; i < d.exits.size(); ++i) d.exits[i] = (up.exits[i] - down.exits[i]) / (2 * kStep);
    return d;
  }

  static double number(const ImportanceScores& sums, Units units, std::int64_t k, std::int64_t place) {
    const ByLayer& layers = units == Units::heads ? sums.heads : sums.neurons;
    return layers[static_cast<std::size_t>(k - 1)][static_cast<std::size_t>(place)];
  }

  const Subject subject_ = make_subject(true);
};

TEST_F(AuditScores, SignedSumsAreDerivatives) {
  // Biases are 0 in a new model: they would not count.
  for (const NamedTensor& t : subject_.student.model->parameters().named()) {
    if (t.name.ends_with(".bias")) initialise_normal(t.value(), t.name, 0.2, 5);
  }
  const std::vector<SourceScores> found = scores();
  ASSERT_EQ(found.size(), 7);  // predictions, exits 1 to 3, labels, features, all
  for (const Units units : {Units::heads, Units::neurons}) {
    for (std::int64_t k = 1; k <= 3; ++k) {
      const std::int64_t place = units == Units::heads ? k : 11 * k;
      for (const bool gate : {false, true}) {
        const SampleLoss d = derivative(units, k, place, gate);
        const auto sum = [&](std::size_t source) {
          return number(gate ? found[source].gate : found[source].paper, units, k, place);
        };
        EXPECT_GT(std::abs(sum(0)), 1e-5);
        EXPECT_NEAR(sum(0), d.total(), 1e-7) << "layer " << k << (gate ? " gate" : "");
        for (std::size_t i = 1; i <= 3; ++i) EXPECT_NEAR(sum(i), d.exits[i - 1], 1e-7) << "exit " << i;
        EXPECT_NEAR(sum(5), d.features, 1e-7);
      }
    }
  }
}

TEST_F(AuditScores, SourcesAddUp) {
  const std::vector<SourceScores> s = scores();
  EXPECT_EQ(s[0].source.name, "predictions");
  EXPECT_EQ(s[6].source.name, "all");
  for (const Units units : {Units::heads, Units::neurons}) {
    for (std::int64_t k = 1; k <= 3; ++k) {
      for (std::int64_t place = 0; place < 4; ++place) {
        const auto of = [&](std::size_t i) { return number(s[i].paper, units, k, place); };
        EXPECT_NEAR(of(1) + of(2) + of(3), of(0), 1e-13);
        EXPECT_NEAR(of(0) + of(5), of(6), 1e-13);
        if (k == 3) {
          EXPECT_EQ(of(1), 0);
          EXPECT_EQ(of(2), 0);
        }
      }
    }
  }
}

TEST_F(AuditScores, AreThoseOfSlenderising) {
  const SourceScores all = scores().back();
  for (const Fidelity fidelity : {Fidelity::paper, Fidelity::release}) {
    Importance importance(*subject_.student.model, fidelity);
    for (const Batch& batch : subject_.batches) {
      importance.add(batch, [&](Forward& forward, const Batch& b, const TokenBatch& tokens) {
        return importance_loss(multi_exit(*subject_.student.model, forward, tokens, false),
                               (*subject_.teacher)(b, tokens), b, tokens.layout, 2, 0, Fidelity::paper);
      });
    }
    const ImportanceScores expected = importance.scores();
    const ImportanceScores& found = fidelity == Fidelity::paper ? all.paper : all.release;
    for (const Units units : {Units::heads, Units::neurons}) {
      for (std::int64_t k = 1; k <= 3; ++k) {
        for (std::int64_t place = 0; place < (units == Units::heads ? 4 : 40); ++place) {
          const double score = number(expected, units, k, place);
          EXPECT_NEAR(std::abs(number(found, units, k, place)), score, 1e-12 * std::max(1.0, score));
        }
      }
    }
  }
}

// What the page says of the paper's sum: W_V with its bias and W_O count the same thing.
TEST_F(AuditScores, ValuesAndOutputsOfAHeadSayTheSame) {
  const Batch& batch = subject_.batches[0];
  const TokenBatch tokens = token_batch(batch);
  Tape tape;
  Forward forward(tape);
  const Gradients gradients =
      tape.backward(hard_loss(multi_exit(*subject_.student.model, forward, tokens, false), batch));
  ImportanceScores gate = zero_scores(subject_.student.model->config());
  const auto of = [&](Parameter& p) { return gradients.of(tape.parameter(p)); };
  add_unit_sums(*subject_.student.model, UnitSum::gate, 1, of, gate);
  for (std::size_t k = 0; k < 3; ++k) {
    std::vector<double> values(4);
    for (const char* name : {"weight", "bias"}) {
      const NamedTensor t = subject_.student.model->parameters().find(
          fmt::format("bert.encoder.layer.{}.attention.self.value.{}", k, name));
      const Tensor g = of(*t.parameter).slice(t.begin, t.end), w = t.value();
      const std::int64_t unit = w.numel() / 4;
      for (std::int64_t i = 0; i < w.numel(); ++i)
        values[static_cast<std::size_t>(i / unit)] += g.data<double>()[i] * w.data<double>()[i];
    }
    for (std::size_t a = 0; a < 4; ++a) EXPECT_NEAR(values[a], gate.heads[k][a], 1e-13);
  }
}

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
  EXPECT_NEAR(found(Layers::plain).kendall_across, kendall(score, truth), 1e-12);
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
  ASSERT_EQ(m.names[0], "removal");
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
