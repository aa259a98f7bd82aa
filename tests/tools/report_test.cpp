// costeff report: pages of runs that the tests make up, whole, unfinished and hostile.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>

#include "tests/support.h"
#include "tests/tools/support.h"

namespace costeff::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

const std::vector<std::string> kStages = {"finetune", "assist", "slenderise", "recover"};

class ReportTest : public ::testing::Test {
 protected:
  std::string file(const std::string& name, const std::string& content) const {
    return folder_.write("run/" + name, content);
  }
  std::string file(const std::string& name, const Json& json) const { return file(name, json.dump()); }

  // A run of two layers of four heads and forty neurons, with every key.
  void make_run() const {
    file("config.json",
         {{"command", "run"},
          {"settings", {{"out", "some where"}, {"finetune", {{"task", "SST-2"}, {"lr", 5e-5}}}}},
          {"environment", {{"threads", 2}, {"processor", "a processor"}}}});
    for (const std::string& stage : kStages) make_stage(stage);
    file("results.json", results());
  }

  void make_stage(const std::string& stage, const std::string& prefix = "") const {
    const std::string folder = prefix + (prefix.empty() ? stage + "/" : "");
    file(folder + "config.json", {{"command", stage},
                                  {"settings", {{"task", "SST-2"}, {"lr", 5e-5}}},
                                  {"environment", {{"threads", 2}}}});
    file(folder + "result.json", {{"seconds", 12.5}, {"steps", 40}});
    file(folder + "last/config.json",
         {{"num_attention_heads", 4}, {"intermediate_size", 40}, {"hidden_size", 16}});
    std::string log;
    for (int step = 1; step <= 40; ++step) {
      if (stage == "slenderise" && step % 20 == 1) log += round_line(step / 20 + 1, step - 1).dump() + "\n";
      log += step_line(stage, step).dump() + "\n";
      if (step % 10 == 0) log += dev_line(stage, step).dump() + "\n";
    }
    file(folder + "log.jsonl", log);
  }

  static Json step_line(const std::string& stage, int step) {
    Json line{{"step", step}, {"loss", 3 * std::exp(-step / 10.0) + 0.1}, {"tokens", 100}};
    if (stage != "finetune")
      line["phase"] = stage == "slenderise" ? "round 1" : step <= 10 ? "features" : "predictions";
    if (stage == "slenderise" && step % 20 < 10) line["features_alone"] = true;
    return line;
  }
  static Json dev_line(const std::string& stage, int step) {
    Json dev{{"acc", 0.5 + step / 100.0}, {"loss", 0.5}};
    if (stage != "finetune")
      dev["exits"] = {{{"exit", 1}, {"acc", 0.5}, {"loss", 0.6}}, {{"exit", 2}, {"acc", 0.8}, {"loss", 0.5}}};
    return {{"step", step}, {"dev", dev}};
  }
  static Json round_line(int round, int step) {
    const Json heads = round == 1 ? Json{{0, 2, 3}, {0, 1, 2}} : Json{{2}, {0}};
    const Json neurons = round == 1 ? Json{{0, 1, 2, 3, 20, 21, 39}, {5, 6, 7}} : Json{{1, 2, 39}, {6}};
    return {{"step", step}, {"round", round},      {"heads", {4 - round, 4 - round}}, {"ffn", {7, 3}},
            {"rank", 12},   {"kept_heads", heads}, {"kept_neurons", neurons}};
  }

  static Json model(const std::string& name, double parameters, double flops, double score,
                    const Json& threshold) {
    return {{"name", name},
            {"folder", "finetune/last"},
            {"parameters", parameters},
            {"flops", flops},
            {"flops_padded", 3 * flops},
            {"score", score},
            {"share", score / 0.86},
            {"sequences_per_second", 410.2},
            {"average_exit", 1.5},
            {"threshold", threshold},
            {"exits", {{{"exit", 1}, {"acc", 0.7}}, {{"exit", 2}, {"acc", score}}}}};
  }
  static Json results() {
    Json early = model("COST-EFF, early exit", 2.8e6, 1e8, 0.8136, 0.31);
    early["exit_counts"] = {30, 10};
    Json sweep = Json::array();
    for (int i = 0; i < 5; ++i) {
      sweep.push_back({{"threshold", 0.1 * i},
                       {"score", 0.82 - 0.01 * i},
                       {"flops", 2e8 - 3e7 * i},
                       {"exit_counts", {i, 40 - i}}});
    }
    return {{"task", "SST-2"},
            {"metric", "acc"},
            {"models",
             {model("fine-tuned", 22.7e6, 1.9e9, 0.86, nullptr),
              model("assistant", 22.9e6, 1.9e9, 0.858, nullptr),
              model("COST-EFF, full depth", 2.8e6, 2.1e8, 0.82, nullptr), early}},
            {"sweep", sweep},
            {"stages", {{{"name", "finetune"}, {"seconds", 120.3}, {"steps", 750}}}}};
  }

