// costeff run and its stages: the whole method on a tiny model, killed and gone on with, and wrong calls.
#include "tests/tools/pipeline.h"

#include <fmt/format.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <random>
#include <thread>

namespace costeff::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const char* const kStageNames[] = {"finetune", "assist", "slenderise", "recover"};

// Everything that a run leaves behind but what is measured by the clock.
std::vector<std::string> traces(const std::string& run) {
  std::vector<std::string> all;
  for (const std::string stage : kStageNames) {
    const std::string folder = run + "/" + stage;
    if (!fs::exists(folder)) continue;
    all.push_back(read(folder + "/last/model.safetensors"));
    all.push_back(read(folder + "/last/config.json"));
    for (const Json& line : read_log(folder)) all.push_back(line.dump());
  }
  return all;
}

TEST_F(PipelineTest, FromABackboneToASlenderModelAndItsReport) {
  const std::string out = folder_.path("run");
  const Outcome outcome = run(pipeline(out));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  for (const char* text :
       {"fine-tuned", "assistant", "COST-EFF, full depth", "COST-EFF, early exit", "report.html"})
    EXPECT_THAT(outcome.out, HasSubstr(text));
  EXPECT_TRUE(fs::exists(out + "/report.html"));
  const Outcome inspected = run({"inspect", out});
  EXPECT_EQ(inspected.code, 0);
  for (const char* text :
       {", finished\n", "finetune    finished at step", "recover     finished at step", "total"})
    EXPECT_THAT(inspected.out, HasSubstr(text));
  EXPECT_EQ(run({"inspect", out + "/slenderise", "--json"}).json()["model"]["folder"],
            out + "/slenderise/last");
  const Json config = Json::parse(read(out + "/recover/last/config.json"));
  EXPECT_EQ(config["prun_hidden_size"], 16);
  EXPECT_EQ(config["prun_intermediate_size"], 16);
  EXPECT_EQ(config["emb_hidden_dim"], 8);
  EXPECT_EQ(config["costeff"]["kept_heads"].size(), 2);
  const Json results = Json::parse(read(out + "/results.json"));
  EXPECT_EQ(results["models"].size(), 4);
  EXPECT_EQ(results["stages"].size(), 4);
  EXPECT_LT(results["models"][2]["parameters"], results["models"][0]["parameters"]);

  // The model is an ordinary one: every command takes the run's folder.
  const Outcome all =
      run({"eval", "--model", out + "/recover", "--task", "sst2", "--data", data_, "--all-exits", "--json"});
  ASSERT_EQ(all.code, 0) << all.err;
  EXPECT_EQ(all.json()["exits"].size(), 2);
  EXPECT_EQ(run({"predict", "--model", out, "--entropy", "0.3"}, "the film is good\n").code, 0);
  EXPECT_EQ(run({"inspect", out + "/slenderise/last"}).code, 0);

  // A slender model as a backbone: its exits go, a pooler and a classifier come.
  const Outcome again = run({"finetune", "--model", out + "/recover/last", "--task", "sst2", "--data", data_,
                             "--batch", "4", "--out", folder_.path("again"), "--threads", "1"});
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("newly initialised: bert.pooler.dense.weight"));
}

// The assistant teaches slenderising and recovery, and says its part once where both have the same batches.
// What recovery learns is what it learns by itself.
TEST_F(PipelineTest, TheTeacherOfTwoStagesSaysItsPartOnce) {
  const auto said = [&](const std::string& out, const Words& more) {
    const Outcome outcome = run(pipeline(out, more));
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    const std::string text = outcome.out + outcome.err, part = "computing the teacher's outputs";
    int times = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++times;
    return times;
  };
  const std::string out = folder_.path("run");
  EXPECT_EQ(said(out, {}), 2) << "the assistant's teacher, and the assistant";
  EXPECT_EQ(said(folder_.path("other"), {"--set", "slenderise.batch=3"}), 3);
  const std::vector<std::string> together = traces(out);
  fs::remove_all(out + "/recover");
  fs::remove(out + "/results.json");
  ASSERT_EQ(run({"run", "--out", out, "--resume"}).code, 0);
  EXPECT_EQ(traces(out), together);
}

