// What a step trains and by which loss, and how exits are chosen and models made slender by the settings.
#include "costeff/methods/costeff.h"
#include "costeff/methods/pruning_round.h"
#include "costeff/train/stage.h"
#include "costeff/train/stage_data.h"
#include "costeff/train/step_loss.h"
#include "costeff/train/student.h"
#include "tests/costeff/support.h"
#include "tests/support.h"

namespace costeff {
namespace {

using namespace testing;

constexpr std::int64_t kLayers = 3;

std::unique_ptr<Bert> model_with(const std::optional<ExitConfig>& exits, std::uint64_t seed) {
  BertConfig config = small_config();
  config.exits = exits;
  auto model = std::make_unique<Bert>(std::move(config), DType::f64);
  model->initialise(seed);
  return model;
}

// ---- freeze_for

// Of a parameter by its name: whether it is frozen, and whether it is fixed.
void expect_frozen(const Phase& phase, bool hidden_alone,
                   const std::function<bool(const std::string& name)>& frozen,
                   const std::function<bool(const std::string& name)>& fixed = nullptr) {
  const auto model = model_with(ExitConfig{.dense = true}, 1);
  model->parameters().freeze([](const WeightRole& role) { return role.piece == Piece::bias; });
  freeze_for(phase, hidden_alone, *model);
  for (const NamedTensor& t : model->parameters().named()) {
    EXPECT_EQ(t.parameter->frozen, frozen(t.name)) << t.name;
    EXPECT_EQ(t.parameter->fixed, fixed != nullptr && fixed(t.name)) << t.name;
  }
}

bool holds(const std::string& name, const char* part) {
  return name.find(part) != std::string::npos;
}

TEST(FreezeFor, WhatTheLossesDoNotReach) {
  const auto highway = [](const std::string& name) { return holds(name, "highway"); };
  const auto exit = [](const std::string& name) {
    return holds(name, "classifier") || holds(name, "pooler");
  };
  for (const bool labels : {false, true}) {
    const auto term = [&](LossTerm::Exits exits) {
      return labels ? labels_term(1, exits) : logits_term(1, 2, exits);
    };
    const auto phase = [&](LossTerm::Exits exits, bool exits_only = false) {
      Phase p;
      p.loss = {term(exits), states_term()};
      p.exits_only = exits_only;
      return p;
    };
    expect_frozen(phase(LossTerm::Exits::all), false, [](const std::string&) { return false; });
    expect_frozen(phase(LossTerm::Exits::last), false, highway);
    expect_frozen(phase(LossTerm::Exits::early, true), false,
                  [&](const std::string& n) { return !highway(n); });
    expect_frozen(phase(LossTerm::Exits::all), true, exit);
    expect_frozen(phase(LossTerm::Exits::last), true, exit);
    Phase clipped = phase(LossTerm::Exits::early, true);
    clipped.clip_by_all = true;
    expect_frozen(
        clipped, false, [&](const std::string& n) { return exit(n) && !highway(n); },
        [&](const std::string& n) { return !exit(n); });
  }
}

// ---- choose_pooling

EncodedDataset beginning_alike(std::size_t sentences) {
  EncodedDataset data = random_dataset(sentences);
  for (std::size_t i = 0; i < data.size(); ++i) data.ids[data.offsets[i]] = 1;  // [CLS]
  return data;
}

Tensor attention_output(const Bert& model, std::int64_t k) {
  return model.parameters()
      .find(fmt::format("bert.encoder.layer.{}.attention.output.dense.weight", k - 1))
      .value();
}

// Without attention in layer 1 its [CLS] knows nothing of the sentence; that of layer 2 does.
TEST(ChoosePooling, MeanWhereClsKnowsNothingOfItsSentence) {
  const EncodedDataset data = beginning_alike(20);
  const auto model = model_with(std::nullopt, 2);
  EXPECT_EQ(choose_pooling(*model, data, 1), Pooling::cls);
  attention_output(*model, 1).fill(0);
  EXPECT_EQ(choose_pooling(*model, data, 1), Pooling::mean);
  EXPECT_EQ(choose_pooling(*model, data, 2), Pooling::cls);
}

// The mean over units of the deviation between sentences of one row each, in two passes.
double spread(const std::vector<std::vector<double>>& rows) {
  double total = 0;
  for (std::size_t u = 0; u < rows[0].size(); ++u) {
    double mean = 0, squares = 0;
    for (const auto& row : rows) mean += row[u] / static_cast<double>(rows.size());
    for (const auto& row : rows) squares += (row[u] - mean) * (row[u] - mean);
    total += std::sqrt(squares / static_cast<double>(rows.size()));
  }
  return total / static_cast<double>(rows[0].size());
}

// The weaker its attention, the less [CLS] knows: the choice turns where its spread is a tenth of the mean's.
TEST(ChoosePooling, TurnsAtATenth) {
  const EncodedDataset data = beginning_alike(20);
  int by_cls = 0, by_mean = 0;
  for (const double strength : {1.0, 0.5, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.01}) {
    const auto model = model_with(std::nullopt, 2);
    const Tensor w = attention_output(*model, 1);
    for (double& x : w.span<double>()) x *= strength;
    const Batch batch = batch_of(data, 0, 20);
    const Tensor state = teach(*model, token_batch(batch)).hidden[1];
    std::vector<std::vector<double>> cls, mean;
    for (std::size_t s = 0; s < batch.sequences(); ++s) {
      std::vector<double>& first = cls.emplace_back();
      std::vector<double>& average = mean.emplace_back();
      for (std::int64_t u = 0; u < 24; ++u) {
        first.push_back(state.at(batch.offsets[s] * 24 + u));
        double sum = 0;
        for (std::int64_t t = 0; t < batch.lengths[s]; ++t) sum += state.at((batch.offsets[s] + t) * 24 + u);
        average.push_back(sum / batch.lengths[s]);
      }
    }
    const bool telling = spread(cls) >= 0.1 * spread(mean);
    EXPECT_EQ(choose_pooling(*model, data, 1), telling ? Pooling::cls : Pooling::mean) << strength;
    ++(telling ? by_cls : by_mean);
  }
  EXPECT_GT(by_cls, 1);
  EXPECT_GT(by_mean, 1);
}

// It was pre-trained with mean pooling.
TEST(ChoosePooling, MeanForTheDefaultBackbone) {
  if (!is_model_folder(backbone_folder())) GTEST_SKIP() << "no backbone: run tools/fetch_backbone.sh";
  const Classifier backbone = load_classifier(backbone_folder(), {.labels = {"0", "1"}});
  Settings s;
  s.task = "SST-2";
  s.data = testing::source_dir() + "/data/samples/SST-2";
  const EncodedDataset dev =
      load_data(s, task_of(s), backbone.tokenizer, backbone.model->config(), [](const std::string&) {}).dev;
  EXPECT_EQ(choose_pooling(*backbone.model, dev, 1), Pooling::mean);
}

// ---- step_loss

class StepLoss : public ::testing::Test {
 protected:
  StepLoss() { settings_.temperature = 2; }

