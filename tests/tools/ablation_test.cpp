// What each ablation of a run changes, and which threshold its model carries.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>

#include "tests/tools/pipeline.h"

namespace costeff::testing {
namespace {

namespace fs = std::filesystem;

using AblationTest = PipelineTest;

// A run as its files tell of it.
class RunFiles {
 public:
  explicit RunFiles(std::string out) : out_(std::move(out)) {}

  bool has(const std::string& stage) const { return fs::exists(out_ + "/" + stage); }
  Json config(const std::string& stage) const {
    return Json::parse(read(out_ + "/" + stage + "/config.json"));
  }
  Json model(const std::string& stage) const {
    return Json::parse(read(out_ + "/" + stage + "/last/config.json"));
  }
  Json results() const { return Json::parse(read(out_ + "/results.json")); }
  // The lines of the stage's log that have this key.
  std::vector<Json> lines(const std::string& stage, const std::string& key) const {
    std::vector<Json> found = read_log(out_ + "/" + stage);
    std::erase_if(found, [&](const Json& line) { return !line.contains(key); });
    return found;
  }
  double first(const std::string& stage, const std::string& key) const {
    return lines(stage, key).at(0)[key].get<double>();
  }
  std::vector<std::string> phases(const std::string& stage) const {
    const Json described = config(stage);
    std::vector<std::string> names;
    for (const Json& phase : described["effective"]["phases"]) names.push_back(phase["name"]);
    return names;
  }
  // Steps of a stage that distil hidden states alone.
  std::size_t alone(const std::string& stage) const { return lines(stage, "features_alone").size(); }
  Json kept_neurons() const { return lines("slenderise", "round").at(0)["kept_neurons"]; }

