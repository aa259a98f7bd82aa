// Early exit in batches against batches of one, and against every exit's logits at full depth.
#include "costeff/exits/early_exit.h"

#include "costeff/exits/multi_exit.h"
#include "tests/allocations.h"
#include "tests/costeff/support.h"

namespace costeff {
namespace {

using namespace testing;

struct Case {
  std::string name;
  std::optional<ExitConfig> exits;
};

const std::vector<Case> kCases = {
    {"cls", ExitConfig{}},
    {"mean", ExitConfig{.pooling = Pooling::mean}},
    {"cls_from_2", ExitConfig{.first = 2, .dense = true}},
    {"mean_from_3", ExitConfig{.first = 3, .pooling = Pooling::mean}},
    {"cls_of_2", ExitConfig{.last_hidden = 2}},
    {"cls_of_3_averaged", ExitConfig{.mode = HiddenMode::average, .last_hidden = 3}},
    {"mean_of_2", ExitConfig{.pooling = Pooling::mean, .last_hidden = 2, .dense = true}},
    {"mean_of_3_from_2", ExitConfig{.first = 2, .pooling = Pooling::mean, .last_hidden = 3}},
    {"cls_of_9_from_4", ExitConfig{.first = 4, .last_hidden = 9}},
    {"plain", std::nullopt},
};

// Five layers that differ in heads and width; classifiers so large that entropies spread from 0 to ln 3.
Bert spread_model(const std::optional<ExitConfig>& exits, DType dtype) {
  BertConfig config = small_config();
  config.heads = {4, 2, 4, 1, 3};
  config.ffn = {40, 8, 16, 40, 24};
  config.exits = exits;
  Bert model(config, dtype);
  model.initialise(11);
  for (const NamedTensor& t : model.parameters().named()) {
    if (!t.name.ends_with("classifier.weight")) continue;
    Tensor w = t.value();
    dispatch(dtype, [&](auto element) {
      for (auto& x : w.span<decltype(element)>()) x *= 2;
    });
  }
  return model;
}

// 0, above ln 3, and between the entropies: so far from any that rounding decides nothing.
std::vector<double> thresholds(const ExitLogits& logits) {
  std::vector<double> entropies;
  for (const std::vector<double>& exit : logits.exits) {
    for (std::size_t s = 0; 3 * s < exit.size(); ++s)
      entropies.push_back(entropy(std::span(exit).subspan(3 * s, 3)));
  }
  std::sort(entropies.begin(), entropies.end());
  std::vector<double> out = {0, 2};
  for (const double share : {0.1, 0.25, 0.5, 0.75, 0.9}) {
    const auto i = static_cast<std::size_t>(share * static_cast<double>(entropies.size() - 2));
    out.push_back((entropies[i] + entropies[i + 1]) / 2);
  }
  return out;
}

using Parameters = std::tuple<std::size_t, DType>;

class EarlyExit : public ::testing::TestWithParam<Parameters> {};

TEST_P(EarlyExit, BatchedPaddedAndAloneAsChosenFromEveryExit) {
  const auto& [number, dtype] = GetParam();
  const double tolerance = dtype == DType::f64 ? 1e-12 : 1e-6;
  const Bert model = spread_model(kCases[number].exits, dtype);
  const EncodedDataset data = random_dataset(24);
  const ExitLogits every = predict_exits(model, data, {.batch = 7});
  std::size_t different = 0;
  for (const double threshold : thresholds(every)) {
    const ExitChoice chosen = choose_exits(every, entropy_below(threshold));
    const auto [least, most] = std::minmax_element(chosen.exits.begin(), chosen.exits.end());
    different += *least != *most ? 1 : 0;
    for (const auto& [begin, end, pad_to] : {std::tuple(0, 24, 0), {0, 24, 16}, {3, 11, 0}, {23, 24, 20}}) {
      const auto padding = pad_to > 0 ? std::optional<std::size_t>(pad_to) : std::nullopt;
      const auto found =
          early_exit(model, token_batch(batch_of(data, begin, end, padding)), entropy_below(threshold));
      ASSERT_EQ(found.exits.size(), static_cast<std::size_t>(end - begin));
      for (std::int32_t s = begin; s < end; ++s) {
        const auto row = static_cast<std::size_t>(s - begin);
        const auto alone = early_exit(model, token_batch(batch_of(data, s, s + 1)), entropy_below(threshold));
        const auto expected = chosen.exits[static_cast<std::size_t>(s)];
        EXPECT_EQ(found.exits[row], expected) << threshold << " " << s;
        EXPECT_EQ(alone.exits[0], expected) << threshold << " " << s;
        const auto p = probabilities(std::span(chosen.logits).subspan(3 * static_cast<std::size_t>(s), 3));
        const auto p_found = probabilities(std::span(found.logits).subspan(3 * row, 3));
        const auto p_alone = probabilities(alone.logits);
        for (std::size_t c = 0; c < 3; ++c) {
          EXPECT_NEAR(p_found[c], p[c], tolerance);
          EXPECT_NEAR(p_alone[c], p[c], tolerance);
        }
      }
    }
  }
  EXPECT_EQ(different > 0, kCases[number].exits.has_value());
}

INSTANTIATE_TEST_SUITE_P(Models, EarlyExit,
                         ::testing::Combine(::testing::Range<std::size_t>(0, kCases.size()),
                                            ::testing::Values(DType::f32, DType::f64)),
                         [](const auto& test) {
                           return kCases[std::get<0>(test.param)].name + "_" +
                                  std::string(name_of(std::get<1>(test.param)));
                         });

TEST(EarlyExitRule, ZeroNeverLeavesAndAboveTheLargestEntropyAllDo) {
  const Bert model = spread_model(ExitConfig{.first = 2}, DType::f32);
  const TokenBatch batch = token_batch(batch_of(random_dataset(9), 0, 9));
  const std::int64_t layers = model.config().layers();
  for (const std::int64_t exit : early_exit(model, batch, entropy_below(0)).exits) EXPECT_EQ(exit, layers);
  for (const std::int64_t exit : early_exit(model, batch, entropy_below(1.1)).exits) EXPECT_EQ(exit, 2);
}

// Layers that nobody reaches are not computed: with no number in them, answers stay numbers.
TEST(EarlyExitRule, LayersAfterTheLastExitTakenAreNotRead) {
  const Bert model = spread_model(ExitConfig{.pooling = Pooling::mean}, DType::f32);
  for (const NamedTensor& t : model.parameters().named()) {
    if (t.name.starts_with("bert.encoder.layer.1.")) t.value().fill(std::nan(""));
  }
  const TokenBatch batch = token_batch(batch_of(random_dataset(9), 0, 9));
  for (const double z : early_exit(model, batch, entropy_below(1.1)).logits) EXPECT_TRUE(std::isfinite(z));
  const EarlyExitOutputs all = early_exit(model, batch, entropy_below(0));
  for (const double z : all.logits) EXPECT_TRUE(std::isnan(z));
  for (const std::int64_t exit : all.exits) EXPECT_EQ(exit, model.config().layers());
}

TEST(EarlyExitRule, RefusesWhatIsNoThreshold) {
  const Bert model = spread_model(ExitConfig{}, DType::f32);
  const TokenBatch batch = token_batch(batch_of(random_dataset(2), 0, 2));
  EXPECT_THROW(early_exit(model, batch, entropy_below(-1)), UsageError);
  EXPECT_THROW(early_exit(model, batch, entropy_below(std::nan(""))), UsageError);
  Bert regression(small_config(1), DType::f32);
  regression.initialise(1);
  EXPECT_THROW(early_exit(regression, batch, entropy_below(0.1)), UsageError);
}

TEST(EarlyExitRule, TakesNoMemoryOnceItHasRun) {
  const EncodedDataset data = random_dataset(24);
  const TokenBatch batch = token_batch(batch_of(data, 0, 24));
  for (const Pooling pooling : {Pooling::cls, Pooling::mean}) {
    const Bert model = spread_model(ExitConfig{.pooling = pooling}, DType::f32);
    const std::vector<double> some = thresholds(predict_exits(model, data));
    for (const double threshold : some) early_exit(model, batch, entropy_below(threshold));
    const std::size_t before = allocation_count();
    for (const double threshold : some) early_exit(model, batch, entropy_below(threshold));
    EXPECT_EQ(allocation_count(), before);
  }
}

TEST(EvaluateEarly, ScoresTheChosenExits) {
  Task task = find_task("sst2");
  task.labels = {"0", "1", "2"};
  const Bert model = spread_model(ExitConfig{.first = 2, .pooling = Pooling::mean}, DType::f64);
  const EncodedDataset data = random_dataset(23);
  const ExitLogits every = predict_exits(model, data);
  for (const double threshold : thresholds(every)) {
    const ExitChoice chosen = choose_exits(every, entropy_below(threshold));
    const EarlyEvaluation early = evaluate_early(model, task, data, entropy_below(threshold), {.batch = 5});
    const Evaluation expected = evaluate_logits(chosen.logits, task, data);
    EXPECT_EQ(early.choice.exits, chosen.exits);
    EXPECT_EQ(early.evaluation.metrics, expected.metrics);
    EXPECT_NEAR(early.evaluation.loss, expected.loss, 1e-12);
    EXPECT_EQ(early.evaluation.examples, 23U);
    ASSERT_EQ(early.counts.size(), 5U);
    std::int64_t sequences = 0, sum = 0;
    for (std::int64_t i = 1; i <= 5; ++i) {
      const auto taken = std::count(chosen.exits.begin(), chosen.exits.end(), i);
      EXPECT_EQ(early.counts[static_cast<std::size_t>(i - 1)], taken);
      sequences += taken;
      sum += taken * i;
    }
    EXPECT_EQ(sequences, 23);
    EXPECT_NEAR(early.average_exit, static_cast<double>(sum) / 23, 1e-12);
  }
  EXPECT_THROW(evaluate_early(model, find_task("sst2"), data, entropy_below(0.1)), Error);
}

TEST(SweepThresholds, FromZeroToTheLargestEntropyInFourDigits) {
  const Bert model = spread_model(ExitConfig{}, DType::f32);
  const std::vector<double> found = sweep_thresholds(predict_exits(model, random_dataset(40)));
  EXPECT_GE(found.size(), 10U);
  EXPECT_LE(found.size(), 12U);
  EXPECT_EQ(found.front(), 0);
  EXPECT_EQ(found.back(), 1.098);  // ln 3 is 1.0986
  for (std::size_t i = 1; i < found.size(); ++i) {
    EXPECT_LT(found[i - 1], found[i]);
    EXPECT_EQ(std::stod(fmt::format("{:.4g}", found[i])), found[i]);
  }
  // Of a single exit there are no entropies to go by; what is no number is none.
  EXPECT_EQ(sweep_thresholds({.first = 3, .labels = 2, .exits = {{1, 2}}}),
            (std::vector<double>{0, 0.01386, 0.06931, 0.1732, 0.3465, 0.5198, 0.6931}));
  EXPECT_EQ(sweep_thresholds({.first = 2, .labels = 2, .exits = {{std::nan(""), 2}, {1, 2}}}).size(), 7U);
  EXPECT_THROW(sweep_thresholds({.first = 3, .labels = 1, .exits = {{1, 2}}}), UsageError);
}

// Of 100 sequences, ever less certain at exit 1, the last 40 get another class there than at exit 2.
TEST(ConsistentThreshold, TheLargestThatChangesFewAnswers) {
  ExitLogits logits{.first = 1, .labels = 2, .exits = {{}, {}}};
  std::vector<double> entropies;
  for (int i = 0; i < 100; ++i) {
    const double margin = 5 - 0.04 * i;
    logits.exits[0].insert(logits.exits[0].end(), {0, margin});
    logits.exits[1].insert(logits.exits[1].end(), {i < 60 ? 0.0 : 1.0, 0.5});
    entropies.push_back(entropy(std::vector<double>{0, margin}));
  }
  // Sequences leave strictly below: at entropies[n] the first n do.
  EXPECT_EQ(consistent_threshold(logits, 0), entropies[60]);
  EXPECT_EQ(consistent_threshold(logits, 0.01), entropies[61]);
  EXPECT_EQ(consistent_threshold(logits, 0.2), entropies[80]);
  EXPECT_EQ(consistent_threshold(logits, 1), entropies[99]);
  logits.exits[1] = logits.exits[0];
  EXPECT_EQ(consistent_threshold(logits, 0), entropies[99]);
  EXPECT_EQ(consistent_threshold({.first = 3, .labels = 2, .exits = {{1, 2}}}, 0.5), 0) << "one exit";
  logits.labels = 1;
  EXPECT_THROW(consistent_threshold(logits, 0.5), UsageError);
}

}  // namespace
}  // namespace costeff