  // Settings and whether hidden states are distilled, as a phase.
  Phase phase(bool features, std::optional<LossTerm::Exits> exits = std::nullopt) const {
    Phase p;
    p.loss = prediction_terms(settings_, exits);
    if (features) p.loss.push_back(states_term());
    return p;
  }
  Variable loss(Forward& forward, const Phase& phase, bool features_alone = false) const {
    return step_loss(phase, features_alone, *student_, &teacher_, forward, batch_, tokens_);
  }
  double value(const Phase& phase, bool features_alone = false) const {
    Forward forward;
    return loss(forward, phase, features_alone).value().item();
  }

  // ---- the losses of Eq. 4 and 5 by their formulas
  static std::vector<double> log_softmax(const Tensor& logits, std::int64_t row, double temperature) {
    std::vector<double> z;
    double sum = 0;
    for (std::int64_t c = 0; c < 3; ++c) z.push_back(logits.at(3 * row + c) / temperature);
    for (const double x : z) sum += std::exp(x);
    for (double& x : z) x -= std::log(sum);
    return z;
  }
  double soft(std::int64_t exit) const {
    double sum = 0;
    for (std::int64_t s = 0; s < sequences_; ++s) {
      const auto q = log_softmax(said_.exit(exit), s, 2), p = log_softmax(answered_.exit(exit), s, 2);
      for (std::size_t c = 0; c < 3; ++c) sum -= std::exp(q[c]) * p[c];
    }
    return sum / static_cast<double>(sequences_);
  }
  double hard(std::int64_t exit) const {
    double sum = 0;
    for (std::int64_t s = 0; s < sequences_; ++s) {
      const auto label = static_cast<std::size_t>(batch_.labels[static_cast<std::size_t>(s)]);
      sum -= log_softmax(answered_.exit(exit), s, 1)[label];
    }
    return sum / static_cast<double>(sequences_);
  }
  double features() const {
    double sum = 0;
    for (std::size_t i = 0; i <= kLayers; ++i) {
      for (std::size_t s = 0; s < batch_.sequences(); ++s) {
        const std::int64_t begin = 24 * batch_.offsets[s], count = 24 * batch_.lengths[s];
        double squares = 0;
        for (std::int64_t at = begin; at < begin + count; ++at)
          squares += std::pow(said_.hidden[i].at(at) - answered_.hidden[i].at(at), 2);
        sum += squares / static_cast<double>(count);
      }
    }
    return sum / static_cast<double>(sequences_);
  }

