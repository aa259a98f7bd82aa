// The phases of each stage: their steps, rates, warm-ups and losses, as docs/fidelity.md has them.
#include "costeff/methods/costeff.h"
#include "costeff/methods/pruning_round.h"
#include "costeff/train/stage.h"
#include "tensor/error.h"
#include "tests/support.h"

namespace costeff {
namespace {

using namespace testing;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Kind = LossTerm::Kind;
using Exits = LossTerm::Exits;

constexpr std::int64_t kHeads = 12;

Settings settings(const std::string& stage, Fidelity fidelity = Fidelity::paper) {
  Settings s = costeff_stage(stage).defaults;
  s.fidelity = fidelity;
  s.heads = 2;
  return s;
}

BertConfig backbone() {
  BertConfig config = BertConfig::plain(1000, 768, 12, kHeads, 3072);
  config.exits = ExitConfig{};
  return config;
}

// Which exits the terms of predictions read; none: there are no such terms.
std::optional<Exits> exits_read(const Phase& phase) {
  for (const LossTerm& term : phase.loss) {
    if (term.kind != Kind::hidden_states) return term.exits;
  }
  return std::nullopt;
}

std::vector<Phase> planned(const std::string& stage, const Settings& s, std::int64_t steps_per_epoch = 100) {
  return costeff_stage(stage).phases(decided(costeff_stage(stage), s), backbone(), steps_per_epoch);
}

template <class T>
std::vector<T> all(const std::vector<Phase>& phases, T Phase::*field) {
  std::vector<T> values;
  values.reserve(phases.size());
  for (const Phase& p : phases) values.push_back(p.*field);
  return values;
}

template <class F>
auto each(const std::vector<Phase>& phases, F of) {
  std::vector<decltype(of(phases[0]))> values;
  for (const Phase& p : phases) values.push_back(of(p));
  return values;
}

std::vector<std::string> names(const std::vector<Phase>& phases) {
  return all(phases, &Phase::name);
}
std::vector<std::int64_t> steps(const std::vector<Phase>& phases) {
  return all(phases, &Phase::steps);
}

// Schedules that span their phases, warm-up a tenth: all stages but slenderising.
void expect_whole_schedules(const std::vector<Phase>& phases) {
  for (const Phase& p : phases) {
    EXPECT_EQ(p.total, p.steps) << p.name;
    EXPECT_EQ(p.warmup, p.steps / 10) << p.name;
    EXPECT_EQ(p.hidden_steps, 0) << p.name;
    EXPECT_EQ(p.round, 0) << p.name;
  }
}

TEST(Plan, FinetuningIsOnePhase) {
  for (const Fidelity fidelity : {Fidelity::paper, Fidelity::release, Fidelity::tuned}) {
    const std::vector<Phase> phases = planned("finetune", settings("finetune", fidelity));
    ASSERT_THAT(steps(phases), ElementsAre(300));
    expect_whole_schedules(phases);
    EXPECT_EQ(phases[0].lr, 5e-5);
    EXPECT_TRUE(trains_predictions(phases[0]));
    EXPECT_FALSE(distils_hidden_states(phases[0]));
    EXPECT_EQ(exits_read(phases[0]), Exits::last);
  }
}

TEST(Plan, WarmUpIsAShareOrANumberOfSteps) {
  Settings s = settings("finetune");
  for (const auto& [warmup, expected] :
       std::vector<std::pair<double, std::int64_t>>{{0, 0}, {0.25, 75}, {0.999, 299}, {1, 1}, {40, 40}}) {
    s.warmup = warmup;
    EXPECT_EQ(planned("finetune", s)[0].warmup, expected) << warmup;
  }
}

TEST(Plan, MaxStepsCutsTheLastPhasesAndFitsTheirSchedules) {
  Settings s = settings("assist", Fidelity::release);
  s.max_steps = 250;
  std::vector<Phase> phases = planned("assist", s);
  EXPECT_THAT(names(phases), ElementsAre("features", "predictions"));
  EXPECT_THAT(steps(phases), ElementsAre(100, 150));
  expect_whole_schedules(phases);
  s.max_steps = 60;
  phases = planned("assist", s);
  EXPECT_THAT(names(phases), ElementsAre("features"));
  EXPECT_THAT(steps(phases), ElementsAre(60));
  expect_whole_schedules(phases);
  s.max_steps = 1000;
  EXPECT_THAT(steps(planned("assist", s)), ElementsAre(100, 300)) << "more than there are";
}

TEST(Plan, TheAssistantLearnsPredictionsAndUnderReleaseFeaturesFirst) {
  for (const Fidelity fidelity : {Fidelity::paper, Fidelity::tuned}) {
    const std::vector<Phase> phases = planned("assist", settings("assist", fidelity));
    ASSERT_THAT(steps(phases), ElementsAre(300)) << name_of(fidelity);
    EXPECT_FALSE(distils_hidden_states(phases[0]));
  }
  Settings s = settings("assist", Fidelity::release);
  s.epochs = 4;
  s.feature_lr = 7e-4;
  std::vector<Phase> phases = planned("assist", s);
  EXPECT_THAT(names(phases), ElementsAre("features", "predictions"));
  EXPECT_THAT(steps(phases), ElementsAre(133, 400)) << "a third of four epochs";
  expect_whole_schedules(phases);
  EXPECT_THAT(all(phases, &Phase::lr), ElementsAre(7e-4, 1e-4));
  EXPECT_THAT(each(phases, distils_hidden_states), ElementsAre(true, false));
  EXPECT_THAT(each(phases, trains_predictions), ElementsAre(false, true));
  s.exit_losses = ExitLosses::last;
  phases = planned("assist", s);
  EXPECT_EQ(exits_read(phases.back()), Exits::last);
}

TEST(Plan, TwoStagesShareTheSteps) {
  Settings s = settings("assist");
  s.two_stage = true;
  const std::vector<Phase> phases = planned("assist", s, 101);
  EXPECT_THAT(names(phases), ElementsAre("backbone", "exits"));
  EXPECT_THAT(steps(phases), ElementsAre(151, 152));
  expect_whole_schedules(phases);
  EXPECT_THAT(each(phases, exits_read), ElementsAre(Exits::last, Exits::early));
  EXPECT_THAT(each(phases, distils_hidden_states), Each(false));
}

TEST(Plan, RecoveryLearnsFeaturesAloneFirstUnlessTuned) {
  for (const Fidelity fidelity : {Fidelity::paper, Fidelity::release}) {
    const std::vector<Phase> phases = planned("recover", settings("recover", fidelity));
    EXPECT_THAT(names(phases), ElementsAre("features", "predictions")) << name_of(fidelity);
    EXPECT_THAT(steps(phases), ElementsAre(900, 900)) << name_of(fidelity);
    expect_whole_schedules(phases);
    EXPECT_THAT(all(phases, &Phase::lr), Each(8e-4));
    EXPECT_THAT(each(phases, distils_hidden_states), Each(true));
    EXPECT_THAT(each(phases, trains_predictions), ElementsAre(false, true));
  }
  Settings s = settings("recover", Fidelity::tuned);
  const std::vector<Phase> alone = planned("recover", s);
  EXPECT_THAT(names(alone), ElementsAre("features"));
  EXPECT_THAT(steps(alone), ElementsAre(900));
  EXPECT_FALSE(trains_predictions(alone[0]));
  s.prediction = Prediction::soft;
  EXPECT_THAT(names(planned("recover", s)), ElementsAre("predictions"));
  s.feature_epochs = 0.25;
  EXPECT_THAT(steps(planned("recover", s)), ElementsAre(25, 900));
  s.no_features = true;
  std::vector<Phase> phases = planned("recover", s);
  ASSERT_THAT(steps(phases), ElementsAre(900));
  EXPECT_FALSE(distils_hidden_states(phases[0]));
  s.no_features = false;
  s.prediction = Prediction::none;
  EXPECT_FALSE(trains_predictions(planned("recover", s).back()));
}

// lr (1 + restore)^r, multiplied out.
double rate(const Settings& s, std::int64_t round) {
  double lr = s.lr;
  for (std::int64_t r = 0; r < round; ++r) lr *= 1 + s.restore;
  return lr;
}

// 12 heads to 2 are 10 rounds; 303 steps are 30 each, and 33 in the last.
TEST(Plan, SlenderisingSharesItsStepsAmongTheRounds) {
  for (const Fidelity fidelity : {Fidelity::paper, Fidelity::tuned}) {
    const Settings s = settings("slenderise", fidelity);
    const std::vector<Phase> phases = planned("slenderise", s, 101);
    ASSERT_EQ(phases.size(), 10);
    for (std::int64_t r = 1; r <= 10; ++r) {
      const Phase& p = phases[static_cast<std::size_t>(r - 1)];
      EXPECT_EQ(p.name, fmt::format("round {}", r));
      EXPECT_EQ(p.round, r);
      EXPECT_EQ(p.steps, r < 10 ? 30 : 33);
      EXPECT_EQ(p.total, p.steps) << "no step has rate 0";
      EXPECT_EQ(p.warmup, 10) << "at least";
      EXPECT_NEAR(p.lr, rate(s, r), 1e-15);
      EXPECT_EQ(p.hidden_steps, r < 10 ? 15 : 0) << "the last round has both losses from its start";
      EXPECT_TRUE(distils_hidden_states(p));
      EXPECT_TRUE(trains_predictions(p));
      EXPECT_EQ(exits_read(p), Exits::all);
    }
  }
}

// A period of the unpruned student first: 303 steps are 11 periods of 27. Round r begins at the 0-based step
// 27 r - 1, and what is left after the last period has rate 0.
TEST(Plan, SlenderisingUnderReleaseBeginsAPeriodLater) {
  const Settings s = settings("slenderise", Fidelity::release);
  const std::vector<Phase> phases = planned("slenderise", s, 101);
  ASSERT_EQ(phases.size(), 11);
  std::int64_t begin = 0;
  for (std::int64_t r = 0; r <= 10; ++r) {
    const Phase& p = phases[static_cast<std::size_t>(r)];
    EXPECT_EQ(p.round, r);
    EXPECT_EQ(begin, r == 0 ? 0 : 27 * r - 1);
    EXPECT_EQ(p.total, 27);
    EXPECT_EQ(p.warmup, 10);
    EXPECT_NEAR(p.lr, rate(s, r), 1e-15);
    EXPECT_EQ(p.hidden_steps, r < 10 ? 13 : 0);
    begin += p.steps;
  }
  EXPECT_EQ(phases[0].name, "before round 1");
  EXPECT_EQ(begin, 303);
}

TEST(Plan, APeriodIsACountOrAShareOfAnEpoch) {
  Settings s = settings("slenderise");
  s.rounds = 3;
  s.feature_share = 0.7;
  for (const auto& [period, expected] :
       std::vector<std::pair<double, std::int64_t>>{{0, 1000}, {200, 200}, {0.25, 250}, {0.9999, 999}}) {
    s.period = period;
    const std::vector<Phase> phases = planned("slenderise", s, 1000);
    EXPECT_THAT(steps(phases), ElementsAre(expected, expected, 3000 - 2 * expected)) << period;
    EXPECT_THAT(all(phases, &Phase::warmup), Each(expected / 10)) << period;
    EXPECT_THAT(all(phases, &Phase::hidden_steps), ElementsAre(expected * 7 / 10, expected * 7 / 10, 0));
    EXPECT_EQ(phases.back().total, phases.back().steps);
  }
  s.fidelity = Fidelity::release;
  s.period = 200;
  const std::vector<Phase> phases = planned("slenderise", s, 1000);
  EXPECT_THAT(steps(phases), ElementsAre(199, 200, 200, 2401));
  EXPECT_THAT(all(phases, &Phase::total), Each(200));
}

TEST(Plan, MaxStepsOfSlenderisingAreSharedOut) {
  Settings s = settings("slenderise");
  s.max_steps = 105;
  const std::vector<Phase> phases = planned("slenderise", s);
  EXPECT_THAT(steps(phases), ElementsAre(10, 10, 10, 10, 10, 10, 10, 10, 10, 15));
  s.max_steps = 9;
  EXPECT_THAT(message_of<UsageError>([&] { planned("slenderise", s); }), HasSubstr("9 steps"));
  s.max_steps = 10;
  EXPECT_EQ(planned("slenderise", s).size(), 10);
  s.fidelity = Fidelity::release;
  EXPECT_THROW(planned("slenderise", s), UsageError) << "a period comes first";
  s.fidelity = Fidelity::paper;
  s.max_steps = 99;
  s.period = 10;
  EXPECT_THROW(planned("slenderise", s), UsageError);
}

TEST(Plan, WhatSlenderisingLearnsFrom) {
  Settings s = settings("slenderise");
  s.no_features = true;
  s.exit_losses = ExitLosses::last;
  std::vector<Phase> phases = planned("slenderise", s);
  EXPECT_THAT(each(phases, distils_hidden_states), Each(false));
  EXPECT_THAT(all(phases, &Phase::hidden_steps), Each(0));
  EXPECT_THAT(each(phases, exits_read), Each(Exits::last));
  s.no_features = false;
  s.prediction = Prediction::none;
  phases = planned("slenderise", s);
  EXPECT_THAT(each(phases, trains_predictions), Each(false));
}

TEST(Plan, ARoundTakesAHeadUnlessTheirNumberIsGiven) {
  Settings s = settings("slenderise");
  EXPECT_EQ(rounds_of(s, kHeads), 10);
  s.heads = 12;
  EXPECT_EQ(rounds_of(s, kHeads), 4) << "no head goes";
  s.rounds = 7;
  EXPECT_EQ(rounds_of(s, kHeads), 7);
}

}  // namespace
}  // namespace costeff