  Outcome report(const Words& more = {}, const std::function<void()>& in_child = {}) const {
    Words words = {"report", folder_.path("run")};
    words.insert(words.end(), more.begin(), more.end());
    return run(words, "", in_child);
  }
  std::string page() const { return read(folder_.path("run/report.html")); }

  // What report_check.py has against the page and its pictures.
  std::string faults(const std::string& page_path) const {
    const std::string said = folder_.path("faults.txt");
    const std::string command = fmt::format("python3 '{}/tests/tools/report_check.py' '{}' >'{}' 2>&1",
                                            source_dir(), page_path, said);
    EXPECT_EQ(std::system(command.c_str()), 0);
    return read(said);
  }
  std::string faults() const { return faults(folder_.path("run/report.html")); }

  std::vector<std::string> pictures() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_.path("run/report")))
      names.push_back(entry.path().filename().string());
    return names;
  }

  TemporaryFolder folder_;
};

TEST_F(ReportTest, AWholeRun) {
  make_run();
  const Outcome outcome = report();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  EXPECT_THAT(outcome.out,
              HasSubstr("1/8 of the parameters, 1/19 of the FLOPs, 94.6 % of the fine-tuned model"));
  EXPECT_THAT(outcome.out, HasSubstr(folder_.path("run/report.html")));
  EXPECT_EQ(faults(), "");
  EXPECT_THAT(pictures(), ::testing::UnorderedElementsAre(
                              "score-flops.svg", "score-exits.svg", "exit-histogram.svg", "loss-finetune.svg",
                              "loss-assist.svg", "loss-slenderise.svg", "loss-recover.svg", "widths.svg",
                              "heads.svg", "neurons.svg", "time.svg"));
  const std::string html = page();
  for (const char* text :
       {"<html lang=\"en\">", "name=\"viewport\"", "94.6 %", "22.7 M", "22.9 M", "86.0 %", "1/19",
        "Settings of slenderise", "costeff run --config", "prefers-color-scheme"}) {
    EXPECT_THAT(html, HasSubstr(text));
  }
  EXPECT_THAT(html, Not(HasSubstr("class=\"missing\"")));
  EXPECT_THAT(html, Not(HasSubstr("class=\"notes\"")));
}

TEST_F(ReportTest, TheCheckCanFail) {
  make_run();
  ASSERT_EQ(report().code, 0);
  const std::string good = page();
  const auto with = [&](const std::string& text) {
    std::string bad = good;
    file("report.html", bad.insert(bad.find("</main>"), text));
    return faults();
  };
  EXPECT_THAT(with("<p>"), HasSubstr("closed inside"));
  EXPECT_THAT(with("<a href=\"#nowhere\">x</a>"), HasSubstr("reference to #nowhere"));
  EXPECT_THAT(with("<p style=\"background:url(x)\">x</p>"), HasSubstr("leads elsewhere"));
  EXPECT_THAT(with("<img src=\"x\">"), HasSubstr("attribute src of img"));
  EXPECT_THAT(with("<p id=\"models\">x</p>"), HasSubstr("an id stands twice"));
  file("report.html", good);
  file("report/time.svg", std::string("<svg><text>a & b</text></svg>"));
  EXPECT_THAT(faults(), HasSubstr("time.svg: "));
}

TEST_F(ReportTest, PicturesHoldTheNumbers) {
  make_run();
  ASSERT_EQ(report().code, 0);
  EXPECT_THAT(read(folder_.path("run/report/exit-histogram.svg")),
              AllOf(HasSubstr(">75 %<"), HasSubstr(">25 %<")));
  EXPECT_THAT(read(folder_.path("run/report/score-flops.svg")), HasSubstr(">chosen: 0.31<"));
  EXPECT_THAT(read(folder_.path("run/report/time.svg")), AllOf(HasSubstr(">2:01<"), HasSubstr(">13 s<")));
  EXPECT_THAT(read(folder_.path("run/report/loss-slenderise.svg")),
              AllOf(HasSubstr(">features alone<"), HasSubstr(">predictions and features<")));
  // Layer 1 keeps 3 neurons of the original, layer 2 one.
  EXPECT_THAT(read(folder_.path("run/report/neurons.svg")), AllOf(HasSubstr(">3<"), HasSubstr(">1<")));
  // Of 8 heads 2 survive; 2 fell in round 1 and 4 in round 2. Axes give "1" to "4" once more: heads, layers.
  const std::string heads = read(folder_.path("run/report/heads.svg"));
  const auto count = [&](const std::string& text) {
    int found = 0;
    for (std::size_t at = 0; (at = heads.find(text, at)) != std::string::npos; ++at) ++found;
    return found;
  };
  EXPECT_EQ(count("<text>1<") + count("<text> 1<"), 2 + 2);
  EXPECT_EQ(count("<text>2<") + count("<text> 2<"), 4 + 2);
}