 private:
  std::string out_;
};

// Each ablation changes what it says, beside a run without it.
TEST_F(AblationTest, EachAblationChangesWhatItSays) {
  using ::testing::ElementsAre;
  const auto made = [&](const Words& flags) {
    const std::string out =
        folder_.path("run" + ::testing::PrintToString(flags.size()) + (flags.empty() ? "" : flags[0]));
    const Outcome outcome = run(pipeline(out, flags));
    EXPECT_EQ(outcome.code, 0) << ::testing::PrintToString(flags) << outcome.err;
    return RunFiles(out);
  };
  const RunFiles base = made({});
  const std::size_t steps = base.lines("slenderise", "loss").size();
  ASSERT_GT(base.alone("slenderise"), 0U);
  ASSERT_LT(base.alone("slenderise"), steps);

  const RunFiles plain = made({"--no-equalise", "--no-features"});
  EXPECT_EQ(plain.first("assist", "loss"), base.first("assist", "loss"));
  EXPECT_GT(plain.first("assist", "gradient_norm"), base.first("assist", "gradient_norm"))
      << "not scaled down";
  EXPECT_EQ(plain.alone("slenderise"), 0U);

  const RunFiles hard = made({"--prediction", "hard", "--importance", "random"});
  EXPECT_NE(hard.first("assist", "loss"), base.first("assist", "loss"));
  EXPECT_NE(hard.kept_neurons(), base.kept_neurons());

  const RunFiles once = made({"--importance", "last-exit", "--rounds", "1"});
  EXPECT_EQ(once.lines("slenderise", "round").size(), 1U);
  EXPECT_GT(base.lines("slenderise", "round").size(), 1U);

  const RunFiles unassisted = made({"--no-assistant"});
  EXPECT_FALSE(unassisted.has("assist"));
  EXPECT_THAT(unassisted.config("recover")["settings"]["teacher"].get<std::string>(),
              ::testing::EndsWith("finetune/last"));
  EXPECT_EQ(unassisted.results()["models"].size() + 1, base.results()["models"].size());

  EXPECT_THAT(base.phases("assist"), ElementsAre("predictions"));
  EXPECT_THAT(made({"--two-stage"}).phases("assist"), ElementsAre("backbone", "exits"));

  const RunFiles states = made({"--prediction", "none"});
  EXPECT_EQ(states.alone("slenderise"), states.lines("slenderise", "loss").size());
  EXPECT_EQ(states.first("assist", "loss"), base.first("assist", "loss"))
      << "it learns nothing but predictions";

  const RunFiles last = made({"--set", "assist.exit_losses=last,slenderise.exit_losses=last,assist.lr=2e-3"});
  EXPECT_LT(last.first("assist", "loss"), 0.75 * base.first("assist", "loss")) << "one exit of two";

  const RunFiles global = made({"--budget", "global", "--embedding", "plain", "--temperature", "2"});
  const Json widths = global.model("recover")["costeff"]["ffn"];
  EXPECT_EQ(widths[0].get<int>() + widths[1].get<int>(), 32);
  EXPECT_NE(global.first("assist", "loss"), base.first("assist", "loss"));
  EXPECT_EQ(global.config("slenderise")["settings"]["embedding"], "plain");

  const RunFiles paper = made({"--fidelity", "paper", "--pooling", "cls"});
  EXPECT_THAT(paper.phases("recover"), ElementsAre("features", "predictions"));
  EXPECT_THAT(base.phases("recover"), ElementsAre("features"));
  EXPECT_EQ(paper.config("assist")["effective"]["pooling"], "cls");

  const RunFiles later = made({"--exit-start", "2", "--hidden-mode", "average", "--last-n-hidden", "2"});
  EXPECT_TRUE(base.lines("assist", "dev").at(0)["dev"].contains("exits"));
  EXPECT_FALSE(later.lines("assist", "dev").at(0)["dev"].contains("exits")) << "one exit is left";
  EXPECT_EQ(later.model("assist")["last_n_hidden"], 2);
}

// The threshold that a run chose goes with its model: predict and eval exit early by it unless told
// otherwise.
TEST_F(AblationTest, TheChosenThresholdIsTheModels) {
  const std::string out = folder_.path("run");
  ASSERT_EQ(run(pipeline(out)).code, 0);
  const Json early = Json::parse(read(out + "/results.json"))["models"].back();
  ASSERT_EQ(early["role"], "early_exit");
  const std::string folder = out + "/" + early["folder"].get<std::string>();
  EXPECT_EQ(Json::parse(read(folder + "/config.json"))["costeff"]["exit_threshold"], early["threshold"]);
  const auto average = [&](const Words& more) {
    Words words = {"eval", "--model", out, "--task", "sst2", "--data", data_, "--json"};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.json()["average_exit"];
  };
  EXPECT_EQ(average({}), early["average_exit"]);
  EXPECT_EQ(average({"--entropy", "0"}), 2);
  EXPECT_EQ(average({"--entropy", "9"}), 1);
  EXPECT_EQ(average({"--confidence", "0"}), 1);
  EXPECT_EQ(average({"--patience", "2"}), 2);
  EXPECT_TRUE(fails(run({"predict", "--model", out, "--entropy", "1", "--patience", "1"}), 2,
                    {"--entropy", "--patience"}));
  // A model that is trained on loses it: it was another model's.
  const Outcome on = run(stage("recover", out, folder_.path("on"), {"--model", folder}));
  ASSERT_EQ(on.code, 0) << on.err;
  EXPECT_FALSE(Json::parse(read(folder_.path("on/last/config.json")))["costeff"].contains("exit_threshold"));
  // A folder of a later format is refused by its version.
  Json config = Json::parse(read(folder + "/config.json"));
  config["costeff"]["format"] = 99;
  std::ofstream(folder + "/config.json") << config.dump();
  EXPECT_TRUE(fails(run({"inspect", folder}), 1, {"format 99"}));
  Json run_config = Json::parse(read(out + "/recover/config.json"));
  run_config["format"] = 99;
  std::ofstream(out + "/recover/config.json") << run_config.dump();
  EXPECT_TRUE(fails(run({"inspect", out + "/recover"}), 1, {"format 99"}));
}

}  // namespace
}  // namespace costeff::testing
