// costeff audit importance: what it prints and writes, and what it refuses.
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "nn/checkpoint.h"
#include "tests/support.h"
#include "tests/tools/support.h"
#include "tools/cli/pages/words.h"

namespace costeff::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class AuditImportanceTest : public CliTest {
 protected:
  Words audit(const Words& more = {}) const {
    Words words = {"audit",   "importance", "--model",   model_, "--task",    "sst2", "--data",    data_,
                   "--batch", "5",          "--batches", "2",    "--threads", "1",    "--neurons", "9"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  // Two layers of 4 heads and 64 neurons, with exits from `first` on.
  std::string exits_model(std::int64_t first, std::uint64_t seed) const {
    std::string folder = folder_.path("exits");
    make_exits_model(folder, 2, {.first = first}, seed);
    return folder;
  }

  std::string faults(const std::string& page) const {
    const std::string said = folder_.path("faults.txt");
    const std::string command = fmt::format(
        "python3 '{}/tests/tools/report_check.py' '{}' --alone >'{}' 2>&1", source_dir(), page, said);
    EXPECT_EQ(std::system(command.c_str()), 0);
    return read(said);
  }
};

TEST_F(AuditImportanceTest, AModelWithoutExitsAndNoBudget) {
  const Outcome outcome = run(audit());
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("paper, labels, equalised"), Not(HasSubstr("nan"))));
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("has no exits"), HasSubstr("backward passes"), HasSubstr("17 removals")));
}

