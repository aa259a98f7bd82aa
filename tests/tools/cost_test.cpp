// costeff cost: of given sizes, of a checkpoint, at real lengths, and what it refuses.
#include <numeric>

#include "nn/checkpoint.h"
#include "tests/tools/support.h"

namespace costeff::testing {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

Json cost(Words words) {
  words.insert(words.begin(), "cost");
  words.emplace_back("--json");
  const Outcome outcome = run(words);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return outcome.code == 0 ? outcome.json() : Json();
}

double sum(const Json& numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), 0.0,
                         [](double total, const Json& number) { return total + number.get<double>(); });
}

// COST-EFF (Shen et al., EMNLP 2022): BERT-base and its two slender settings.
TEST(Cost, PublishedSizes) {
  const Json base = cost({});
  EXPECT_EQ(base["parameters"], 109'483'778);  // as PyTorch counts Hugging Face's
  EXPECT_NEAR(base["flops"].get<double>(), 22.35e9, 0.005e9);
  EXPECT_TRUE(base["exits"].is_null());
  EXPECT_EQ(base["slender"], false);
  EXPECT_THAT(base["flops_by_exit"], ElementsAre(base["flops"]));

  const Json eighth = cost({"--heads", "2", "--ffn", "256", "--rank", "128"});
  EXPECT_NEAR(eighth["parameters"].get<double>(), 13.9e6, 0.05e6);
  EXPECT_NEAR(eighth["flops"].get<double>(), 2.54e9, 0.005e9);
  EXPECT_THAT(eighth["flops_by_exit"], SizeIs(12));
  EXPECT_EQ(eighth["flops_by_exit"][11], eighth["flops"]);
  EXPECT_EQ(eighth["slender"], true);
  EXPECT_EQ(eighth["exits"]["first"], 1);

  const Json half = cost({"--heads", "6", "--ffn", "1536", "--rank", "384"});
  EXPECT_NEAR(half["parameters"].get<double>(), 55.0e6, 0.05e6);
  EXPECT_NEAR(half["flops"].get<double>(), 11.25e9, 0.005e9);

  // What the authors' code counts of MiniLM L6 H384 at its 1/8 setting.
  const Json minilm = cost({"--layers", "6", "--hidden", "384", "--head-size", "32", "--heads", "2", "--ffn",
                            "128", "--rank", "48"});
  EXPECT_EQ(minilm["parameters"], 2'881'644);
}

TEST(Cost, PartsMakeTheWhole) {
  const Json c = cost({"--layers",        "5",    "--hidden",      "96",     "--heads",       "2",
                       "--head-size",     "16",   "--ffn",         "40",     "--rank",        "24",
                       "--vocab",         "1000", "--positions",   "64",     "--classes",     "3",
                       "--tokens",        "20",   "--exit-start",  "2",      "--pooling",     "mean",
                       "--last-n-hidden", "2",    "--hidden-mode", "concat", "--pooler-dense"});
  EXPECT_EQ(c["embedding_parameters"], 1000 * 24 + 96 * 24 + (64 + 2 + 2) * 96);
  const int layer = 3 * 97 * 32 + 33 * 96 + 97 * 40 + 41 * 96 + 4 * 96;
  EXPECT_THAT(c["parameters_by_layer"], AllOf(SizeIs(5), Each(layer)));
  EXPECT_THAT(c["parameters_by_exit"], AllOf(SizeIs(4), Each(193 * 96 + 97 * 3)));
  EXPECT_EQ(c["parameters"].get<double>(), c["embedding_parameters"].get<double>() +
                                               sum(c["parameters_by_layer"]) + sum(c["parameters_by_exit"]));
  const Json& parts = c["flops_by_part"];
  EXPECT_EQ(parts["embeddings"], 2 * 20 * 24 * 96);
  EXPECT_EQ(parts["layers"][4]["projections"], 4 * 2 * 20 * 96 * 32);
  EXPECT_EQ(parts["layers"][4]["attention"], 2 * 2 * 20 * 20 * 32);
  EXPECT_EQ(parts["layers"][4]["ffn"], 2 * 2 * 20 * 96 * 40);
  EXPECT_EQ(parts["exits"][3], 2 * 192 * 96 + 2 * 96 * 3);
  EXPECT_EQ(c["first_exit"], 2);
  EXPECT_EQ(c["exits"]["pooling"], "mean");
  EXPECT_EQ(c["exits"]["pooler_dense"], true);
  EXPECT_EQ(
      c["flops_by_exit"][0].get<double>(),
      parts["embeddings"].get<double>() + 2 * sum(parts["layers"][0]) + parts["exits"][0].get<double>());
  EXPECT_EQ(c["flops_by_exit"][3], c["flops"]);
}