  std::unique_ptr<Bert> student_ = model_with(ExitConfig{}, 5);
  Teacher teacher_{model_with(ExitConfig{}, 6)};
  EncodedDataset data_ = random_dataset(6);
  Batch batch_ = batch_of(data_, 0, 6);
  TokenBatch tokens_ = token_batch(batch_);
  std::int64_t sequences_ = 6;
  TeacherOutputs said_ = teach(teacher_.model(), tokens_);
  TeacherOutputs answered_ = teach(*student_, tokens_);
  Settings settings_;
};

TEST_F(StepLoss, LearnsFromWhatPredictionSays) {
  const double all_soft = soft(1) + soft(2) + soft(3), all_hard = hard(1) + hard(2) + hard(3);
  const std::vector<std::pair<Prediction, double>> cases = {{Prediction::soft, all_soft},
                                                            {Prediction::hard, all_hard},
                                                            {Prediction::both, (all_soft + all_hard) / 2}};
  for (const auto& [prediction, expected] : cases) {
    settings_.prediction = prediction;
    EXPECT_NEAR(value(phase(false)), expected, 1e-10) << name_of(prediction);
    EXPECT_NEAR(value(phase(true)), expected + features(), 1e-10) << name_of(prediction);
    EXPECT_NEAR(value(phase(true), true), features(), 1e-10) << name_of(prediction);
  }
  settings_.prediction = Prediction::none;
  EXPECT_NEAR(value(phase(true)), features(), 1e-10);
}

TEST_F(StepLoss, OfTheExitsThatThePhaseTrains) {
  settings_.prediction = Prediction::soft;
  EXPECT_NEAR(value(phase(false, LossTerm::Exits::last)), soft(3), 1e-10);
  EXPECT_NEAR(value(phase(false, LossTerm::Exits::early)), soft(1) + soft(2), 1e-10);
  EXPECT_NEAR(value(phase(true, LossTerm::Exits::last)), soft(3) + features(), 1e-10);
  settings_.prediction = Prediction::hard;
  EXPECT_NEAR(value(phase(false, LossTerm::Exits::last)), hard(3), 1e-10);
}

// Layer 1 gets a third of the gradient with three layers above and in it.
TEST_F(StepLoss, IsEqualisedUnlessToldNotTo) {
  settings_.prediction = Prediction::soft;
  const auto gradient = [&](bool equalise) {
    Tape tape;
    Forward forward(tape);
    Phase p = phase(true);
    p.equalise = equalise;
    const Gradients found = tape.backward(loss(forward, p));
    const NamedTensor w = student_->parameters().find("bert.encoder.layer.0.output.dense.weight");
    return found.of(tape.parameter(*w.parameter));
  };
  const Tensor equalised = gradient(true), plain = gradient(false);
  EXPECT_LT(largest_difference(scale(Variable(equalised), kLayers).value(), plain), 1e-12);
  EXPECT_GT(largest_difference(equalised, plain), 1e-6);
}

// Exit i counts i / (1 + 2 + 3), as PABEE has it.
TEST_F(StepLoss, ExitsMayCountByTheirDepth) {
  Phase p;
  p.loss = {labels_term(1)};
  p.loss[0].exit_weights = ExitWeights::by_depth;
  EXPECT_NEAR(value(p), (hard(1) + 2 * hard(2) + 3 * hard(3)) / 6, 1e-10);
  p.loss = {logits_term(1, 2)};
  p.loss[0].exit_weights = ExitWeights::by_depth;
  EXPECT_NEAR(value(p), (soft(1) + 2 * soft(2) + 3 * soft(3)) / 6, 1e-10);
}

// A map that names each layer's own state changes nothing; another one compares with the states that it
// names.
TEST_F(StepLoss, AMapSaysWhichStateOfTheTeacherALayerLearns) {
  Phase p;
  p.loss = {states_term()};
  p.loss[0].layer_map = {0, 1, 2, 3};
  EXPECT_NEAR(value(p), features(), 1e-10);
  p.loss[0].layer_map = {3, 0, 0, 1};
  const std::vector<Tensor> own = said_.hidden;
  said_.hidden = {own[3], own[0], own[0], own[1]};
  EXPECT_NEAR(value(p), features(), 1e-10);
  p.loss[0].layer_map = {0, 1};
  EXPECT_THROW(value(p), Error);
}

TEST_F(StepLoss, WithoutATeacherLabelsTeachTheOneExit) {
  const auto model = model_with(std::nullopt, 7);
  answered_ = teach(*model, tokens_);
  ASSERT_EQ(answered_.first, kLayers);
  Forward forward;
  Phase labels;
  labels.loss = {labels_term(1, LossTerm::Exits::last)};
  const Variable found = step_loss(labels, false, *model, nullptr, forward, batch_, tokens_);
  double expected = 0;
  for (std::int64_t s = 0; s < sequences_; ++s) {
    const auto label = static_cast<std::size_t>(batch_.labels[static_cast<std::size_t>(s)]);
    expected -= log_softmax(answered_.logits[0], s, 1)[label] / static_cast<double>(sequences_);
  }
  EXPECT_NEAR(found.value().item(), expected, 1e-10);
}

// ---- slenderise

class SlenderiseBySettings : public ::testing::Test {
 protected:
  SlenderiseBySettings() {
    settings_ = decided(costeff_stage("slenderise"), settings_);
    settings_.heads = 2;
    settings_.ffn = 20;
    settings_.rank = 4;
    settings_.calibration = 8;
    settings_.batch = 3;
  }