TEST_F(ReportTest, TheSameRunGivesTheSameBytes) {
  make_run();
  ASSERT_EQ(report().code, 0);
  const auto first = contents(folder_.path("run"));
  ASSERT_EQ(report().code, 0);
  EXPECT_EQ(contents(folder_.path("run")), first);
}

TEST_F(ReportTest, TextFromFilesIsEscaped) {
  make_run();
  const std::string hostile =
      "</title></script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&`date`$(date)@x\n\t\x01 %g "
      "\\n";
  Json config = Json::parse(read(folder_.path("run/config.json")));
  config["settings"][hostile] = hostile;
  config["environment"]["processor"] = hostile;
  file("config.json", config);
  Json results = ReportTest::results();
  results["task"] = hostile;
  results["metric"] = hostile;
  for (Json& model : results["models"]) model["name"] = model["name"].get<std::string>() + hostile;
  results["models"][0]["name"] = "fine-tuned";
  file("results.json", results);
  std::string log;
  for (int step = 1; step <= 20; ++step)
    log += Json{{"step", step}, {"phase", step < 9 ? hostile : "b"}, {"loss", 1.0 / step}}.dump() + "\n";
  file("assist/log.jsonl", log);
  const Outcome outcome = report();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(faults(), "");
  EXPECT_THAT(page(), HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;"));
  EXPECT_THAT(page(), Not(HasSubstr("<script")));
  EXPECT_THAT(page(), Not(HasSubstr("\x01")));
  // The phase's name got into the picture as it is: nothing was run, and nothing was taken for a format.
  EXPECT_THAT(read(folder_.path("run/report/loss-assist.svg")), HasSubstr("&lt;/title>&lt;/script>"));
}

TEST_F(ReportTest, AnUnfinishedRunSaysWhatIsNotThere) {
  make_run();
  fs::remove(folder_.path("run/results.json"));
  for (const char* gone : {"run/recover", "run/slenderise/last", "run/slenderise/result.json"})
    fs::remove_all(folder_.path(gone));
  const Outcome outcome = report();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(faults(), "");
  EXPECT_THAT(outcome.out, HasSubstr("has not ended: finetune, assist done, slenderise at step 40"));
  for (const char* text : {"There is no results.json yet", "The stage recover has not begun",
                           "The stage slenderise has not ended", "There are no scores with FLOPs yet"}) {
    EXPECT_THAT(page(), HasSubstr(text));
  }
  EXPECT_THAT(pictures(),
              IsSupersetOf({"loss-finetune.svg", "loss-slenderise.svg", "heads.svg", "time.svg"}));
  EXPECT_THAT(pictures(), Each(Not(AnyOf("score-flops.svg", "loss-recover.svg"))));
}

TEST_F(ReportTest, ARunThatHasJustBegun) {
  file("config.json", {{"command", "run"}, {"settings", Json::object()}});
  const Outcome outcome = report();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(faults(), "");
  EXPECT_TRUE(pictures().empty());
}

TEST_F(ReportTest, KeysMayBeAbsentNullOrOfAnotherType) {
  make_run();
  for (const std::string& stage : kStages) fs::remove_all(folder_.path("run/" + stage));  // fewer pictures
  const Json whole = results();
  for (const Json& wrong :
       {Json(), Json("text"), Json(-1), Json::array({nullptr, "x", Json::object()}), Json::object()}) {
    for (const auto& [key, value] : whole.items()) {
      Json changed = whole;
      changed[key] = wrong;
      file("results.json", changed);
      ASSERT_EQ(report().code, 0) << key << ": " << wrong;
    }
  }
  for (const auto& [key, value] : whole["models"][3].items()) {
    Json changed = whole;
    for (Json& model : changed["models"]) model.erase(key);
    file("results.json", changed);
    ASSERT_EQ(report().code, 0) << key;
    ASSERT_EQ(faults(), "") << key;
  }
}

TEST_F(ReportTest, NumbersThatAreNone) {
  make_run();
  // Python writes NaN bare, this program null.
  std::string text = results().dump();
  text.replace(text.find("0.86"), 4, "NaN");
  text.replace(text.find("410.2"), 5, "-Infinity");
  file("results.json", text);
  std::string log = read(folder_.path("run/recover/log.jsonl"));
  log +=
      "{\"step\":41,\"loss\":null}\n{\"step\":42,\"loss\":NaN}\n{\"step\":43,\"dev\":{\"acc\":null,\"loss\":"
      "nan}}\n";
  log += "{\"step\":44,\"loss\":1e400}\nno json\n{\"step\":45,\"los";
  file("recover/log.jsonl", log);
  const Outcome outcome = report();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(faults(), "");
  EXPECT_THAT(page(), HasSubstr("The log of recover has lines that are not JSON; they were left out: 2."));
  EXPECT_THAT(page(), Not(HasSubstr("results.json is not")));
  EXPECT_THAT(page(), HasSubstr("<td>–</td>"));
}

TEST_F(ReportTest, PlacesThatAreNone) {
  make_run();
  const Json round{{"step", 0},
                   {"round", 1},
                   {"heads", {1e300, -5}},
                   {"ffn", {nullptr}},
                   {"rank", -1},
                   {"kept_heads", {{1e18, -3, 2.5, "x", 1}, 7}},
                   {"kept_neurons", Json::array({Json::array()})}};
  file("slenderise/log.jsonl", round.dump() + "\n");
  const Outcome outcome = report();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(faults(), "");
}

TEST_F(ReportTest, OneStage) {
  make_stage("finetune", "./");
  const Outcome outcome = report();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(faults(), "");
  EXPECT_THAT(outcome.out, HasSubstr("Fine-tuning on SST-2: accuracy 90.0 % on dev at step 40"));
  EXPECT_THAT(pictures(), ::testing::ElementsAre("loss-finetune.svg"));
  EXPECT_THAT(page(), HasSubstr("costeff finetune --config"));
}

TEST_F(ReportTest, ElsewhereByOut) {
  make_run();
  const std::string out = folder_.path("my page.html");
  ASSERT_EQ(report({"--out", out}).code, 0);
  EXPECT_EQ(faults(out), "");
  EXPECT_FALSE(fs::exists(folder_.path("run/report.html")));
  EXPECT_TRUE(fails(report({"--out", folder_.path("page")}), 2, {"--out", ".html"}));
}

TEST_F(ReportTest, NoFolderButItsOwnIsReplaced) {
  make_run();
  // The pictures of last.html would go to the folder `last`.
  const auto before = contents(folder_.path("run"));
  EXPECT_TRUE(
      fails(report({"--out", folder_.path("run/finetune/last.html")}), 1, {"finetune/last", "config.json"}));
  EXPECT_EQ(contents(folder_.path("run")), before);
}

TEST_F(ReportTest, WrongCalls) {
  EXPECT_TRUE(fails(run({"report"}), 2, {"RUN"}));
  EXPECT_TRUE(fails(report(), 1, {folder_.path("run"), "no run"}));
  fs::create_directories(folder_.path("run"));
  EXPECT_TRUE(fails(report(), 1, {folder_.path("run"), "no run"}));
  EXPECT_TRUE(fs::is_empty(folder_.path("run")));
}

TEST_F(ReportTest, WithoutGnuplotNothingIsWritten) {
  make_run();
  ASSERT_EQ(report().code, 0);
  file("results.json", Json::object());
  const auto before = contents(folder_.path("run"));
  const auto nowhere = [] { setenv("PATH", "/nonexistent", 1); };
  EXPECT_TRUE(fails(report({}, nowhere), 1, {"gnuplot", "gnuplot-nox", "apt-get install"}));
  EXPECT_EQ(contents(folder_.path("run")), before);
}

TEST_F(ReportTest, AGnuplotThatFailsIsQuoted) {
  make_run();
  const std::string fake = folder_.write("bin/gnuplot", "#!/bin/sh\necho 'it is broken' >&2\nexit 3\n");
  chmod(fake.c_str(), 0755);
  const std::string path = folder_.path("bin");
  EXPECT_TRUE(fails(report({}, [&] { setenv("PATH", path.c_str(), 1); }), 1,
                    {"score-flops", "exit status 3", "it is broken"}));
  EXPECT_FALSE(fs::exists(folder_.path("run/report.html")));
  EXPECT_FALSE(fs::exists(folder_.path("run/report")));
}

}  // namespace
}  // namespace costeff::testing
