// Where sequences leave by each rule: PABEE's and ElasticBERT's exits against their published code's, and the
// rules by hand.
#include "costeff/exits/exit_rule.h"

#include "costeff/exits/evaluate.h"
#include "tensor/error.h"
#include "tests/nn/reference.h"

namespace costeff {
namespace {

using namespace testing;
using Exits = std::vector<std::int64_t>;

// "out/eval/PREFIX.1" and so on, as many as the file has.
ExitLogits read_logits(const SafetensorsFile& file, const std::string& prefix) {
  ExitLogits logits;
  for (int i = 1; file.contains(fmt::format("out/eval/{}.{}", prefix, i)); ++i) {
    const Tensor z = read_tensor(file, fmt::format("out/eval/{}.{}", prefix, i));
    logits.labels = z.shape().rank() == 1 ? 1 : z.shape()[1];
    const auto values = z.span<double>();
    logits.exits.emplace_back(values.begin(), values.end());
  }
  return logits;
}

void expect_exits(const SafetensorsFile& file, const ExitLogits& logits, const std::string& rule_name,
                  const ExitRule& rule) {
  const ExitChoice choice = choose_exits(logits, rule);
  EXPECT_EQ(choice.exits, read_integers(file, "out/eval/exit/" + rule_name)) << rule_name;
  const auto columns = static_cast<std::size_t>(logits.labels);
  for (std::size_t s = 0; s < choice.exits.size(); ++s) {
    const auto row = std::span(choice.logits).subspan(s * columns, columns);
    if (columns == 1) {
      EXPECT_EQ(row[0], read_tensor(file, "out/eval/answer/" + rule_name).at(static_cast<std::int64_t>(s)));
    } else {
      EXPECT_EQ(std::max_element(row.begin(), row.end()) - row.begin(),
                read_integers(file, "out/eval/answer/" + rule_name)[s]);
    }
  }
}

TEST(ExitRuleReference, PatienceOfClassesAndOfARegression) {
  const auto folder = reference_folder();
  COSTEFF_SKIP_WITHOUT(folder);
  if (!std::filesystem::exists(*folder / "baselines")) GTEST_SKIP() << "no baselines in " << *folder;
  const SafetensorsFile file((*folder / "baselines/pabee.safetensors").string());
  const ExitLogits classes = read_logits(file, "logits"), scores = read_logits(file, "regression");
  ASSERT_GT(classes.exits.size(), 1U);
  const nlohmann::json tolerances = metadata(file, "regression_thresholds");
  for (std::size_t patience = 0; patience < classes.exits.size(); ++patience) {
    const auto exits = static_cast<std::int64_t>(patience);
    expect_exits(file, classes, fmt::format("patience.{}", patience), patience_of(exits));
    for (std::size_t t = 0; t < tolerances.size(); ++t) {
      expect_exits(file, scores, fmt::format("regression.{}.patience.{}", t, patience),
                   patience_of(exits, tolerances[t]));
    }
  }
}

TEST(ExitRuleReference, EntropyAndPatienceOfElasticBert) {
  const auto folder = reference_folder();
  COSTEFF_SKIP_WITHOUT(folder);
  if (!std::filesystem::exists(*folder / "baselines")) GTEST_SKIP() << "no baselines in " << *folder;
  const SafetensorsFile file((*folder / "baselines/elasticbert.safetensors").string());
  const ExitLogits logits = read_logits(file, "logits");
  const nlohmann::json thresholds = metadata(file, "thresholds");
  for (std::size_t t = 0; t < thresholds.size(); ++t)
    expect_exits(file, logits, fmt::format("entropy.{}", t), entropy_below(thresholds[t]));
  for (std::size_t patience = 0; patience < logits.exits.size(); ++patience)
    expect_exits(file, logits, fmt::format("patience.{}", patience),
                 patience_of(static_cast<std::int64_t>(patience)));
}

// p = (0.25, 0.75), (0.1, 0.9), (0.6, 0.4): the largest must be above, not at, the threshold.
TEST(ExitRule, ConfidenceIsTheLargestProbability) {
  const ExitLogits logits{
      .first = 1, .labels = 2, .exits = {{0, std::log(3)}, {0, std::log(9)}, {std::log(1.5), 0}}};
  EXPECT_EQ(choose_exits(logits, confidence_above(0.7)).exits, Exits{1});
  EXPECT_EQ(choose_exits(logits, confidence_above(0.8)).exits, Exits{2});
  EXPECT_EQ(choose_exits(logits, confidence_above(0.95)).exits, Exits{3});
}

// Answers 0 0 1 1 1 1: an exit that disagrees begins the count again.
TEST(ExitRule, PatienceCountsExitsInARow) {
  const std::vector<double> zero = {1, 0}, one = {0, 1};
  const ExitLogits logits{.first = 1, .labels = 2, .exits = {zero, zero, one, one, one, one}};
  EXPECT_EQ(choose_exits(logits, patience_of(1)).exits, Exits{2});
  EXPECT_EQ(choose_exits(logits, patience_of(2)).exits, Exits{5});
  EXPECT_EQ(choose_exits(logits, patience_of(3)).exits, Exits{6});
}

TEST(ExitRule, RefusesWhatMakesNoSense) {
  for (const ExitRule& rule : {entropy_below(-1), entropy_below(std::nan("")), confidence_above(-0.1),
                               patience_of(-1), patience_of(1, -1), patience_of(1, std::nan(""))})
    EXPECT_THROW(check_rule(rule, 2), UsageError);
  EXPECT_THROW(check_rule(entropy_below(0.1), 1), UsageError);
  EXPECT_THROW(check_rule(confidence_above(0.5), 1), UsageError);
  check_rule(patience_of(2, 0.1), 1);
}

}  // namespace
}  // namespace costeff