  std::unique_ptr<Bert> slender(std::int64_t round = 1) const {
    return slenderise({settings_, round, 2, student_->config(), *student_, teacher_, data_});
  }

  std::unique_ptr<Bert> student_ = model_with(ExitConfig{}, 5);
  Teacher teacher_{model_with(ExitConfig{}, 6)};
  EncodedDataset data_ = random_dataset(12);
  Settings settings_;
};

TEST_F(SlenderiseBySettings, GivesARoundItsSizes) {
  const BertConfig half = slender(1)->config();
  EXPECT_EQ(half.heads, std::vector<std::int64_t>(3, 3));
  EXPECT_EQ(half.ffn, std::vector<std::int64_t>(3, 30));
  EXPECT_EQ(half.embedding_rank, 14);
  settings_.budget = Budget::global;
  const BertConfig global = slender(2)->config();
  EXPECT_EQ(global.heads[0] + global.heads[1] + global.heads[2], 6);
  EXPECT_EQ(global.ffn[0] + global.ffn[1] + global.ffn[2], 60);
  EXPECT_NE(global.ffn, std::vector<std::int64_t>(3, 20));
  settings_.rank = -1;
  EXPECT_EQ(slender(2)->config().embedding_rank, -1);
}

// The word pieces' counts, and a tenth for those that do not occur.
TEST_F(SlenderiseBySettings, WeighsTheEmbeddingByCounts) {
  std::vector<double> counts(60, 0.1);
  for (const std::int32_t id : data_.ids) counts[static_cast<std::size_t>(id)] += 1;
  const auto word_rows = [](const Bert& model) {
    return model.parameters().find("bert.embeddings.word_embeddings1.weight").value();
  };
  ASSERT_EQ(settings_.embedding, EmbeddingKind::weighted);
  EXPECT_LT(largest_difference(word_rows(*slender()), word_rows(*factorise(*student_, 14, counts))), 1e-12);
  settings_.embedding = EmbeddingKind::plain;
  EXPECT_LT(largest_difference(word_rows(*slender()), word_rows(*factorise(*student_, 14))), 1e-12);
}

// Random scores heed nothing but seed and round; those of a loss heed the exits that it has.
TEST_F(SlenderiseBySettings, EachImportanceKeepsOtherNeurons) {
  std::vector<std::vector<std::vector<std::int64_t>>> kept;
  for (const auto importance :
       {ImportanceKind::paper, ImportanceKind::release, ImportanceKind::last_exit, ImportanceKind::random}) {
    settings_.importance = importance;
    kept.push_back(slender()->config().kept_neurons);
    EXPECT_EQ(slender()->config().kept_neurons, kept.back());
    for (std::size_t i = 0; i + 1 < kept.size(); ++i) EXPECT_NE(kept[i], kept.back()) << name_of(importance);
  }
  settings_.seed = 2;
  EXPECT_NE(slender()->config().kept_neurons, kept.back()) << "another seed";
  settings_.importance = ImportanceKind::paper;
  settings_.exit_losses = ExitLosses::last;
  settings_.seed = 1;
  EXPECT_EQ(slender()->config().kept_neurons, kept[2]) << "of the one exit that is trained";
}

// A student that is its own teacher learns nothing from it: whatever the share of hard labels, they alone
// have a gradient, and which units it keeps is theirs to say.
TEST_F(SlenderiseBySettings, HardLabelsSpeakWhereTheTeacherHasNothingToSay) {
  const Teacher itself(model_with(ExitConfig{}, 5));
  const auto kept = [&](const Teacher& teacher, double hard) {
    settings_.importance_hard = hard;
    return slenderise({settings_, 1, 2, student_->config(), *student_, teacher, data_})
        ->config()
        .kept_neurons;
  };
  EXPECT_EQ(kept(itself, 0.1), kept(itself, 1));
  EXPECT_NE(kept(itself, 0), kept(itself, 1));
  EXPECT_NE(kept(teacher_, 0.1), kept(itself, 0.1)) << "another teacher has";
}

}  // namespace
}  // namespace costeff
