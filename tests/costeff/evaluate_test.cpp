// Scores at every exit, and the exits that a threshold chooses.
#include "costeff/exits/evaluate.h"

#include <fmt/format.h>

#include <limits>

#include "tests/costeff/reference.h"
#include "tests/costeff/support.h"

namespace costeff {
namespace {

using namespace testing;

Task three_classes() {
  Task task = find_task("sst2");
  task.labels = {"0", "1", "2"};
  return task;
}

Bert multi_exit_model(const std::optional<ExitConfig>& exits, DType dtype = DType::f64) {
  BertConfig config = small_config();
  config.exits = exits;
  Bert model(config, dtype);
  model.initialise(3);
  return model;
}

TEST(EvaluateReference, LogitsAndEntropiesOfEveryExit) {
  const auto folder = reference_folder();
  COSTEFF_SKIP_WITHOUT(folder);
  const SafetensorsFile file((*folder / "forward.safetensors").string());
  const auto model = read_model(file, "", DType::f64);
  const Batch batch = read_packed(file, "");
  EncodedDataset data;
  for (std::size_t s = 0; s < batch.sequences(); ++s) {
    const auto cut = [&](const std::vector<std::int32_t>& v) {
      return std::vector<std::int32_t>(v.begin() + batch.offsets[s], v.begin() + batch.offsets[s + 1]);
    };
    data.add({.ids = cut(batch.ids), .token_type_ids = cut(batch.token_types)}, batch.labels[s], 0);
  }
  const ExitLogits found = predict_exits(*model, data, {.batch = 2});
  const nlohmann::json config = metadata(file, "config");
  const auto classes = config.at("classes").get<std::size_t>();
  ASSERT_EQ(found.first, 1);
  ASSERT_EQ(found.labels, static_cast<std::int64_t>(classes));
  ASSERT_EQ(found.exits.size(), config.at("layers").get<std::size_t>());
  for (std::size_t i = 0; i < found.exits.size(); ++i) {
    const Tensor logits = read_tensor(file, fmt::format("out/logits.{}", i + 1));
    const Tensor entropies = read_tensor(file, fmt::format("out/entropy.{}", i + 1));
    ASSERT_EQ(entropies.numel(), static_cast<std::int64_t>(batch.sequences()));
    ASSERT_EQ(static_cast<std::int64_t>(found.exits[i].size()), logits.numel());
    for (std::size_t s = 0; s < batch.sequences(); ++s) {
      const std::span<const double> row = std::span(found.exits[i]).subspan(classes * s, classes);
      for (std::size_t c = 0; c < classes; ++c) {
        EXPECT_NEAR(row[c], logits.at(static_cast<std::int64_t>(classes * s + c)), 1e-10);
      }
      EXPECT_NEAR(entropy(row), entropies.at(static_cast<std::int64_t>(s)), 1e-10);
    }
  }
}

TEST(Entropy, ExtremesAndTies) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(entropy(std::vector<double>{1000, 0}), 0);
  EXPECT_EQ(entropy(std::vector<double>{-1000, 0, -infinity}), 0);
  EXPECT_NEAR(entropy(std::vector<double>{7, 7}), std::log(2), 1e-15);
  EXPECT_NEAR(entropy(std::vector<double>{-3, -3, -3}), std::log(3), 1e-15);
  EXPECT_NEAR(entropy(std::vector<double>{1, -infinity, 1}), std::log(2), 1e-15);
  EXPECT_TRUE(std::isnan(entropy(std::vector<double>{std::nan(""), 0})));
}

TEST(ChooseExits, TheFirstExitBelowTheThresholdAnswers) {
  const double half = entropy(std::vector<double>{1, 0});
  // Entropies: 0.58, ln 2, 0 | 0, 0, 0.58 | ln 2, ln 2, ln 2 | nan, 0.58, 0
  const ExitLogits logits{
      .first = 2,
      .labels = 2,
      .exits = {
          {1, 0, 900, 0, 5, 5, std::nan(""), 0}, {2, 2, 901, 0, 6, 6, 1, 0}, {0, 902, 1, 0, 7, 7, 0, 903}}};
  using Exits = std::vector<std::int64_t>;
  EXPECT_EQ(choose_exits(logits, entropy_below(0)).exits, (Exits{4, 4, 4, 4}));  // strictly below
  EXPECT_EQ(choose_exits(logits, entropy_below(1e-9)).exits, (Exits{4, 2, 4, 4}));
  EXPECT_EQ(choose_exits(logits, entropy_below(half)).exits, (Exits{4, 2, 4, 4}));
  EXPECT_EQ(choose_exits(logits, entropy_below(std::nextafter(half, 1))).exits, (Exits{2, 2, 4, 3}));
  const ExitChoice all = choose_exits(logits, entropy_below(0.7));
  EXPECT_EQ(all.exits, (Exits{2, 2, 2, 3}));  // what is no number never leaves
  EXPECT_EQ(all.logits, (std::vector<double>{1, 0, 900, 0, 5, 5, 1, 0}));
}

TEST(ChooseExits, RefusesWhatIsNoThreshold) {
  const ExitLogits logits{.first = 1, .labels = 2, .exits = {{1, 0}}};
  EXPECT_THAT(message_of<UsageError>([&] { choose_exits(logits, entropy_below(-0.1)); }),
              ::testing::HasSubstr("-0.1"));
  EXPECT_THAT(message_of<UsageError>([&] { choose_exits(logits, entropy_below(std::nan(""))); }),
              ::testing::HasSubstr("nan"));
  const ExitLogits score{.first = 1, .labels = 1, .exits = {{1}}};
  EXPECT_THAT(message_of<UsageError>([&] { choose_exits(score, entropy_below(0.1)); }),
              ::testing::HasSubstr("regression"));
}

TEST(Evaluate, LastOfAllExitsIsFullDepth) {
  const EncodedDataset data = random_dataset(21);
  const Task task = three_classes();
  const std::vector<std::optional<ExitConfig>> exits = {
      std::nullopt, ExitConfig{}, ExitConfig{.first = 2, .pooling = Pooling::mean, .last_hidden = 2}};
  const std::vector<std::size_t> counts = {1, 3, 2};
  for (std::size_t i = 0; i < exits.size(); ++i) {
    const Bert model = multi_exit_model(exits[i]);
    const Evaluation whole = evaluate(model, task, data, {.batch = 4});
    const ExitsEvaluation every = evaluate_exits(model, task, data, {.batch = 5, .pad_to = 16});
    ASSERT_EQ(every.exits.size(), counts[i]);
    EXPECT_EQ(every.first, 4 - static_cast<std::int64_t>(counts[i]));
    const Evaluation& last = every.exits.back();
    EXPECT_EQ(last.metrics, whole.metrics);
    EXPECT_NEAR(last.loss, whole.loss, 1e-12);
    EXPECT_EQ(last.examples, 21U);
    EXPECT_EQ(whole.score(), whole.metrics.back().second);
    double sum = 0;
    for (const Evaluation& e : every.exits) sum += e.score();
    EXPECT_NEAR(every.mean_score(), sum / static_cast<double>(counts[i]), 1e-15);
  }
}

TEST(Evaluate, SomeSequencesAlone) {
  const EncodedDataset data = random_dataset(4);
  std::vector<double> logits(12, 0);
  // Right on 1 and 3, by far.
  for (const std::size_t s : {1, 3}) logits[3 * s + static_cast<std::size_t>(data.labels[s])] = 50;
  for (const std::size_t s : {0, 2}) logits[3 * s + static_cast<std::size_t>((data.labels[s] + 1) % 3)] = 50;
  const std::vector<std::int32_t> odd = {1, 3}, three = {0, 1, 3};
  EXPECT_EQ(evaluate_logits(logits, three_classes(), data).score(), 0.5);
  EXPECT_NEAR(evaluate_logits(logits, three_classes(), data).loss, 25, 1e-12);
  EXPECT_EQ(evaluate_logits(logits, three_classes(), data, odd).score(), 1);
  EXPECT_NEAR(evaluate_logits(logits, three_classes(), data, odd).loss, 0, 1e-12);
  EXPECT_NEAR(evaluate_logits(logits, three_classes(), data, three).score(), 2.0 / 3, 1e-15);
  EXPECT_EQ(evaluate_logits(logits, three_classes(), data, three).examples, 3U);
}

TEST(Evaluate, RegressionAtEveryExit) {
  BertConfig config = small_config(1);
  config.exits = ExitConfig{.pooling = Pooling::mean};
  Bert model(config, DType::f64);
  model.initialise(3);
  EncodedDataset data = random_dataset(6);
  for (std::size_t s = 0; s < 6; ++s) data.scores[s] = static_cast<double>(s);
  const ExitsEvaluation every = evaluate_exits(model, find_task("stsb"), data, {.batch = 4});
  ASSERT_EQ(every.exits.size(), 3U);
  EXPECT_NEAR(every.exits[2].loss, evaluate(model, find_task("stsb"), data).loss, 1e-12);
  EXPECT_EQ(every.exits[0].metrics.back().first, "corr");
}

TEST(Evaluate, OutputsMustBeTheTasks) {
  const Bert model = multi_exit_model(ExitConfig{});
  const EncodedDataset data = random_dataset(2);
  const Task task = find_task("sst2");
  const std::string expected = "the model has 3 outputs, task SST-2 has 2";
  EXPECT_EQ(message_of<Error>([&] { evaluate(model, task, data); }), expected);
  EXPECT_EQ(message_of<Error>([&] { evaluate_exits(model, task, data); }), expected);
}

}  // namespace
}  // namespace costeff
