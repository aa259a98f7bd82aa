// Early exit on the command line: thresholds, sweeps, what eval and predict say of exits.
#include <cmath>
#include <sstream>

#include "nn/checkpoint.h"
#include "tests/tools/support.h"

namespace costeff::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr std::int64_t kLayers = 4;

class EarlyExitCli : public CliTest {
 protected:
  EarlyExitCli() { make("exits", ExitConfig{.pooling = Pooling::mean}); }

  // Makes model_ a BERT of 4 layers, hidden 32, with classifiers so large that entropies spread.
  void make(const std::string& name, const ExitConfig& exits,
            const std::vector<std::string>& labels = {"0", "1"}) {
    model_ = folder_.path(name);
    make_exits_model(model_, kLayers, exits, 5, 0.5, labels);
  }

  Json scores(Words more) const {
    more.insert(more.end(), {"--split", "train"});
    const Outcome outcome = run(eval(more));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.json();
  }

  std::vector<Json> predict(const Words& more = {}) const {
    Words words = {"predict", "--model", model_, "--threads", "1"};
    words.insert(words.end(), more.begin(), more.end());
    std::istringstream rows(read(data_ + "/train.tsv"));
    std::string row, texts;
    std::getline(rows, row);
    while (std::getline(rows, row)) texts += row.substr(0, row.find('\t')) + "\n";
    const Outcome outcome = run(words, texts);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.json_lines();
  }
};

// Of one sequence that leaves at the exit: H = w = 32, F = 64, two classes.
double flops_until(std::int64_t exit, double n) {
  return static_cast<double>(exit) * (8 * n * 32 * 32 + 4 * n * n * 32 + 4 * n * 32 * 64 + 2 * 32 * 2);
}

TEST_F(EarlyExitCli, FullDepthHasNoEarlyExit) {
  const Json all = scores({});
  EXPECT_EQ(all["average_exit"], kLayers);
  EXPECT_EQ(all["exit_counts"], (Json{0, 0, 0, 24}));
  EXPECT_EQ(all["flops_reduction"], 1.0);
  EXPECT_EQ(all["flops_padded"], flops_until(kLayers, 128));
  for (const char* key : {"exits", "sweep", "short_half"}) EXPECT_FALSE(all.contains(key)) << key;
  const Json zero = scores({"--entropy", "0"});
  EXPECT_EQ(zero["exit_counts"], all["exit_counts"]);
  EXPECT_EQ(zero["acc"], all["acc"]);
  EXPECT_NEAR(zero["loss"].get<double>(), all["loss"].get<double>(), 1e-6);
}

TEST_F(EarlyExitCli, ThresholdsDoWhatTheSweepSays) {
  const Json swept = scores({"--sweep"});
  ASSERT_GE(swept["sweep"].size(), 8U);
  EXPECT_EQ(swept["sweep"].front()["entropy"], 0.0);
  EXPECT_EQ(swept["sweep"].back()["entropy"], 0.6931);
  double before = kLayers;
  bool spread = false;
  for (const Json& row : swept["sweep"]) {
    const double average = row["average_exit"];
    EXPECT_LE(average, before);
    before = average;
    const Json& counts = row["exit_counts"];
    ASSERT_THAT(counts, SizeIs(kLayers));
    double exits = 0, sequences = 0, padded = 0, distinct = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      const auto exit = static_cast<std::int64_t>(i) + 1;
      const double count = counts[i];
      exits += count * static_cast<double>(exit);
      sequences += count;
      padded += count * flops_until(exit, 128);
      distinct += count > 0 ? 1 : 0;
    }
    spread |= distinct > 2;
    EXPECT_EQ(sequences, 24);
    EXPECT_NEAR(average, exits / 24, 1e-12);
    EXPECT_NEAR(row["flops_padded"].get<double>(), padded / 24, 1e-3);
    EXPECT_NEAR(row["flops"].get<double>() * row["flops_reduction"].get<double>(),
                swept["flops"].get<double>(), 1e-3);
  }
  EXPECT_TRUE(spread);
  for (const std::size_t i : {2, 5, 7}) {
    const Json& row = swept["sweep"][i];
    for (const char* batch : {"1", "7", "32"}) {
      const Json early = scores({"--entropy", row["entropy"].dump(), "--batch", batch});
      for (const char* key : {"acc", "examples", "average_exit", "exit_counts", "flops", "flops_reduction"})
        EXPECT_EQ(early[key], row[key]) << key << " " << row["entropy"];
      EXPECT_NEAR(early["loss"].get<double>(), row["loss"].get<double>(), 1e-5);
    }
  }
}

