// Methods but COST-EFF from the command line: whole runs on a tiny model, killed and gone on with.
#include <fmt/format.h>

#include <csignal>
#include <filesystem>
#include <thread>

#include "tests/tools/support.h"

namespace costeff::testing {
namespace {

namespace fs = std::filesystem;

class MethodsTest : public CliTest {
 protected:
  Words deebert(const std::string& out, const Words& more = {}) const {
    Words words = {"run",       "--method", "deebert",   "--recipe", "quick",
                   "--model",   model_,     "--task",    "sst2",     "--data",
                   data_,       "--out",    out,         "--batch",  "4",
                   "--threads", "1",        "--holdout", "4",        "--checkpoint-every",
                   "2"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
};

TEST_F(MethodsTest, DeebertFromABackboneToExitsAndTheirReport) {
  const std::string out = folder_.path("run");
  const Outcome outcome = run(deebert(out));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Json results = Json::parse(read(out + "/results.json"));
  EXPECT_EQ(results["method"], "deebert");
  ASSERT_EQ(results["models"].size(), 3U);
  EXPECT_EQ(results["models"][0]["role"], "fine_tuned");
  EXPECT_EQ(results["models"][1]["role"], "full_depth");
  EXPECT_EQ(results["models"][2]["role"], "early_exit");
  EXPECT_EQ(results["models"][1]["score"], results["models"][0]["score"]) << "the classifier stays as it is";
  EXPECT_EQ(results["models"][1]["exits"].size(), 2U);
  EXPECT_FALSE(results["sweep"].empty());
  EXPECT_TRUE(fs::exists(out + "/report.html"));
  EXPECT_EQ(run({"predict", "--model", out}, "the film is good\n").json()["label"].is_string(), true);
  const Outcome table = run({"results", out});
  EXPECT_EQ(table.code, 0);
  EXPECT_THAT(table.out, ::testing::HasSubstr("DeeBERT, early exit"));
  EXPECT_EQ(run({"results", out, out, "--json"}).json_lines().size(), 2U);
}

TEST_F(MethodsTest, DeebertKilledEndsWithTheSameBits) {
  const std::string whole = folder_.path("whole"), killed = folder_.path("killed");
  ASSERT_EQ(run(deebert(whole)).code, 0);
  bool begun = false;
  int kills = 0;
  for (Outcome outcome; outcome.code != 0; ++kills) {
    ASSERT_LT(kills, 200);
    Process process(begun ? Words{"run", "--out", killed, "--resume"} : deebert(killed), "");
    std::this_thread::sleep_for(std::chrono::milliseconds(40 + 23 * kills));
    process.kill(SIGKILL);
    outcome = process.wait();
    begun = fs::exists(killed + "/config.json");
  }
  for (const char* stage : {"finetune", "exits"}) {
    const std::string file = fmt::format("/{}/last/model.safetensors", stage);
    EXPECT_EQ(read(whole + file), read(killed + file)) << stage;
  }
}

TEST_F(MethodsTest, WrongCalls) {
  const std::string out = folder_.path("run");
  EXPECT_TRUE(fails(run(deebert(out, {"--temperature", "2"})), 2, {"--temperature", "DeeBERT"}));
  EXPECT_TRUE(fails(run(deebert(out, {"--no-assistant"})), 2, {"no_assistant", "DeeBERT"}));
  EXPECT_TRUE(fails(run({"run", "--method", "dee", "--out", out}), 2, {"dee", "costeff, deebert"}));
  EXPECT_FALSE(fs::exists(out));
  ASSERT_EQ(run(deebert(out)).code, 0);
  EXPECT_TRUE(fails(run({"run", "--method", "costeff", "--out", out, "--resume"}), 2,
                    {"--method costeff", "deebert"}));
  EXPECT_TRUE(fails(run({"results", folder_.path("nothing")}), 1, {"no finished run"}));
  EXPECT_TRUE(fails(run({"results"}), 2, {"RUN"}));
}

}  // namespace
}  // namespace costeff::testing
