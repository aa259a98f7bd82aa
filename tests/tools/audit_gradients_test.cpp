// costeff audit gradients and audit run: what they print and write, that looking changes nothing, and their
// pages in a browser.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "tests/support.h"
#include "tests/tools/support.h"

namespace costeff::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class AuditGradientsTest : public CliTest {
 protected:
  AuditGradientsTest() : student_(folder_.path("student")), teacher_(folder_.path("teacher")) {
    make_exits_model(student_, 3, {.pooling = Pooling::mean}, 7);
    make_exits_model(teacher_, 3, {.pooling = Pooling::mean}, 8);
  }

  Outcome gradients(const Words& more) const {
    Words all = {"audit",     "gradients", "--model", student_, "--task",       "sst2", "--data",    data_,
                 "--batches", "2",         "--batch", "4",      "--warm-steps", "2",    "--threads", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return run(all);
  }
  // The assistant's stage, from the student's weights.
  Outcome train(const std::string& out, const Words& more) const {
    Words all = {"assist", "--model",  student_, "--teacher", teacher_, "--task",
                 "sst2",   "--data",   data_,    "--out",     out,      "--batch",
                 "4",      "--epochs", "2",      "--threads", "1"};
    all.insert(all.end(), more.begin(), more.end());
    return run(all);
  }
  std::string check(const std::string& page) const {
    const std::string command = fmt::format("python3 {}/tests/tools/report_check.py '{}' --alone > '{}' 2>&1",
                                            source_dir(), page, folder_.path("check.txt"));
    EXPECT_EQ(std::system(command.c_str()), 0);
    return read(folder_.path("check.txt"));
  }

  std::string student_, teacher_;
};

// The findings of a kind.
std::vector<Json> found(const Json& json, const std::string& kind) {
  std::vector<Json> all;
  for (const Json& finding : json["findings"]) {
    if (finding["kind"] == kind) all.push_back(finding);
  }
  return all;
}

// The sum of a row's cells, but for its name.
double sum_of(const Json& row) {
  double sum = 0;
  for (const auto& [key, value] : row.items()) sum += value.is_number() ? value.get<double>() : 0;
  return sum;
}

TEST_F(AuditGradientsTest, TextJsonAndPageSayTheSame) {
  const std::string page = folder_.path("page.html"), file = folder_.path("out.json");
  const Outcome outcome = gradients({"--teacher", teacher_, "--stage", "recover", "--prediction", "soft",
                                     "--json", file, "--html", page, "--dtype", "f64"});
  ASSERT_EQ(outcome.code, 0) << outcome.err << outcome.out;
  EXPECT_THAT(outcome.err, HasSubstr("batches: 2, each one forward pass and 18 backward passes"));
  const Json json = Json::parse(read(file));
  const std::string html = read(page);
  EXPECT_THAT(json["faults"], IsEmpty());
  ASSERT_EQ(json["layer_shares"].size(),
            5);  // three layers; the embeddings twice, as features 0 is not rescaled
  EXPECT_EQ(json["layer_shares"][0].size(), 8);  // its name, three exits, h_0 to h_3
  for (const char* table : {"layer_shares", "layer_update_shares_plain", "layer_update_shares_equalised"}) {
    for (const Json& row : json[table]) EXPECT_NEAR(sum_of(row), 1, 1e-12) << table << row;
  }
  double lowest = 2;
  for (std::size_t r = 0; r < 4; ++r) {
    const double m = std::max(1.0, 3.0 - static_cast<double>(r));
    for (const auto& [root, factor] : json["layer_factors"][r].items()) {
      if (factor.is_number()) {
        EXPECT_NEAR(factor, root == "features 0" ? 1 : 1 / (3 - m + 1), 1e-12);
      }
    }
    const Json& ratios = json["layer_ratios"][r];
    EXPECT_NEAR(ratios["gradient"].get<double>(),
                json["layer_norms_equalised"][r]["joint"].get<double>() /
                    json["layer_norms_plain"][r]["joint"].get<double>(),
                1e-12);
    EXPECT_LE(std::abs(ratios["cosine of updates"].get<double>()), 1 + 1e-12);
  }
  for (const Json& row : json["least_agreed"]) lowest = std::min(lowest, row["all batches"].get<double>());
  EXPECT_EQ(found(json, "least_agreed").at(0)["values"]["cosine"], lowest);
  EXPECT_EQ(found(json, "equalises").size(), 1);
  EXPECT_EQ(found(json, "features_0").size(), 1);
  EXPECT_EQ(found(json, "hardly").size() + found(json, "little").size() + found(json, "much").size(), 1);
  EXPECT_GT(json["part_shares"].size(), 4);
  // Text and page hold the headline and each finding, and round what the JSON holds.
  std::string text = outcome.out;
  std::replace(text.begin(), text.end(), '\n', ' ');
  text.erase(std::unique(text.begin(), text.end(), [](char a, char b) { return a == ' ' && b == ' '; }),
             text.end());
  EXPECT_THAT(text, HasSubstr(json["headline"].get<std::string>()));
  for (const Json& finding : json["findings"])
    EXPECT_THAT(text, HasSubstr(finding["text"].get<std::string>()));
  for (const char* root : {"exit 2 soft", "exit 3 soft", "features 2", "features 3"}) {
    const double share = json["layer_shares"][1][root];
    EXPECT_THAT(html, HasSubstr(fmt::format(">{:.0f} %<", 100 * share)));
    EXPECT_THAT(outcome.out, ContainsRegex(fmt::format("layer 2 .* {:.0f} %", 100 * share)));
  }
  EXPECT_THAT(html, AllOf(HasSubstr("tabindex=\"0\""), HasSubstr("--stage recover"), Not(HasSubstr("nan"))));
  EXPECT_EQ(check(page), "");
}

TEST_F(AuditGradientsTest, WithoutATeacherExitsLearnFromLabels) {
  const Outcome outcome = gradients({"--warm-steps", "0"});
  ASSERT_EQ(outcome.code, 2);  // a flag that stands twice
  const Outcome plain = run({"audit", "gradients", "--model", student_, "--task", "sst2", "--data", data_,
                             "--batches", "1", "--warm-steps", "0", "--threads", "1"});
  ASSERT_EQ(plain.code, 0) << plain.err;
  EXPECT_THAT(plain.out, AllOf(HasSubstr("exit 1 hard"), Not(HasSubstr("soft"))));
}

// The run's own step, but for what is asked for.
TEST_F(AuditGradientsTest, StateOfARun) {
  const std::string out = folder_.path("run"), file = folder_.path("out.json");
  ASSERT_EQ(
      train(out, {"--lr", "3e-4", "--weight-decay", "0.25", "--max-norm", "0", "--pooling", "mean"}).code, 0);
  fs::create_directories(out + "/checkpoints/step-99999.writing");
  fs::create_directories(out + "/checkpoints/step-old");
  const auto state_of = [&](const Words& more) {
    Words words = {"audit",   "gradients", "--model",   student_, "--teacher", teacher_,
                   "--task",  "sst2",      "--data",    data_,    "--batches", "1",
                   "--state", out,         "--threads", "1",      "--json",    file};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return Json::parse(read(file));
  };
  const Json json = state_of({});
  EXPECT_TRUE(json.contains("step_equalised"));
  EXPECT_FALSE(json.contains("step_plain"));  // the run kept no such state
  EXPECT_EQ(found(json, "adam_unknown").size(), 1);
  EXPECT_THAT(json["memory"].get<std::string>(), HasSubstr("12 steps of the run"));
  EXPECT_EQ(json["learning_rate"], 3e-4);
  EXPECT_EQ(json["weight_decay"], 0.25);
  EXPECT_EQ(json["steps_before"][1], 12);
  EXPECT_EQ(json["clip_scale"][0], 1);
  const Json asked = state_of({"--lr", "0.5", "--weight-decay", "0", "--max-norm", "1e-3"});
  EXPECT_EQ(asked["learning_rate"], 0.5);
  EXPECT_EQ(asked["weight_decay"], 0);
  EXPECT_LT(asked["clip_scale"][0], 0.5);
  // The run's exits read the mean.
  const std::string other = folder_.path("other");
  make_exits_model(other, 3, {.pooling = Pooling::cls}, 7);
  EXPECT_TRUE(fails(run({"audit", "gradients", "--model", other, "--teacher", teacher_, "--task", "sst2",
                         "--data", data_, "--batches", "1", "--state", out, "--threads", "1"}),
                    1, {"exits read \"mean\"", "the model's \"cls\""}));
  // Weights are the run's, not those of --model.
  EXPECT_EQ(asked["norm"], json["norm"]);
  student_ = out + "/last";
  EXPECT_EQ(state_of({})["norm"], json["norm"]);
}

// A weight of exit 3's layer that is not a number.
TEST_F(AuditGradientsTest, AFaultEndsWithExitCode1) {
  spoil_model(student_, "bert.encoder.layer.2.output.dense.weight");
  const std::string page = folder_.path("page.html"), file = folder_.path("out.json");
  const Outcome outcome = gradients({"--json", file, "--html", page});
  EXPECT_EQ(outcome.code, 1) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("FAULT exit 3"));
  const Json json = Json::parse(read(file));
  ASSERT_EQ(json["faults"].size(), 1);
  EXPECT_THAT(json["faults"][0]["what"].get<std::string>(), HasSubstr("not finite"));
  EXPECT_EQ(found(json, "faults").at(0)["values"]["count"], 1);
  EXPECT_THAT(read(page), AllOf(HasSubstr("FAILS"), HasSubstr("<strong>exit 3")));
  EXPECT_EQ(check(page), "");
}

