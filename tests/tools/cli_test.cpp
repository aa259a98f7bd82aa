// How the program is called: help, errors, exit codes.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/tools/support.h"

namespace costeff::testing {
namespace {

using ::testing::HasSubstr;

const std::vector<std::pair<std::string, std::vector<std::string>>> kGroups = {
    {"finetune", {"Model and data:", "Run:", "Training:", "--lr X (=", "--epochs N (=3)"}},
    {"run", {"Model and data:", "Sizes and rounds:", "Distillation:", "--recipe R", "--set LIST"}},
    {"assist", {"--teacher DIR", "Distillation:", "Exits", "--two-stage", "--lr X (=", "--epochs N (=3)"}},
    {"slenderise", {"--teacher DIR", "Sizes and rounds:", "--heads N", "--importance I (=auto)"}},
    {"recover", {"--teacher DIR", "Distillation:", "--feature-epochs X", "--epochs N (=9)"}},
    {"report", {"--out FILE"}},
    {"eval", {"Model and data:", "Computing:", "Output:", "--batch N (=32)", "--split NAME (=dev)"}},
    {"predict", {"Model:", "Computing:", "--batch N (=32)"}},
    {"tokenize", {"Options:", "--max-length N (=no limit)"}},
    {"inspect", {"Output:", "--json"}},
    {"cost",
     {"Model in a folder:", "defaults: BERT-base", "Sequences:", "--hidden N (=768)", "--exit-start N"}},
    {"devices", {"Output:", "--json"}},
};

TEST(Cli, HelpOfEachCommand) {
  const Outcome all = run({"--help"});
  EXPECT_EQ(all.code, 0);
  for (const auto& [command, texts] : kGroups) {
    EXPECT_THAT(all.out, HasSubstr("  " + command + " "));
    const Outcome help = run({command, "--help"});
    EXPECT_EQ(help.code, 0);
    EXPECT_EQ(help.err, "");
    EXPECT_THAT(help.out, HasSubstr("Usage: costeff " + command));
    for (const std::string& text : texts) EXPECT_THAT(help.out, HasSubstr(text));
  }
}

TEST(Cli, Version) {
  const Outcome version = run({"--version"});
  EXPECT_EQ(version.code, 0);
  EXPECT_THAT(version.out, ::testing::MatchesRegex("costeff [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

TEST(Cli, WrongCalls) {
  EXPECT_TRUE(fails(run({}), 2, {"which command?"}));
  EXPECT_TRUE(fails(run({"finetnue"}), 2, {"costeff: ", "\"finetnue\"", "nearest is finetune"}));
  EXPECT_TRUE(
      fails(run({"finetune", "--bacth", "3"}), 2, {"costeff finetune: ", "--bacth", "nearest is --batch"}));
  EXPECT_TRUE(fails(run({"eval", "--jsn"}), 2, {"costeff eval: ", "nearest is --json"}));
  EXPECT_TRUE(fails(run({"predict", "stray"}), 2, {"\"stray\""}));
  EXPECT_TRUE(fails(run({"inspect"}), 2, {"DIR"}));
}

TEST(Cli, ADefaultModelThatIsMissingNamesTheScript) {
  const auto elsewhere = [] { setenv("XDG_CACHE_HOME", "/nonexistent", 1); };
  for (const Words& words :
       {Words{"predict"}, Words{"tokenize"}, Words{"eval", "--task", "sst2", "--data", "x"}}) {
    EXPECT_TRUE(
        fails(run(words, "", elsewhere), 1, {"/nonexistent/costeff/minilm-l6", "tools/fetch_backbone.sh"}));
  }
}

TEST(Cli, OutputThatCannotBeWrittenIsAnError) {
  const auto full = [] { dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO); };
  EXPECT_TRUE(fails(run({"devices"}, "", full), 1, {"cannot write standard output"}));
  EXPECT_TRUE(fails(run({"--help"}, "", full), 1, {"cannot write standard output"}));
  const auto closed = [] { close(STDOUT_FILENO); };
  EXPECT_TRUE(fails(run({"devices"}, "", closed), 1, {"cannot write standard output"}));
  const auto broken = [] {
    int ends[2];
    if (pipe(ends) == 0) dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
  };
  EXPECT_TRUE(fails(run({"devices"}, "", broken), 1, {"cannot write standard output"}));
}

TEST_F(CliTest, NumbersAreStrict) {
  const std::string out = folder_.path("run");
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"--lr", "nan"},         {"--lr", "inf"},
      {"--lr", "-1e-4"},       {"--lr", "2e-5x"},
      {"--batch", "0"},        {"--batch", "-3"},
      {"--batch", "1.5"},      {"--batch", "99999999999999999999"},
      {"--epochs", "0"},       {"--accumulate", "0"},
      {"--warmup", "nan"},     {"--weight-decay", "-1"},
      {"--max-norm", "x"},     {"--dropout", "1"},
      {"--dropout", "-0.5"},   {"--seed", "-1"},
      {"--threads", "-1"},     {"--max-length", "2"},
      {"--max-length", "500"}, {"--pad-to", "5"},
      {"--max-steps", ""},     {"--eval-every", "-1"},
      {"--save-dtype", "f8"},  {"--adam-variant", "adam"},
      {"--task", "sst3"},      {"--columns", "a"},
  };
  for (const auto& [flag, value] : bad) {
    Words words = {"finetune", "--model", model_, "--data", data_, "--out", out, flag, value};
    if (flag != "--task" && flag != "--columns") words.insert(words.end(), {"--task", "sst2"});
    const Outcome outcome = run(words);
    EXPECT_TRUE(fails(outcome, 2, {"costeff finetune: "})) << flag << " " << value;
    const bool names_flag = flag != "--task" && flag != "--adam-variant";  // these name the value
    EXPECT_THAT(outcome.err, HasSubstr(names_flag ? flag.substr(2) : value));
    EXPECT_FALSE(std::filesystem::exists(out)) << flag << " " << value;
  }
  EXPECT_TRUE(fails(run(eval({"--batch", "0"})), 2, {"--batch 0"}));
  EXPECT_TRUE(fails(run(eval({"--max-length", "129"})), 2, {"--max-length 129", "128 positions"}));
  EXPECT_TRUE(fails(run(eval({"--split", "dve"})), 2, {"split dve"}));
  EXPECT_TRUE(fails(run({"predict", "--model", model_, "--batch", "0"}), 2, {"--batch 0"}));
}

TEST_F(CliTest, RequiredFlags) {
  EXPECT_TRUE(fails(run({"finetune"}), 2, {"--data"}));
  EXPECT_TRUE(fails(run({"finetune", "--data", data_}), 2, {"--out"}));
  EXPECT_TRUE(
      fails(run({"finetune", "--data", data_, "--out", folder_.path("r")}), 2, {"--task", "--columns"}));
  EXPECT_TRUE(fails(run({"finetune", "--resume"}), 2, {"--out"}));
  EXPECT_TRUE(fails(run({"eval", "--model", model_, "--data", data_}), 2, {"--task", "--columns"}));
  EXPECT_TRUE(fails(run({"eval", "--model", model_, "--task", "sst2"}), 2, {"--data"}));
}

TEST_F(CliTest, SettingsFromAFile) {
  const std::string file =
      folder_.write("my settings.json", R"({"lr": 2e-5, "max-steps": 2, "seed": 5, "batch": 8})");
  const std::string out = folder_.path("a run");
  const Outcome first = run({"finetune", "--config", file, "--model", model_, "--task", "sst2", "--data",
                             data_, "--out", out, "--batch", "4"});
  ASSERT_EQ(first.code, 0) << first.err;
  const Json settings = Json::parse(read(out + "/config.json"))["settings"];
  EXPECT_EQ(settings["lr"], 2e-5);
  EXPECT_EQ(settings["seed"], 5);
  EXPECT_EQ(settings["batch"], 4);  // flags win
  EXPECT_EQ(read_log(out).size(), 3u);

  const std::string again = folder_.path("another");  // a run's own config.json
  ASSERT_EQ(run({"finetune", "--config", out + "/config.json", "--out", again}).code, 0);
  EXPECT_EQ(read(out + "/last/model.safetensors"), read(again + "/last/model.safetensors"));
  EXPECT_EQ(read_log(out), read_log(again));

  const auto refused = [&](const std::string& json) {
    return run({"finetune", "--config", folder_.write("bad.json", json), "--out", folder_.path("no")});
  };
  EXPECT_TRUE(fails(refused(R"({"lrr": 1})"), 2, {"bad.json", "\"lrr\"", "nearest is \"lr\""}));
  EXPECT_TRUE(fails(refused(R"({"lr": "1"})"), 2, {"bad.json", "\"lr\""}));
  EXPECT_TRUE(fails(refused("[1]"), 2, {"bad.json"}));
  EXPECT_TRUE(fails(refused("{"), 1, {"bad.json", "JSON"}));
  EXPECT_TRUE(fails(run({"finetune", "--config", folder_.path("none.json")}), 1, {"none.json"}));
}

}  // namespace
}  // namespace costeff::testing