TEST(Cost, ExitsAreAChoice) {
  EXPECT_TRUE(cost({"--rank", "128", "--exit-start", "0"})["exits"].is_null());
  EXPECT_EQ(cost({"--exit-start", "3"})["exits"]["first"], 3);
  EXPECT_EQ(cost({"--ffn", "256"})["slender"], false);
  EXPECT_EQ(cost({"--heads", "11"})["exits"]["first"], 1);
  EXPECT_EQ(cost({"--positions", "64"})["tokens"], 64);
}

TEST(Cost, TextSaysItForReaders) {
  const Outcome text = run({"cost", "--heads", "2", "--ffn", "256", "--rank", "128"});
  EXPECT_EQ(text.code, 0) << text.err;
  for (const char* part :
       {"slender multi-exit BERT of 12 layers", "vocabulary 30522 of rank 128",
        "1 to 12, each on [CLS]; 2 classes", "13,920,024 (13.92 M)", "2.542 G for 128 tokens", "234.9 M"}) {
    EXPECT_THAT(text.out, HasSubstr(part));
  }
  const Outcome base = run({"cost", "--classes", "1"});
  EXPECT_THAT(base.out,
              AllOf(HasSubstr("BERT of 12 layers"), Not(HasSubstr("slender")), HasSubstr("a score")));
  const Outcome states = run({"cost", "--exit-start", "12", "--last-n-hidden", "3", "--pooler-dense"});
  EXPECT_THAT(states.out,
              HasSubstr("12 alone on [CLS] of the last 3 states side by side, through a dense layer"));
}

TEST_F(CliTest, CostOfACheckpointReadsItsConfigAlone) {
  const Json inspected = run({"inspect", model_, "--json"}).json()["model"];
  std::filesystem::remove(model_ + "/model.safetensors");
  std::filesystem::remove(model_ + "/vocab.txt");
  const Json c = cost({"--model", model_});
  EXPECT_EQ(c["model"], model_);
  EXPECT_EQ(c["parameters"], inspected["parameters"]["total"]);
  EXPECT_EQ(c["flops"], inspected["flops"]["total"]);
  EXPECT_EQ(c["tokens"], 128);
  EXPECT_FALSE(c.contains("mean_length"));
  EXPECT_LT(cost({"--model", model_, "--tokens", "16"})["flops"], c["flops"]);
  EXPECT_THAT(run({"cost", "--model", model_}).out, HasSubstr(model_));
}