TEST_F(PipelineTest, KilledTwentyTimesAcrossAllStagesEndsTheSame) {
  const std::string whole = folder_.path("whole");
  ASSERT_EQ(run(pipeline(whole)).code, 0);
  const std::string killed = folder_.path("killed");
  const auto begin = [&] {
    return fs::exists(killed + "/config.json") ? Words{"run", "--out", killed, "--resume"} : pipeline(killed);
  };
  const auto logged = [](const std::string& run) {
    std::uintmax_t bytes = 0;
    for (const std::string stage : kStageNames) {
      std::error_code error;
      const std::uintmax_t size = fs::file_size(run + "/" + stage + "/log.jsonl", error);
      bytes += error ? 0 : size;
    }
    return bytes;
  };
  std::mt19937 random(21);  // NOLINT: another seed would be another twenty moments
  std::uniform_int_distribution<std::uintmax_t> bytes(1, 2 * logged(whole) / 20);
  int kills = 0;
  std::uintmax_t most = 0;
  while (kills < 20) {
    // The log is cut back by a kill: each kill comes some lines after the farthest the run has been.
    most = std::max(most, logged(killed));
    const std::uintmax_t target = most + (kills % 3 == 0 ? 1 : bytes(random) / 2);
    Process process(begin(), "");
    while (process.running() && logged(killed) < target)
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    process.kill(SIGKILL);
    if (process.wait().code != -SIGKILL) break;
    ++kills;
  }
  EXPECT_GE(kills, 15) << "the run was over too soon";
  const Outcome last = run(begin());
  ASSERT_EQ(last.code, 0) << last.err;
  EXPECT_TRUE(traces(whole) == traces(killed));
}

TEST_F(PipelineTest, AResumedRunKeepsItsSettings) {
  const std::string out = folder_.path("run");
  ASSERT_EQ(run(pipeline(out)).code, 0);
  const Outcome refused = run({"run", "--out", out, "--resume", "--heads", "3", "--set", "recover.lr=7e-3"});
  EXPECT_TRUE(fails(refused, 2, {"--heads 3 (the run has 2)"})) << refused.err;
  EXPECT_TRUE(fails(run({"run", "--out", out, "--resume", "--set", "recover.lr=7e-3"}), 2,
                    {"--lr 0.007 (the run has"}));
  EXPECT_EQ(run({"run", "--out", out, "--resume"}).code, 0) << "nothing is left to do";
  EXPECT_TRUE(fails(run(pipeline(out)), 1, {"already holds a run"}));
  EXPECT_TRUE(fails(run({"finetune", "--out", out, "--resume"}), 1, {"a run of costeff \"run\""}));
  // A setting that this version has and the run's had not.
  Json config = Json::parse(read(out + "/config.json"));
  config["settings"]["recover"].erase("audit_every");
  folder_.write("run/config.json", config.dump());
  EXPECT_TRUE(fails(run({"run", "--out", out, "--resume"}), 1,
                    {"another version of costeff, which had no --audit-every"}));
}

// The mean of the exits' scores in a log's line of an evaluation.
double mean_score(const Json& dev) {
  if (!dev.contains("exits")) return dev["acc"].get<double>();
  double sum = 0;
  for (const Json& exit : dev["exits"]) sum += exit["acc"].get<double>();
  return sum / static_cast<double>(dev["exits"].size());
}