TEST_F(EarlyExitCli, EveryExit) {
  const Json early = scores({"--all-exits", "--entropy", "0.3"});
  const Json all = scores({"--all-exits"});
  EXPECT_EQ(early["exits"], all["exits"]);
  ASSERT_EQ(all["exits"].size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(all["exits"][i]["exit"], i + 1);
  EXPECT_EQ(all["exits"][3]["acc"], all["acc"]);
  EXPECT_EQ(all["exits"][3]["loss"], all["loss"]);
  EXPECT_EQ(all["exits"][1]["flops_padded"], flops_until(2, 128));
  EXPECT_EQ(all["exits"][0]["acc"], scores({"--entropy", "0.7"})["acc"]);

  make("later", ExitConfig{.first = 3});
  const Json later = scores({"--all-exits", "--entropy", "0.7"});
  EXPECT_EQ(later["exits"].size(), 2U);
  EXPECT_EQ(later["exits"][0]["exit"], 3);
  EXPECT_EQ(later["exit_counts"], (Json{0, 0, 24, 0}));
}

TEST_F(EarlyExitCli, PredictSaysWhichExitAnswered) {
  for (const Json& line : predict()) EXPECT_EQ(line["exit"], kLayers);
  const std::string threshold = scores({"--sweep"})["sweep"][6]["entropy"].dump();
  const Json counts = scores({"--entropy", threshold})["exit_counts"];
  const std::vector<Json> together = predict({"--entropy", threshold});
  const std::vector<Json> alone = predict({"--entropy", threshold, "--batch", "1"});
  ASSERT_THAT(together, SizeIs(24));
  Json found = {0, 0, 0, 0};
  for (std::size_t i = 0; i < together.size(); ++i) {
    const std::size_t exit = together[i]["exit"];
    found[exit - 1] = found[exit - 1].get<int>() + 1;
    EXPECT_EQ(alone[i]["exit"], exit);
    const double p = together[i]["probabilities"]["1"];
    EXPECT_NEAR(alone[i]["probabilities"]["1"].get<double>(), p, 1e-5);
    const double entropy = -p * std::log(p) - (1 - p) * std::log1p(-p);
    EXPECT_TRUE(exit == kLayers || entropy < std::stod(threshold)) << entropy;
  }
  EXPECT_EQ(found, counts);
}

TEST_F(EarlyExitCli, APlainModelAnswersAtItsOneExit) {
  model_ = folder_.path("tiny model");
  for (const Json& line : predict()) EXPECT_FALSE(line.contains("exit"));
  for (const Json& line : predict({"--entropy", "0.5"})) EXPECT_EQ(line["exit"], 2);
  const Outcome outcome = run(eval({"--entropy", "0.5"}));
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("one exit"));
  EXPECT_EQ(outcome.json()["exit_counts"], (Json{0, 10}));
  EXPECT_EQ(outcome.json()["acc"], run(eval()).json()["acc"]);
  EXPECT_EQ(scores({"--all-exits"})["exits"].size(), 1U);
}

