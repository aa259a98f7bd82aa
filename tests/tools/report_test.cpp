// costeff report: pages of runs that the tests make up, whole, unfinished and hostile.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>

#include "costeff/train/run_records.h"
#include "tests/support.h"
#include "tests/tools/support.h"
#include "tools/cli/pages/words.h"

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

  // A run of two layers of four heads and forty neurons.
  void make_run() const {
    Json settings{{"out", "some where"}};
    for (const std::string& stage : kStages) {
      settings[stage] = {{"task", "SST-2"}, {"lr", 5e-5}};
      make_stage(stage);
    }
    file("config.json", {{"command", "run"},
                         {"settings", settings},
                         {"environment", {{"threads", 2}, {"processor", "a processor"}}}});
    file("results.json", to_json(results()));
  }

  void make_stage(const std::string& stage, const std::string& prefix = "") const {
    const std::string folder = prefix + (prefix.empty() ? stage + "/" : "");
    file(folder + "config.json", {{"command", stage},
                                  {"settings", {{"task", "SST-2"}, {"lr", 5e-5}}},
                                  {"environment", {{"threads", 2}}}});
    file(folder + "result.json", {{"seconds", 12.5}, {"steps", 40}, {"best_step", 40}});
    file(folder + "last/config.json",
         {{"num_attention_heads", 4}, {"intermediate_size", 40}, {"hidden_size", 16}});
    std::string log;
    const auto add = [&](const LogLine& line) { log += to_json(line).dump() + "\n"; };
    for (int step = 1; step <= 40; ++step) {
      if (stage == "slenderise" && step % 20 == 1) add(round_line(step / 20 + 1, step - 1));
      add(step_line(stage, step));
      if (step % 10 == 0)
        add(EvaluationLine{step, evaluation(stage == "finetune" ? 1 : 2, 0.5 + step / 100.0)});
    }
    file(folder + "log.jsonl", log);
  }

  static StepLine step_line(const std::string& stage, int step) {
    StepLine line{.step = step, .loss = 3 * std::exp(-step / 10.0) + 0.1, .tokens = 100};
    if (stage != "finetune")
      line.phase = stage == "slenderise" ? "round 1" : step <= 10 ? "features" : "predictions";
    line.features_alone = stage == "slenderise" && step % 20 < 10;
    return line;
  }
  // Of so many exits: 0.7 at all but the last.
  static ExitsEvaluation evaluation(std::size_t exits, double last) {
    ExitsEvaluation out;
    for (std::size_t i = 1; i <= exits; ++i)
      out.exits.push_back({.metrics = {{"acc", i < exits ? 0.7 : last}}, .loss = 0.5});
    return out;
  }
  static RoundLine round_line(int round, int step) {
    using Kept = std::vector<std::vector<std::int64_t>>;
    return {.step = step,
            .round = round,
            .heads = {4 - round, 4 - round},
            .ffn = {7, 3},
            .rank = 12,
            .kept_heads = round == 1 ? Kept{{0, 2, 3}, {0, 1, 2}} : Kept{{2}, {0}},
            .kept_neurons = round == 1 ? Kept{{0, 1, 2, 3, 20, 21, 39}, {5, 6, 7}} : Kept{{1, 2, 39}, {6}}};
  }

  static ModelRecord model(ModelRole role, const std::string& name, std::int64_t parameters, double flops,
                           double score) {
    ModelRecord model{.role = role,
                      .name = name,
                      .folder = "finetune/last",
                      .parameters = parameters,
                      .flops = flops,
                      .flops_padded = 3 * flops,
                      .score = score,
                      .share = score / 0.86,
                      .sequences_per_second = 410.2,
                      .average_exit = 1.5};
    if (role == ModelRole::early_exit) {
      model.threshold = 0.31;
      model.exit_counts = {30, 10};
    } else {
      model.exits = evaluation(2, score);
    }
    return model;
  }
  static Results results() {
    Results results{.method = "costeff",
                    .task = "SST-2",
                    .metric = "acc",
                    .models = {model(ModelRole::fine_tuned, "fine-tuned", 22'700'000, 1.9e9, 0.86),
                               model(ModelRole::assistant, "assistant", 22'900'000, 1.9e9, 0.858),
                               model(ModelRole::full_depth, "COST-EFF, full depth", 2'800'000, 2.1e8, 0.82),
                               model(ModelRole::early_exit, "COST-EFF, early exit", 2'800'000, 1e8, 0.8136)},
                    .stages = {{.name = "finetune", .steps = 750, .seconds = 120.3}}};
    for (int i = 0; i < 5; ++i)
      results.sweep.push_back({.threshold = 0.1 * i,
                               .score = 0.82 - 0.01 * i,
                               .flops = 2e8 - 3e7 * i,
                               .exit_counts = {i, 40 - i}});
    return results;
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
  Results results = ReportTest::results();
  results.task = results.metric = hostile;
  for (ModelRecord& model : results.models) model.name += hostile;
  file("results.json", to_json(results));
  std::string log;
  for (int step = 1; step <= 20; ++step) {
    StepLine line = step_line("assist", step);
    if (step < 9) line.phase = hostile;
    log += to_json(line).dump() + "\n";
  }
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
  for (const std::string& text :
       {words("report.no_results"), words("report.not_begun", named("stage", "recover")),
        words("report.not_ended", named("stage", "slenderise")), words("report.no_score_flops")}) {
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

// Numbers that are not finite are null in a file; a line that is being written is left out.
TEST_F(ReportTest, NumbersThatAreNone) {
  make_run();
  Results results = ReportTest::results();
  results.models[3].average_exit = results.models[3].flops = std::nan("");
  results.sweep[1].score = std::nan("");
  file("results.json", to_json(results));
  StepLine step = step_line("recover", 41);
  step.loss = std::nan("");
  const std::string more =
      to_json(step).dump() + "\n" + to_json(EvaluationLine{42, evaluation(2, std::nan(""))}).dump() + "\n";
  file("recover/log.jsonl", read(folder_.path("run/recover/log.jsonl")) + more + "{\"step\":45,\"los");
  const Outcome outcome = report();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(faults(), "");
  EXPECT_THAT(page(), HasSubstr("<td>–</td>"));
}

TEST_F(ReportTest, WhatNoRunWritesIsNamed) {
  make_run();
  file("results.json", Json{{"task", 3}});
  EXPECT_TRUE(fails(report(), 1, {"results.json", "not what a run writes"}));
  file("results.json", to_json(results()));
  file("recover/log.jsonl", std::string("no json\n{}\n"));
  EXPECT_TRUE(fails(report(), 1, {"recover/log.jsonl", "line 1"}));
  make_run();
  RoundLine round = round_line(1, 0);
  round.kept_neurons = {{std::int64_t{1} << 60}};
  file("slenderise/log.jsonl", to_json(round).dump() + "\n");  // places no model has
  EXPECT_EQ(report().code, 0);
}

// Any method's run: its settings say which stages it has.
TEST_F(ReportTest, StagesOfAnotherMethod) {
  file("config.json",
       {{"command", "run"}, {"settings", {{"finetune", Json::object()}, {"exits", Json::object()}}}});
  make_stage("finetune");
  make_stage("exits");
  ASSERT_EQ(report().code, 0);
  EXPECT_EQ(faults(), "");
  EXPECT_THAT(pictures(), IsSupersetOf({"loss-finetune.svg", "loss-exits.svg"}));
  EXPECT_THAT(read(folder_.path("run/report/loss-exits.svg")), HasSubstr(">exit 2<"));
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
  file("results.json", to_json(Results{.task = "SST-2", .metric = "acc"}));
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