TEST_F(CliTest, CostAtRealLengths) {
  // [CLS], five words, or six with "very" in every third sentence, "." and [SEP]
  const Json c = cost({"--model", model_, "--task", "sst2", "--data", data_, "--split", "train"});
  EXPECT_EQ(c["sequences"], 24);
  const Json ids = run({"tokenize", "--vocab", model_}, "the film is very good and great .\n").json()["ids"];
  EXPECT_THAT(ids, SizeIs(10));
  EXPECT_DOUBLE_EQ(c["mean_length"].get<double>(), (8 * 10 + 16 * 9) / 24.0);
  const auto flops = [&](const char* tokens) {
    return cost({"--model", model_, "--tokens", tokens})["flops"].get<double>();
  };
  EXPECT_DOUBLE_EQ(c["flops_real_lengths"].get<double>(), (8 * flops("10") + 16 * flops("9")) / 24);
  EXPECT_EQ(c["flops_by_exit_real_lengths"][0], c["flops_real_lengths"]);

  // By columns, from a file, without labels that anybody has to know; cut at 4 tokens.
  const std::string file = folder_.write("any.tsv", "text\tstars\nthe good film\tmany\nthe film\tfew\na\t\n");
  const Json own = cost({"--model", model_, "--columns", "text,stars", "--data", file, "--max-length", "4"});
  EXPECT_EQ(own["data"], file);
  EXPECT_DOUBLE_EQ(own["mean_length"].get<double>(), (4 + 4 + 3) / 3.0);
  const Outcome text = run({"cost", "--model", model_, "--task", "sst2", "--data", data_});
  EXPECT_THAT(text.out, AllOf(HasSubstr("in the mean over the 10 sequences of "), HasSubstr("real lengths")));
}

TEST_F(CliTest, CostRefusesSizesThatMakeNoModel) {
  const std::vector<std::pair<Words, Words>> bad = {
      {{"--layers", "0"}, {"--layers 0"}},
      {{"--hidden", "-3"}, {"--hidden -3"}},
      {{"--heads", "2.5"}, {"--heads 2.5"}},
      {{"--ffn", "0"}, {"--ffn 0"}},
      {{"--rank", "0"}, {"--rank 0"}},
      {{"--rank", "769"}, {"--rank 769", "768"}},
      {{"--tokens", "0"}, {"--tokens 0"}},
      {{"--tokens", "513"}, {"--tokens 513", "512 positions"}},
      {{"--classes", "0"}, {"--classes 0"}},
      {{"--vocab", "2000000"}, {"--vocab 2000000", "1048576"}},
      {{"--layers", "99999999999999999999"}, {"--layers"}},
      {{"--hidden", "384"}, {"--heads 12", "--head-size 64", "768", "--hidden 384"}},
      {{"--layers", "1000000"}, {"2^33"}},
      {{"--exit-start", "13"}, {"--exit-start 13", "12 layers"}},
      {{"--exit-start", "-1"}, {"--exit-start -1"}},
      {{"--pooling", "max", "--exit-start", "1"}, {"--pooling max", "cls", "mean"}},
      {{"--hidden-mode", "sum", "--exit-start", "1"}, {"--hidden-mode sum", "concat", "average"}},
      {{"--last-n-hidden", "0", "--exit-start", "1"}, {"--last-n-hidden 0"}},
      {{"--pooler-dense"}, {"--pooler-dense", "--exit-start 1"}},
      {{"--pooling", "mean", "--rank", "5", "--exit-start", "0"}, {"--pooling", "--exit-start 1"}},
      {{"--model", model_, "--layers", "3"}, {"--layers", "--model"}},
      {{"--model", model_, "--pooler-dense"}, {"--pooler-dense", "--model"}},
      {{"--model", model_, "--tokens", "129"}, {"--tokens 129", "128 positions"}},
      {{"--data", data_, "--task", "sst2"}, {"--data needs --model"}},
      {{"--task", "sst2"}, {"--task", "--data is missing"}},
      {{"--max-length", "5"}, {"--max-length", "--data is missing"}},
      {{"--model", model_, "--data", data_}, {"--task", "--columns"}},
      {{"--model", model_, "--data", data_, "--task", "sst2", "--columns", "a,b"}, {"--task", "--columns"}},
      {{"--model", model_, "--data", data_, "--task", "sst9"}, {"sst9"}},
      {{"--model", model_, "--data", data_, "--task", "sst2", "--split", "all"}, {"split all"}},
      {{"--model", model_, "--data", data_, "--task", "sst2", "--max-length", "129"}, {"--max-length 129"}},
      {{"--model", model_, "--data", data_, "--task", "sst2", "--max-length", "1"}, {"max"}},
      {{"--lyers", "3"}, {"--lyers", "nearest is --layers"}},
      {{"stray"}, {"stray"}},
  };
  for (const auto& [flags, texts] : bad) {
    Words words = {"cost"};
    words.insert(words.end(), flags.begin(), flags.end());
    const Outcome outcome = run(words);
    EXPECT_TRUE(fails(outcome, 2, texts)) << ::testing::PrintToString(flags);
    EXPECT_EQ(outcome.out, "");
  }
}