TEST_F(EarlyExitCli, TheShorterHalf) {
  // Lengths with [CLS] and [SEP]: 3, 4, 5, 5, 8; the median is 5.
  const std::string file =
      folder_.write("five.tsv",
                    "sentence\tlabel\ngood\t1\nbad film\t0\nvery good .\t1\nvery bad .\t0\n"
                    "the film is very good .\t1\n");
  // One sentence at a time, so that both go through the same products.
  const Words words = {"eval", "--model", model_,         "--task",  "sst2", "--data",
                       file,   "--json",  "--short-half", "--batch", "1"};
  const auto with = [&](const Words& more) {
    Words all = words;
    all.insert(all.end(), more.begin(), more.end());
    const Outcome outcome = run(all);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.json();
  };
  const Json scored = with({"--all-exits"});
  EXPECT_EQ(scored["examples"], 5);
  EXPECT_EQ(scored["short_half"]["examples"], 2);
  const std::string two = folder_.write("two.tsv", "sentence\tlabel\ngood\t1\nbad film\t0\n");
  const Json alone =
      run({"eval", "--model", model_, "--task", "sst2", "--data", two, "--json", "--batch", "1"}).json();
  EXPECT_EQ(scored["short_half"]["acc"], alone["acc"]);
  EXPECT_DOUBLE_EQ(scored["short_half"]["loss"].get<double>(), alone["loss"].get<double>());
  EXPECT_EQ(scored["exits"][3]["short_half"], scored["short_half"]);
  EXPECT_EQ(with({"--sweep"})["sweep"][0]["short_half"]["acc"], alone["acc"]);
  EXPECT_EQ(with({"--entropy", "0.7"})["short_half"]["acc"], scored["exits"][0]["short_half"]["acc"]);

  const std::string same = folder_.write("same.tsv", "sentence\tlabel\ngood\t1\nbad\t0\n");
  EXPECT_TRUE(fails(run({"eval", "--model", model_, "--task", "sst2", "--data", same, "--short-half"}), 1,
                    {"--short-half", "3.0 tokens"}));
}

TEST_F(EarlyExitCli, TablesAsText) {
  const std::string file =
      folder_.write("three.tsv", "sentence\tlabel\ngood\t1\nbad film\t0\nvery good .\t1\n");
  const Outcome text = run({"eval", "--model", model_, "--task", "sst2", "--data", file, "--sweep",
                            "--all-exits", "--short-half"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, AllOf(HasSubstr("\n      exit "), HasSubstr("\n   entropy "), HasSubstr("short half"),
                              HasSubstr("FLOPs reduction"), Not(HasSubstr("nan"))));
  const Outcome early =
      run({"eval", "--model", model_, "--task", "sst2", "--data", data_, "--entropy", "0.7"});
  EXPECT_THAT(early.out, AllOf(HasSubstr("average exit   1.00 of 4"), HasSubstr("4.00 times fewer")));
}

TEST_F(EarlyExitCli, WrongThresholds) {
  for (const char* value : {"nan", "inf", "-0.1", "x", ""}) {
    EXPECT_TRUE(fails(run(eval({"--entropy", value})), 2, {"--entropy"})) << value;
    EXPECT_TRUE(fails(run({"predict", "--model", model_, "--entropy", value}), 2, {"--entropy"})) << value;
  }
  EXPECT_TRUE(fails(run(eval({"--entropy", "0.1", "--sweep"})), 2, {"--entropy", "--sweep"}));
  const Outcome high = run(eval({"--entropy", "0.8"}));
  EXPECT_EQ(high.code, 0);
  EXPECT_THAT(high.err, AllOf(HasSubstr("--entropy 0.8"), HasSubstr("0.6931"), HasSubstr("exit 1")));
  EXPECT_EQ(high.json()["exit_counts"], (Json{10, 0, 0, 0}));
  EXPECT_THAT(run(eval({"--entropy", "0.3"})).err, Not(HasSubstr("--entropy")));
}

TEST_F(EarlyExitCli, ARegressionHasNoEntropy) {
  make("regression", ExitConfig{.pooling = Pooling::mean}, {"score"});
  const std::string file =
      folder_.write("scores.tsv", "sentence\tscore\ngood .\t1\nbad\t0.5\nvery bad .\t0\n");
  const auto with = [&](const Words& more) {
    Words words = {"eval", "--model", model_, "--columns", "sentence,score", "--data", file, "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  };
  EXPECT_TRUE(fails(with({"--entropy", "0.1"}), 2, {"--entropy", "score"}));
  EXPECT_TRUE(fails(with({"--sweep"}), 2, {"--sweep", "score"}));
  EXPECT_TRUE(fails(run({"predict", "--model", model_, "--entropy", "0.1"}), 2, {"--entropy", "score"}));
  const Outcome all = with({"--all-exits"});
  ASSERT_EQ(all.code, 0) << all.err;
  EXPECT_EQ(all.json()["exits"].size(), 4U);
  EXPECT_EQ(all.json()["average_exit"], kLayers);
  const Outcome lines = run({"predict", "--model", model_}, "good\n");
  EXPECT_EQ(lines.json_lines().at(0)["exit"], kLayers);
}

}  // namespace
}  // namespace costeff::testing
