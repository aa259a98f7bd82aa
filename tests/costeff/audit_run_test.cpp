// What the audits read of a training run: its log, and where its newest checkpoint stands.
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "costeff/audit/run_log.h"
#include "costeff/audit/run_state.h"
#include "tests/costeff/support.h"

namespace costeff::audit {
namespace {

namespace fs = std::filesystem;
using namespace costeff::testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class AuditedRunTest : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories(fs::path(folder_.path() + "/" + name).parent_path());
    std::ofstream(folder_.path() + "/" + name) << text;
  }
  RunLog log_of(const std::string& lines, const std::string& settings = "{}") const {
    write("config.json", fmt::format(R"({{"command": "assist", "settings": {}}})", settings));
    write("log.jsonl", lines);
    return read_run_log(folder_.path());
  }

  TemporaryFolder folder_;
};

constexpr const char* kStep =
    R"("phase": "a", "loss": 1, "learning_rate": 1, "tokens": 1, "tokens_per_second": 1, )";

// Of two layers whose gradients have norm 3 and 4, and exits' own weights: 6 in all.
std::string line(int step, double first_share, double cosine, double norm = 6) {
  return fmt::format(
             R"({{{}"step": {}, "clip_scale": {}, "gradient_norm": 6, "audit": {{"roots": ["exit 1 hard", "exit 2 hard"], )"
             R"("norm": {}, "layers": [{{"layer": 0, "norm": 3, "shares": [{}, 0.5], "conflict": null}}, )"
             R"({{"layer": 1, "norm": 4, "shares": [-0.5, 1.5], "conflict": {{"between": ["exit 1 hard", "exit 2 hard"], )"
             R"("cosine": {}}}}}]}}}})",
             kStep, step, step % 2 == 0 ? 1.0 : 0.25, norm, first_share, cosine) +
         "\n";
}

TEST_F(AuditedRunTest, SharesAreOfAllLayersTogether) {
  const RunLog run = log_of(line(1, 0.5, 0.4) + line(2, 0.5, -0.3) + line(3, 0.5, 0.1) +
                            fmt::format(R"({{{}"step": 4, "clip_scale": 1, "gradient_norm": 6}})", kStep) +
                            "\n" + R"({"step": 5, "clip_s)");
  EXPECT_THAT(run.faults, IsEmpty());
  EXPECT_EQ(run.steps.size(), 4U);
  EXPECT_EQ(clipped_share(run), 0.5);
  ASSERT_EQ(run.audits.size(), 3U);
  // <g_j, g> of both layers over |g|^2 of both.
  EXPECT_DOUBLE_EQ(run.audits[0].shares[0], (0.5 * 9 - 0.5 * 16) / 25);
  EXPECT_DOUBLE_EQ(run.audits[0].shares[1], (0.5 * 9 + 1.5 * 16) / 25);
  const LoggedAudit* worst = worst_audit(run);
  ASSERT_NE(worst, nullptr);
  EXPECT_EQ(worst->step, 2);
  EXPECT_EQ(worst->where, "layer 1");
}

TEST_F(AuditedRunTest, MeanShareLeavesOutOtherRoots) {
  RunLog run;
  run.audits = {{.roots = {"a", "b"}, .shares = {0.25, 0.75}},
                {.roots = {"a", "c"}, .shares = {1, 0}},
                {.roots = {"a", "b"}, .shares = {0.75, 0.25}}};
  EXPECT_EQ(mean_share(run, 0, 0, 3), 0.5);
  EXPECT_EQ(mean_share(run, 1, 2, 3), 0.25);
  EXPECT_EQ(mean_share(run, 1, 1, 2), 0);
}

TEST_F(AuditedRunTest, FaultsOfALog) {
  const auto faults = [&](const std::string& lines, const char* settings = "{}") {
    std::string text;
    for (const Fault& fault : log_of(lines, settings).faults) text += fault.place + ": " + fault.what + "\n";
    return text;
  };
  // 20 % in all, and hardly anything too much; each but the first step's.
  EXPECT_THAT(faults(line(1, 0.5, 0) + line(7, -0.3, 0)),
              HasSubstr("step 7: the losses' shares in a layer do"));
  EXPECT_THAT(faults(line(1, 0.5002, 0)), HasSubstr("off by 0.0002"));
  EXPECT_EQ(faults(line(1, 0.50001, 0)), "");
  EXPECT_THAT(faults(line(3, 0.5, 0, 6.001)), HasSubstr("looked at has norm 6.001, that of the step 6"));
  EXPECT_EQ(faults(line(3, 0.5, 0, 6.001), R"({"accumulate": 2})"), "");
  std::string lost = line(3, 0.5, 0);
  lost.replace(lost.find("\"norm\": 4"), 9, "\"norm\": null");
  EXPECT_EQ(faults(lost), "step 3: the gradient is not finite\n");
}

TEST_F(AuditedRunTest, WhatIsNoLog) {
  const auto message = [&](const std::string& lines) { return message_of<Error>([&] { log_of(lines); }); };
  EXPECT_THAT(
      message(fmt::format(R"({{{}"step": 1, "clip_scale": 1, "gradient_norm": 1, "audit": {{}}}})", kStep) +
              "\n"),
      HasSubstr("step 1: not what --audit-every writes"));
  EXPECT_THAT(message("{\n" + line(1, 0.5, 0)), HasSubstr("line 1 is not JSON"));
  EXPECT_THAT(message(""), HasSubstr("no step yet"));
}

// ---- the newest checkpoint

TEST_F(AuditedRunTest, StateIsOfTheNewestWholeCheckpoint) {
  write("config.json",
        R"({"settings": {"no_equalise": true, "adam_variant": "transformers", "weight_decay": 0.25,
    "max_norm": 2}, "effective": {"phases": [{"steps": 10, "lr": 0.5}, {"steps": 20, "lr": 0.125}]}})");
  write("checkpoints/step-9/state.json", R"({"step": 9, "phase": 0})");
  write("checkpoints/step-16/state.json", R"({"step": 16, "phase": 1})");
  for (const char* other : {"step-99.writing", "step-98.ready", "step-97.old", "step-old", "step-"})
    write(std::string("checkpoints/") + other + "/state.json", R"({"step": 99, "phase": 1})");
  fs::create_directories(folder_.path() + "/checkpoints/step-50");  // without its marker
  const RunState state = newest_state(folder_.path());
  EXPECT_EQ(fs::path(state.checkpoint).filename(), "step-16");
  EXPECT_EQ(state.steps, 6);  // of the second phase
  EXPECT_FALSE(state.equalised);
  EXPECT_EQ(state.adam.variant, AdamVariant::transformers);
  EXPECT_EQ(state.adam.weight_decay, 0.25);
  EXPECT_EQ(state.learning_rate, 0.125);
  EXPECT_EQ(state.max_norm, 2);
}

TEST_F(AuditedRunTest, WhatIsNoState) {
  const auto message = [&] { return message_of<Error>([&] { newest_state(folder_.path()); }); };
  EXPECT_THAT(message(), HasSubstr("no training run is there"));
  write("config.json", R"({"settings": {}})");
  EXPECT_THAT(message(), HasSubstr("no checkpoint"));
  write("checkpoints/step-9/state.json", R"({"step": 9, "phase": 0})");
  EXPECT_THAT(message(), HasSubstr("not those of a run"));
}

}  // namespace
}  // namespace costeff::audit