TEST_F(CliTest, CostNamesTheFileThatIsWrong) {
  EXPECT_TRUE(fails(run({"cost", "--model", folder_.path("none")}), 1, {"none"}));
  EXPECT_TRUE(fails(run({"cost", "--model", data_}), 1, {"some data", "no config.json"}));
  EXPECT_TRUE(fails(run({"cost", "--model", model_, "--task", "sst2", "--data", folder_.path("gone")}), 1,
                    {"gone", "no such file"}));
  std::filesystem::remove(model_ + "/vocab.txt");
  EXPECT_TRUE(fails(run({"cost", "--model", model_, "--task", "sst2", "--data", data_}), 1, {"vocab.txt"}));
  folder_.write("tiny model/config.json", R"({"vocab_size": 60})");
  EXPECT_TRUE(fails(run({"cost", "--model", model_}), 1, {"config.json", "hidden_size"}));
}

// A multi-exit model of 2 layers that lost heads, neurons and embedding rank.
TEST_F(CliTest, InspectShowsExitsAndWhatWasKept) {
  BertConfig config = BertConfig::plain(kVocabulary, 32, 2, 4, 64);
  config.heads = {1, 2};
  config.ffn = {10, 3};
  config.kept_heads = {{2}, {0, 3}};
  config.embedding_rank = 6;
  config.exits = ExitConfig{.pooling = Pooling::mean, .last_hidden = 2, .dense = true};
  Bert model(config);
  model.initialise(7);
  const std::string slender = folder_.path("slender");
  std::filesystem::create_directories(slender);
  save_bert(slender, model, model_);

  const Json m = run({"inspect", slender, "--json"}).json()["model"];
  EXPECT_EQ(m["architecture"], "CosteffForSequenceClassification");
  EXPECT_EQ(m["plain"], false);
  EXPECT_EQ(m["slender"], true);
  EXPECT_EQ(m["embedding_rank"], 6);
  EXPECT_EQ(m["exits"], Json::parse(R"({"first": 1, "last": 2, "pooling": "mean", "hidden_mode": "concat",
                                        "last_n_hidden": 2, "pooler_dense": true})"));
  EXPECT_THAT(m["layers"][1]["kept_heads"], ElementsAre(0, 3));
  EXPECT_EQ(m["layers"][0]["heads"], 1);
  EXPECT_EQ(m["layers"][1]["ffn"], 3);
  const Json& parameters = m["parameters"];
  EXPECT_EQ(parameters["total"], model.parameters().count());
  EXPECT_EQ(parameters["pooler"], 2 * 65 * 32);
  EXPECT_EQ(parameters["classifier"], 2 * 33 * 2);
  EXPECT_EQ(parameters["by_exit"], Json::parse(R"([{"exit": 1, "parameters": 2146},
                                                   {"exit": 2, "parameters": 2146}])"));
  const Json c = cost({"--model", slender});
  EXPECT_EQ(c["parameters"], parameters["total"]);
  EXPECT_EQ(c["flops_by_exit"], m["flops"]["by_exit"]);
  EXPECT_EQ(m["flops"]["tokens"], 128);

  const Outcome text = run({"inspect", slender});
  EXPECT_EQ(text.code, 0) << text.err;
  for (const char* part :
       {"slender CosteffForSequenceClassification", "of rank 6", "exits       1 to 2, each on", "heads kept",
        "  0 3\n", "exit 1", "exit 2", "up to exit 1"}) {
    EXPECT_THAT(text.out, HasSubstr(part));
  }
}

}  // namespace
}  // namespace costeff::testing