TEST_F(AuditGradientsTest, ATeacherOfItselfMovesNothing) {
  const std::string file = folder_.path("out.json");
  const Outcome outcome =
      gradients({"--teacher", student_, "--stage", "recover", "--prediction", "none", "--json", file});
  EXPECT_EQ(outcome.code, 0) << outcome.out;
  const Json json = Json::parse(read(file));
  EXPECT_EQ(found(json, "still_model").size(), 1);
  EXPECT_THAT(found(json, "at_minimum").at(0)["values"]["terms"].get<std::string>(), HasSubstr("features 2"));
}

// h_0 is not rescaled: where a loss reads it, equalisation changes the shares of the embeddings. (With
// features: TextJsonAndPageSayTheSame.)
TEST_F(AuditGradientsTest, EmbeddingsStandOnceWhereTheirSharesStay) {
  const std::string file = folder_.path("out.json");
  ASSERT_EQ(gradients({"--teacher", teacher_, "--json", file}).code, 0);
  EXPECT_EQ(Json::parse(read(file))["layer_shares"].size(), 4);
}

TEST_F(AuditGradientsTest, APathThatIsNotUtf8) {
  const std::string odd = folder_.path("m\xff"), file = folder_.path("out.json");
  fs::copy(student_, odd, fs::copy_options::recursive);
  const Outcome outcome = run({"audit", "gradients", "--model", odd, "--task", "sst2", "--data", data_,
                               "--batches", "1", "--warm-steps", "0", "--threads", "1", "--json", file});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(Json::parse(read(file))["model"].get<std::string>(), HasSubstr("m\xef\xbf\xbd"));
}