TEST_F(AuditImportanceTest, PageAndJsonHoldTheSame) {
  const std::string teacher = model_;
  model_ = exits_model(1, 3);
  const std::string page = folder_.path("page.html"), file = folder_.path("out.json");
  const Outcome outcome =
      run(audit({"--teacher", teacher, "--cumulative", "--heads", "1", "--html", page, "--json", file}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(faults(page), "");
  const std::string html = read(page);
  const Json json = Json::parse(read(file));
  const std::string headline = json["headline"];
  EXPECT_THAT(outcome.out, HasSubstr(headline));
  EXPECT_THAT(html, AllOf(HasSubstr(headline), HasSubstr("Eq. 2"), HasSubstr("tabindex=\"0\""),
                          HasSubstr("--heads 1"), Not(HasSubstr("nan")), Not(HasSubstr("Not measured"))));

  ASSERT_EQ(json["heads_removed"].size(), 8);
  EXPECT_EQ(json["neurons_removed"].size(), 9);
  EXPECT_EQ(json["cumulative"].size(), 3);     // of 4 heads
  EXPECT_EQ(json["cumulative"][0].size(), 6);  // their number, and five orders
  EXPECT_EQ(json["scores"].size(), 6);         // predictions, exits 1 and 2, labels, features, all
  for (const Json& head : json["heads_removed"]) {
    double total = 0;
    for (const Json& change : head["change_by_exit"]) total += change.get<double>();
    EXPECT_NEAR(head["change"].get<double>(), total, 1e-12);
    // A head of the second layer says nothing to the first exit.
    if (head["layer"] == 2) {
      EXPECT_EQ(head["change_by_exit"][0], 0);
    }
    // What it costs stands in the page, in thousandths.
    if (std::abs(total) > 1e-4) {
      EXPECT_THAT(html, HasSubstr(fmt::format(">{:+.1f}</td>", 1000 * total)));
    }
  }
}

TEST_F(AuditImportanceTest, AModelThatTeachesItselfHasNoGradient) {
  model_ = exits_model(1, 3);
  const Outcome outcome = run(audit({"--teacher", model_}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr(words("importance.vanish_headline")));
}

TEST_F(AuditImportanceTest, OneExit) {
  model_ = exits_model(2, 3);
  const Outcome outcome = run(audit({"--html", folder_.path("page.html")}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, Not(HasSubstr("nan")));
  EXPECT_EQ(faults(folder_.path("page.html")), "");
}

TEST_F(AuditImportanceTest, NoNeurons) {
  Words words = audit({"--html", folder_.path("page.html")});
  *(std::find(words.begin(), words.end(), "--neurons") + 1) = "0";
  const Outcome outcome = run(words);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, Not(HasSubstr("Neurons")));
  EXPECT_EQ(faults(folder_.path("page.html")), "");
}

TEST_F(AuditImportanceTest, AnOrderNeedsTwoUnits) {
  Words words = audit({"--html", folder_.path("page.html")});
  *(std::find(words.begin(), words.end(), "--neurons") + 1) = "2";  // one a layer
  const Outcome outcome = run(words);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              HasSubstr("- " + costeff::words("importance.no_order", named("units", "neurons"))));
  EXPECT_THAT(outcome.out, Not(HasSubstr("for neurons")));
  EXPECT_EQ(faults(folder_.path("page.html")), "");
}

// What was computed is never lost: a path of any bytes.
TEST_F(AuditImportanceTest, PathsOfAnyKind) {
  const std::string odd = folder_.path("m\xff");
  fs::copy(model_, odd);
  model_ = odd;
  const std::string file = folder_.path("out.json");
  const Outcome outcome = run(audit({"--json", file}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NO_THROW(EXPECT_FALSE(Json::parse(read(file)).empty()));
}

TEST_F(AuditImportanceTest, BadInput) {
  EXPECT_TRUE(fails(run(audit({"--heads", "5"})), 2, {"--heads 5", "4 heads"}));
  EXPECT_TRUE(fails(run(audit({"--ffn", "65"})), 2, {"--ffn 65", "64 neurons"}));
  EXPECT_TRUE(fails(run(audit({"--loss", "predictions"})), 2, {"loss predictions", "--teacher"}));
  EXPECT_TRUE(fails(run(audit({"--teacher", folder_.path("none")})), 1, {"none"}));
  EXPECT_TRUE(fails(run(audit({"--stage", "ta"})), 2, {"--stage"}));
  Words words = audit();
  words[3] = folder_.path("no model");
  EXPECT_TRUE(fails(run(words), 1, {"no model"}));
  words = audit();
  words[7] = folder_.path("no data");
  EXPECT_TRUE(fails(run(words), 1, {"no data"}));
  words = audit();
  words.back() = "-1";
  EXPECT_TRUE(fails(run(words), 2, {"neurons"}));
}

TEST_F(AuditImportanceTest, WhatCannotBeWrittenIsRefusedFirst) {
  const auto refused = [&](const Words& output, const Words& texts,
                           const std::function<void()>& in_child = {}) {
    const Outcome outcome = run(audit(output), "", in_child);
    EXPECT_TRUE(fails(outcome, 1, texts));
    EXPECT_THAT(outcome.err, Not(HasSubstr("backward passes")));
  };
  const std::string none = folder_.path("no such folder");
  refused({"--html", none + "/page.html"}, {none});
  refused({"--json", folder_.path()}, {"is a folder"});
  refused({"--json", none + "/"}, {"there is no folder"});
  const auto no_gnuplot = [] { setenv("PATH", "/nonexistent", 1); };
  refused({"--html", folder_.path("page.html")}, {"gnuplot-nox"}, no_gnuplot);
}

TEST_F(AuditImportanceTest, AFolderThatMayNotBeWrittenIsRefusedFirst) {
  const std::string closed = folder_.path("closed");
  fs::create_directories(closed);
  fs::permissions(closed, fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_read |
                              fs::perms::others_exec);
  fs::permissions(folder_.path(), fs::perms::others_read | fs::perms::others_exec, fs::perm_options::add);
  const auto as_somebody = [] {
    constexpr uid_t kNobody = 65534;
    if (geteuid() == 0 && (setgid(kNobody) != 0 || setuid(kNobody) != 0)) _exit(126);
    if (access(binary().c_str(), X_OK) != 0) _exit(126);
  };
  const Outcome outcome = run(audit({"--json", closed + "/out.json"}), "", as_somebody);
  if (outcome.code == 126) GTEST_SKIP() << "the program cannot be run without being root";
  EXPECT_TRUE(fails(outcome, 1, {closed, "Permission denied"}));
  EXPECT_THAT(outcome.err, Not(HasSubstr("backward passes")));
}

// The text comes first, so that it is there where a file cannot be finished.
TEST_F(AuditImportanceTest, TheTextOutlivesAFullDisk) {
  const Words words = audit({"--json", folder_.path("out.json")});
  const auto small_files = [] {
    const rlimit limit{12'000, 12'000};
    setrlimit(RLIMIT_FSIZE, &limit);
  };
  const Outcome outcome = run(words, "", small_files);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("out.json"));
  EXPECT_EQ(outcome.out, run(words).out);
  EXPECT_GT(fs::file_size(folder_.path("out.json")), 12'000);
}

}  // namespace
}  // namespace costeff::testing
