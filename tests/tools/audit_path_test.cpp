// costeff audit path: what it prints and writes of a small model, and what it refuses.
#include <sys/stat.h>

#include <cmath>
#include <cstdlib>

#include "nn/checkpoint.h"
#include "tests/tools/support.h"

namespace costeff::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr const char* kWeight = "encoder.layer.0.intermediate.weight";

// A multi-exit model of 3 layers, and a teacher like it.
class AuditPathTest : public CliTest {
 protected:
  AuditPathTest() : student_(folder_.path("student")), teacher_(folder_.path("teacher")) {
    make_exits_model(student_, 3, {.pooling = Pooling::mean}, 7);
    make_exits_model(teacher_, 3, {.pooling = Pooling::mean}, 8);
  }

  Words words(const Words& more) const {
    Words all = {"audit",  "path", "--model", student_, "--task",    "sst2",
                 "--data", data_,  "--batch", "5",      "--threads", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  Outcome path(const Words& more, const std::function<void()>& in_child = {}) const {
    return run(words(more), "", in_child);
  }
  static std::vector<std::string> names_of(const Json& parts) {
    std::vector<std::string> names;
    for (const Json& part : parts) names.push_back(part["part"]);
    return names;
  }
  static std::vector<std::string> kinds_of(const Json& json) {
    std::vector<std::string> kinds;
    for (const Json& finding : json["findings"]) kinds.push_back(finding["kind"]);
    return kinds;
  }
  // What --json writes.
  Json json(Words more) const {
    more.insert(more.end(), {"--json", folder_.path("path.json")});
    const Outcome outcome = path(more);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.code == 0 ? Json::parse(read(folder_.path("path.json"))) : Json();
  }

  std::string student_;
  std::string teacher_;
};

TEST_F(AuditPathTest, PartsGoFromTheLossToTheWeight) {
  const Json j = json({"--from", "exit.2", "--to", kWeight});
  EXPECT_THAT(j["headline"].get<std::string>(), HasSubstr("[64, 32], a weight of layer 1 of 3"));
  EXPECT_THAT(names_of(j["parts"]), ElementsAre("exit.2.hard", "exit 2", "h_2", "layer 2 ffn",
                                                "layer 2 attention", "h_1 to layer 2", "h_1", "layer 1 ffn"));
  EXPECT_NEAR(j["parts"][2]["factor"].get<double>(), 0.5, 1e-12);
  EXPECT_NEAR(j["parts"][6]["factor"].get<double>(), 1.0 / 3, 1e-12);
  EXPECT_THAT(j["parts"][4]["ways meet"].get<std::string>(), HasSubstr("residual"));
  EXPECT_EQ(kinds_of(j), (std::vector<std::string>{"one_factor", "of_layer", "measured", "deviation"}));
  EXPECT_EQ(j["findings"][0]["values"]["factor"], "1/3");
  EXPECT_NEAR(j["findings"][2]["values"]["ratio"].get<double>(), 1.0 / 3, 1e-5);

  const Outcome all = path({"--from", "exit.2", "--to", kWeight, "--all"});
  for (const char* part : {"cross_entropy", "y = -mean log softmax(z)[label]", "gradient_rescale", "x 1/3",
                           "2 ways meet", "to the weight", "bert.encoder.layer.0.ffn"}) {
    EXPECT_THAT(all.out, HasSubstr(part));
  }
  const Json off = json({"--from", "exit.2", "--to", kWeight, "--no-equalise"});
  EXPECT_EQ(kinds_of(off), std::vector<std::string>{"off"});
  EXPECT_EQ(off["parts"].size(), j["parts"].size() - 3);
}

TEST_F(AuditPathTest, EntriesOfATeachersLossAgreeInF64) {
  const Words loss = {"--teacher", teacher_, "--stage", "recover", "--prediction", "both", "--from", "loss"};
  const auto entry_of = [&](const char* weight, const char* place) {
    Words more = loss;
    more.insert(more.end(), {"--to", weight, "--entry", place});
    return json(more);
  };
  const Json matrix = entry_of(kWeight, "5,7");
  EXPECT_EQ(matrix["dtype"], "f64");
  EXPECT_THAT(matrix["terms"], SizeIs(3 + 3 + 3));
  EXPECT_EQ(matrix["terms"][0]["coefficient"], 0.5);
  EXPECT_EQ(matrix["factors"]["closed_form"], matrix["factors"]["least"]);
  const Json& e = matrix["entry"];
  EXPECT_EQ(e["row"], 5);
  EXPECT_EQ(e["column"], 7);
  EXPECT_LT(e["relative_error"].get<double>(), 1e-6);
  EXPECT_EQ(e["agrees"], true);
  EXPECT_NEAR(e["gradient"].get<double>(), e["plain_gradient"].get<double>() / 3, 1e-12);
  double sum = 0;
  for (const Json& term : matrix["entry_terms"]) sum += term["term"].get<double>();
  EXPECT_NEAR(sum, e["gradient"].get<double>(), 1e-12);
  EXPECT_EQ(matrix["entry_terms"][0]["formula"], "dW[i,j] = sum over t of dy[t,i] x[t,j]");

  // Piece 33 is "is", the third of a sentence.
  const Json table = entry_of("word_embeddings.weight", "33,2");
  EXPECT_EQ(table["entry"]["agrees"], true);
  const Json bias = entry_of("layer.1.output.LayerNorm.bias", "3");
  EXPECT_EQ(bias["entry"]["row"], 3);
  EXPECT_EQ(bias["entry"]["agrees"], true);

  EXPECT_THAT(table["entry_terms"][0]["t"].get<std::string>(), HasSubstr("token 3 \"is\""));
  EXPECT_EQ(kinds_of(table).front(), "two_factors");
  EXPECT_EQ(kinds_of(table).back(), "agree");
}

// A weight that is not a number: exit 3's gradients are none, exit 1's are untouched.
TEST_F(AuditPathTest, AnEntryThatIsNoDerivativeEndsWithExitCode1) {
  spoil_model(student_, "bert.encoder.layer.2.output.dense.weight");
  EXPECT_EQ(path({"--from", "exit.1", "--to", kWeight, "--entry", "1,1"}).code, 0);
  const Outcome outcome = path({"--from", "exit.3", "--to", kWeight, "--entry", "1,1"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("FAULT "), HasSubstr("is not finite")));
  EXPECT_EQ(path({"--from", "exit.3", "--to", kWeight}).code, 1);
}

TEST_F(AuditPathTest, OneSentenceAlone) {
  const Json all = json({"--from", "exit.1", "--to", "position_embeddings.weight"});
  EXPECT_EQ(all["sentences"], 5);
  double sum = 0;
  for (int n = 1; n <= 5; ++n) {
    const Json one =
        json({"--from", "exit.1", "--to", "position_embeddings.weight", "--sentence", std::to_string(n)});
    EXPECT_EQ(one["sentences"], 1);
    EXPECT_EQ(one["first_sentence"], n);
    sum += one["terms"][0]["value"].get<double>();
  }
  EXPECT_NEAR(sum / 5, all["terms"][0]["value"].get<double>(), 1e-5) << "a loss is the mean over sentences";
  const Outcome text = path({"--from", "exit.1", "--to", kWeight, "--sentence", "2", "--entry", "0,0"});
  EXPECT_THAT(text.out, AllOf(HasSubstr("sentence 2: [CLS] the"), HasSubstr("sentence 2, token 1 \"the\"")));
  EXPECT_TRUE(fails(path({"--from", "exit.1", "--to", kWeight, "--sentence", "6"}), 2,
                    {"--sentence 6", "5 were drawn"}));
}

TEST_F(AuditPathTest, RecordsOfTheJsonAreAChain) {
  const Json j = json({"--from", "exit.3", "--to", kWeight});
  EXPECT_EQ(j["to"]["layer"], 1);
  EXPECT_EQ(j["to"]["layers"], 3);
  EXPECT_NEAR(j["gradient"].get<double>() / j["plain_gradient"].get<double>(), 1.0 / 3, 1e-5);
  double product = 1;
  for (const Json& record : j["records"]) {
    if (!record["factor"].is_null()) product *= record["factor"].get<double>();
  }
  EXPECT_NEAR(product, 1.0 / 3, 1e-12);
  EXPECT_EQ(j["records"][0]["op"], "cross_entropy");
  EXPECT_EQ(j["records"][0]["|dy|"], 1);
  for (std::size_t i = 0; i + 1 < j["records"].size(); ++i) {
    EXPECT_LT(j["records"][i + 1]["record"], j["records"][i]["record"]);
    if (j["records"][i]["passes"].size() == 1 && j["records"][i + 1]["readers"].size() == 1) {
      EXPECT_EQ(j["records"][i]["passes"][0]["node"], j["records"][i + 1]["node"]);
    }
  }
  EXPECT_EQ(j["parts"][0]["part"], "exit.3.hard");
  EXPECT_EQ(j["parts"][0]["hands on"][0]["to"], "exit 3");
  EXPECT_TRUE(j["parts"].back()["hands on"][0]["to"].is_null());
  EXPECT_FALSE(j.contains("entry"));
}

TEST_F(AuditPathTest, PicturesAreDrawnByDot) {
  const std::string dot = folder_.path("path.dot");
  const std::string svg = folder_.path("path.svg");
  const Words words = {"--from", "loss", "--to", kWeight, "--dot", dot, "--svg", svg};
  const Outcome outcome = path(words);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(read(dot), AllOf(HasSubstr("label=\"layer 2 attention\""),
                               HasSubstr("label=\"h_2 \xc3\x97 1/2\""), HasSubstr(" -> weight [label=")));
  EXPECT_THAT(read(svg), AllOf(HasSubstr("<svg"), HasSubstr("layer 2 attention"), HasSubstr("exit.3.hard"),
                               HasSubstr("</svg>")));
  fs::remove(svg);
  EXPECT_TRUE(fails(path(words, [] { setenv("PATH", "/nonexistent", 1); }), 1,
                    {"dot", "graphviz", "apt-get install graphviz"}));
  const std::string fake = folder_.write("bin/dot", "#!/bin/sh\necho 'it is broken' >&2\nexit 3\n");
  chmod(fake.c_str(), 0755);
  const std::string bin = folder_.path("bin");
  EXPECT_TRUE(
      fails(path(words, [&] { setenv("PATH", bin.c_str(), 1); }), 1, {"exit status 3", "it is broken"}));
  EXPECT_FALSE(fs::exists(svg));
}

TEST_F(AuditPathTest, RefusesWhatLeadsNowhere) {
  const std::vector<std::pair<Words, Words>> bad = {
      {{}, {"--from is missing"}},
      {{"--from", "exit.1"}, {"--to is missing", "costeff inspect"}},
      {{"--from", "exit.4", "--to", kWeight}, {"no term exit.4", "exit.3.hard"}},
      {{"--from", "exit.1.soft", "--to", kWeight}, {"no term exit.1.soft", "exit.1.hard"}},
      {{"--from", "features.1", "--to", kWeight}, {"no term features.1"}},
      {{"--from", "exit.1", "--to", "encoder.layer.0.intermediat.weight"},
       {"nearest is layer.0.intermediate.weight"}},
      {{"--from", "exit.1", "--to", "encoder.layer.3.intermediate.weight"}, {"no such parameter"}},
      {{"--from", "exit.1", "--to", "encoder.layer.2.intermediate.weight"},
       {"layer 3 of 3", "at 3 and above"}},
      {{"--from", "exit.1", "--to", "classifier.weight"}, {"exit 3 of 3", "exit.3"}},
      {{"--from", "exit.1", "--to", kWeight, "--entry", "5"},
       {"--entry 5", "[64, 32]", "from 0 to 63", "from 0 to 31"}},
      {{"--from", "exit.1", "--to", kWeight, "--entry", "64,0"}, {"--entry 64,0", "[64, 32]"}},
      {{"--from", "exit.1", "--to", kWeight, "--entry", "0,32"}, {"--entry 0,32"}},
      {{"--from", "exit.1", "--to", kWeight, "--entry", "0,-1"}, {"--entry 0,-1"}},
      {{"--from", "exit.1", "--to", kWeight, "--entry", "a,b"}, {"--entry a,b"}},
      {{"--from", "exit.1", "--to", kWeight, "--entry", "1,2,3"}, {"--entry 1,2,3"}},
      {{"--from", "exit.1", "--to", "layer.0.output.bias", "--entry", "0,0"},
       {"--entry 0,0", "[32]", "from 0 to 31"}},
      {{"--from", "exit.1", "--to", "layer.0.output.bias", "--entry", "32"}, {"--entry 32"}},
      {{"--from", "exit.1", "--to", kWeight, "--sentence", "0"}, {"--sentence 0"}},
      {{"--from", "exit.1", "--too", kWeight}, {"--too", "nearest is --to"}},
      {{"--from", "exit.1", "--to", kWeight, "--stage", "recover"}, {"--teacher"}},
  };
  for (const auto& [flags, texts] : bad) {
    const Outcome outcome = path(flags);
    EXPECT_TRUE(fails(outcome, 2, texts)) << ::testing::PrintToString(flags);
    EXPECT_EQ(outcome.out, "");
  }
  EXPECT_TRUE(
      fails(path({"--from", "exit.1", "--to", kWeight, "--json", folder_.path("gone/x.json")}), 1, {"gone"}));
  EXPECT_TRUE(fails(run({"audit", "path", "--from", "exit.1", "--to", kWeight, "--model", student_, "--task",
                         "sst2", "--data", data_, "--batches", "4611686018427387904", "--batch", "4"}),
                    2, {"batches 4611686018427387904"}));
}

TEST_F(AuditPathTest, HelpSpeaksOfThePaper) {
  const Outcome help = run({"audit", "path", "--help"});
  EXPECT_EQ(help.code, 0);
  for (const char* part : {"--from TERM", "--to WEIGHT", "--entry I,J", "Eq. 3", "--svg FILE"})
    EXPECT_THAT(help.out, HasSubstr(part));
}

}  // namespace
}  // namespace costeff::testing