TEST_F(PipelineTest, ReleaseGoesOnWithTheBestOnDev) {
  const std::string out = folder_.path("run");
  const std::string often =
      "finetune.eval_every=2,assist.eval_every=2,recover.eval_every=2,"
      "finetune.lr=2e-3,assist.lr=2e-3,slenderise.lr=2e-3,recover.lr=2e-3";
  const Outcome outcome =
      run(pipeline(out, {"--fidelity", "release", "--set", often, "--last-n-hidden", "2", "--pooler-dense"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  for (const std::string stage : {"finetune", "assist", "recover"}) {
    const std::string folder = out + "/" + stage;
    const std::vector<Json> log = read_log(folder);
    std::map<std::int64_t, std::string> phase;
    for (const Json& line : log) {
      if (line.contains("loss")) phase[line["step"].get<std::int64_t>()] = line["phase"].get<std::string>();
    }
    std::int64_t best_step = 0;
    double best = -1;
    for (const Json& line : log) {
      if (!line.contains("dev") || phase.at(line["step"].get<std::int64_t>()) == "features") continue;
      if (mean_score(line["dev"]) <= best) continue;
      best = mean_score(line["dev"]);
      best_step = line["step"].get<std::int64_t>();
    }
    const Json result = Json::parse(read(folder + "/result.json"));
    EXPECT_EQ(result["best_step"], best_step) << stage;
    const bool last = best_step == result["steps"];
    EXPECT_EQ(read(folder + "/best/model.safetensors") == read(folder + "/last/model.safetensors"), last);
  }
  EXPECT_FALSE(fs::exists(out + "/slenderise/best")) << "sizes still change";
  const auto settings = [&](const std::string& stage) {
    return Json::parse(read(out + "/" + stage + "/config.json"))["settings"];
  };
  EXPECT_EQ(settings("assist")["teacher"], out + "/finetune/best");
  EXPECT_EQ(settings("assist")["model"], model_) << "not the fine-tuned one";
  EXPECT_EQ(settings("slenderise")["model"], out + "/assist/best");
  EXPECT_EQ(settings("slenderise")["teacher"], out + "/assist/best");
  EXPECT_EQ(settings("recover")["model"], out + "/slenderise/last");
  EXPECT_EQ(settings("recover")["teacher"], out + "/assist/best");
}

// Half of each round but the last.
TEST_F(PipelineTest, TheLogSaysWhichStepsLearnFeaturesAlone) {
  const std::string out = folder_.path("run");
  ASSERT_EQ(run(pipeline(out, {"--set", "recover.feature_epochs=1,recover.prediction=soft"})).code, 0);
  std::vector<std::pair<std::string, std::vector<bool>>> phases;
  for (const std::string stage : kStageNames) {
    for (const Json& line : read_log(out + "/" + stage)) {
      if (!line.contains("loss")) continue;
      const std::string name = stage + " " + line["phase"].get<std::string>();
      if (phases.empty() || phases.back().first != name) phases.push_back({name, {}});
      phases.back().second.push_back(line.contains("features_alone") && line["features_alone"] == true);
    }
  }
  std::vector<std::string> names;
  for (const auto& [name, alone] : phases) {
    names.push_back(name);
    const std::size_t expected = name == "slenderise round 1" ? alone.size() / 2
                                 : name == "recover features" ? alone.size()
                                                              : 0;
    for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_EQ(alone[i], i < expected) << name << " step " << i;
  }
  EXPECT_EQ(names, (Words{"finetune labels", "assist predictions", "slenderise round 1", "slenderise round 2",
                          "recover features", "recover predictions"}));
}

TEST_F(PipelineTest, WrongCalls) {
  const std::string out = folder_.path("run");
  const auto refuses = [&](const Words& more, const std::vector<std::string>& texts) {
    const Outcome outcome = run(pipeline(out, more));
    EXPECT_TRUE(fails(outcome, 2, texts)) << ::testing::PrintToString(more);
    EXPECT_FALSE(fs::exists(out)) << ::testing::PrintToString(more);
  };
  refuses({"--heads", "0"}, {"--heads"});
  refuses({"--ffn", "-3"}, {"--ffn"});
  refuses({"--rank", "0"}, {"--rank"});
  refuses({"--fidelity", "both"}, {"--fidelity", "paper"});
  refuses({"--temperature", "0"}, {"--temperature"});
  refuses({"--set", "recover.speed=3"}, {"recover.speed", "nearest is \"seed\""});
  refuses({"--set", "rest.lr=3"}, {"rest", "recover"});
  refuses({"--recipe", "slow"}, {"recipe slow"});
  // What a later stage would refuse is refused before the first one trains.
  refuses({"--heads", "5"}, {"--heads 5", "has 4"});
  refuses({"--ffn", "65"}, {"--ffn 65", "has 64"});
  refuses({"--rank", "33"}, {"--rank 33", "32"});
  refuses({"--exit-start", "3"}, {"--exit-start 3", "2 layers"});
  refuses({"--rounds", "1000"}, {"rounds"});
  refuses({"--set", "recover.holdout=0"}, {"recover: --holdout 0"});
  refuses({"--set", "slenderise.seed=7"}, {"slenderise: --seed 7"});
  EXPECT_TRUE(fails(run(pipeline(out, {"--data", folder_.path("nowhere")})), 1, {"nowhere"}));
  EXPECT_FALSE(fs::exists(out));
  EXPECT_TRUE(fails(run({"run", "--task", "sst2", "--data", data_}), 2, {"--out"}));

  ASSERT_EQ(run(pipeline(out)).code, 0);
  const auto slenderise = [&](const Words& more) {
    Words words = stage("slenderise", out, folder_.path("other"), {"--model", out + "/assist/last"});
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  };
  EXPECT_TRUE(fails(slenderise({"--heads", "5", "--ffn", "16", "--rank", "8"}), 2, {"--heads 5", "has 4"}));
  EXPECT_TRUE(fails(slenderise({"--heads", "2", "--ffn", "65", "--rank", "8"}), 2, {"--ffn 65", "has 64"}));
  EXPECT_TRUE(fails(slenderise({"--heads", "2", "--ffn", "16", "--rank", "33"}), 2, {"--rank 33", "32"}));
  EXPECT_TRUE(
      fails(run(stage("assist", out, folder_.path("other"), {"--model", model_, "--exit-start", "3"})), 2,
            {"--exit-start 3", "2 layers"}));

  make_model(folder_.path("three"), {"a", "b", "c"});
  Words taught = stage("assist", out, folder_.path("other"), {"--model", model_});
  const auto teacher = std::find(taught.begin(), taught.end(), "--teacher") + 1;
  *teacher = folder_.path("three");
  EXPECT_TRUE(fails(run(taught), 1, {"3 classes", "the task 2"}));
  make_model(folder_.path("words"));
  std::string vocabulary = read(model_ + "/vocab.txt");
  std::swap(vocabulary[vocabulary.size() - 2], vocabulary[vocabulary.size() - 6]);
  folder_.write("words/vocab.txt", vocabulary);
  *teacher = folder_.path("words");
  EXPECT_TRUE(fails(run(taught), 1, {"different vocabularies"}));
  EXPECT_TRUE(fails(run(stage("recover", out, folder_.path("other"), {"--model", model_})), 1, {"no exits"}));
  folder_.write("unlabelled/train.tsv", sentences(24));
  folder_.write("unlabelled/dev.tsv", "sentence\nthe film is good\n");
  const Outcome unlabelled = run(pipeline(folder_.path("third"), {"--data", folder_.path("unlabelled")}));
  EXPECT_TRUE(fails(unlabelled, 1, {"dev.tsv", "label"}));
  EXPECT_FALSE(fs::exists(folder_.path("third")));
}

// Where dev has one class, Matthews' correlation is 0, and there is no share of it to keep.
TEST_F(PipelineTest, AFineTunedModelThatScoresNothing) {
  std::string train, dev;
  for (int i = 0; i < 24; ++i)
    train += fmt::format("x\t{}\t\tthe film is {}\n", i % 2, i % 2 == 1 ? "good" : "bad");
  for (int i = 0; i < 6; ++i) dev += "x\t1\t\tthe film is good\n";
  folder_.write("cola/train.tsv", train);
  folder_.write("cola/dev.tsv", dev);
  const Outcome outcome =
      run(pipeline(folder_.path("run"), {"--task", "CoLA", "--data", folder_.path("cola")}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("0.0000      - %"));
  EXPECT_THAT(outcome.out, HasSubstr("report.html"));
}

}  // namespace
}  // namespace costeff::testing