TEST_F(AuditGradientsTest, LookingChangesNoBit) {
  const std::string seen = folder_.path("seen"), unseen = folder_.path("unseen");
  ASSERT_EQ(train(seen, {"--audit-every", "3"}).code, 0);
  ASSERT_EQ(train(unseen, {}).code, 0);
  EXPECT_EQ(read(seen + "/last/model.safetensors"), read(unseen + "/last/model.safetensors"));
  int looked = 0;
  for (const Json& line : read_log(seen)) {
    if (!line.contains("loss")) continue;
    EXPECT_EQ(line.contains("audit"), line["step"].get<int>() % 3 == 0);
    if (!line.contains("audit")) continue;
    ++looked;
    EXPECT_NEAR(line["audit"]["norm"].get<double>() / line["gradient_norm"].get<double>(), 1, 1e-5);
  }
  EXPECT_EQ(looked, 4);
}

TEST_F(AuditGradientsTest, RunsSideBySide) {
  const std::string with = folder_.path("with"), without = folder_.path("without");
  ASSERT_EQ(train(with, {"--audit-every", "2"}).code, 0);
  ASSERT_EQ(train(without, {"--audit-every", "2", "--no-equalise"}).code, 0);
  const std::string page = folder_.path("page.html"), file = folder_.path("out.json");
  const Outcome outcome = run({"audit", "run", with, "--beside", without, "--html", page, "--json", file});
  ASSERT_EQ(outcome.code, 0) << outcome.err << outcome.out;
  const Json json = Json::parse(read(file));
  ASSERT_EQ(json["runs"].size(), 2);
  EXPECT_EQ(json["runs"][0]["equalised"], true);
  EXPECT_EQ(json["runs"][1]["equalised"], false);
  EXPECT_EQ(found(json, "clipping").size(), 2);
  for (const Json& row : json["audits_1"])
    EXPECT_NEAR(row["exit 1 soft"].get<double>() + row["exit 2 soft"].get<double>() +
                    row["exit 3 soft"].get<double>(),
                1, 1e-5);
  EXPECT_EQ(check(page), "");
  EXPECT_TRUE(fails(run({"audit", "run", folder_.path("none")}), 1, {"no training run is there"}));
}

TEST_F(AuditGradientsTest, ALogThatContradictsItself) {
  const std::string out = folder_.path("run"), page = folder_.path("page.html"),
                    file = folder_.path("out.json");
  ASSERT_EQ(train(out, {"--audit-every", "3", "--max-steps", "6"}).code, 0);
  std::string log;
  for (Json line : read_log(out)) {
    if (line.contains("audit") && line["step"] == 6) line["audit"]["layers"][2]["shares"][0] = 0.125;
    if (line.contains("loss")) line["tokens_per_second"] = 1;  // read_log() leaves it out
    log += line.dump() + "\n";
  }
  folder_.write("run/log.jsonl", log);
  const Outcome outcome = run({"audit", "run", out, "--html", page, "--json", file});
  EXPECT_EQ(outcome.code, 1) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("FAULT step 6: the losses' shares in a layer do not add up to 1"))
      << outcome.err;
  const Json json = Json::parse(read(file));
  ASSERT_EQ(json["faults"].size(), 1);
  EXPECT_EQ(json["faults"][0]["place"], "step 6");
  EXPECT_GT(json["audits_1"][1]["share gap"].get<double>(), 1e-3);
  EXPECT_THAT(read(page), HasSubstr("<strong>step 6</strong>"));
}

TEST_F(AuditGradientsTest, BadInput) {
  EXPECT_TRUE(fails(run({"audit", "gradient"}), 2, {"unknown audit \"gradient\"", "gradients"}));
  EXPECT_TRUE(fails(gradients({"--stage", "recover"}), 2, {"--teacher"}));
  EXPECT_TRUE(fails(gradients({"--stage", "prune"}), 2, {"--stage prune"}));
  EXPECT_TRUE(fails(gradients({"--dtype", "f16"}), 2, {"--dtype f16"}));
  EXPECT_TRUE(fails(gradients({"--teacher", folder_.path("nobody")}), 1, {"nobody"}));
  EXPECT_TRUE(fails(gradients({"--temperature", "0"}), 2, {"--temperature"}));
  EXPECT_TRUE(fails(gradients({"--html", folder_.path("no/such/folder.html")}), 1, {"no/such"}));
  EXPECT_TRUE(fails(gradients({"--json", folder_.path()}), 1, {"is a folder"}));
  const std::vector<std::pair<Words, Words>> bad = {
      {{"--teacher", teacher_, "--prediction", "sotf"}, {"--prediction", "sotf", "soft, hard, both, none"}},
      {{"--teacher", teacher_, "--prediction", "none"}, {"--prediction none"}},
      {{"--teacher", teacher_, "--stage", "recover", "--prediction", "sotf"}, {"--prediction", "sotf"}},
      {{"--prediction", "both"}, {"--prediction both", "--teacher"}},
      {{"--lr", "-5"}, {"--lr -5"}},
      {{"--lr", "0"}, {"--lr 0"}},
      {{"--max-norm", "-1"}, {"--max-norm -1"}},
      {{"--weight-decay", "-0.5"}, {"--weight-decay -0.5"}}};
  for (const auto& [flags, texts] : bad) EXPECT_TRUE(fails(gradients(flags), 2, texts)) << flags.back();
  const auto of = [&](const char* batches, const char* batch, const char* warm) {
    return run({"audit", "gradients", "--model", student_, "--task", "sst2", "--data", data_, "--batches",
                batches, "--batch", batch, "--warm-steps", warm, "--threads", "1"});
  };
  EXPECT_TRUE(fails(of("4611686018427387904", "4", "20"), 2, {"batches"}));
  EXPECT_TRUE(fails(of("9223372036854775807", "4", "20"), 2, {"batches"}));
  EXPECT_TRUE(fails(of("1", "65537", "20"), 2, {"--batch 65537"}));
  EXPECT_TRUE(fails(of("1", "4", "9223372036854775807"), 2, {"--warm-steps"}));
}

// The page as a reader has it: drawn, and nothing in the console.
TEST_F(AuditGradientsTest, APageInABrowser) {
  if (std::system("command -v chromium > /dev/null 2>&1") != 0) GTEST_SKIP() << "chromium is not installed";
  const std::string page = folder_.path("page.html"), picture = folder_.path("page.png"),
                    log = folder_.path("log");
  ASSERT_EQ(gradients({"--teacher", teacher_, "--html", page}).code, 0);
  const std::string command = fmt::format(
      "timeout 60 chromium --headless --no-sandbox --disable-gpu --user-data-dir='{0}/profile' "
      "--enable-logging=stderr --window-size=390,2000 --screenshot='{1}' 'file://{2}' > /dev/null 2> '{3}'",
      folder_.path(), picture, page, log);
  ASSERT_EQ(std::system(command.c_str()), 0) << read(log);
  EXPECT_GT(fs::file_size(picture), 20000);
  EXPECT_THAT(read(log), Not(HasSubstr("CONSOLE")));
}

}  // namespace
}  // namespace costeff::testing
