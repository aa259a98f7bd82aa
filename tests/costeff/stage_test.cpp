// A stage that is stopped from outside, at any moment, goes on as if it had not been.
#include "costeff/train/stage.h"

#include "costeff/exits/classifier.h"
#include "tensor/backend.h"
#include "tests/costeff/support.h"
#include "tests/costeff/tiny_run.h"

namespace costeff {
namespace {

using namespace testing;

class StoppedStage : public ::testing::Test, protected TinyRun {
 protected:
  std::string weights(const Settings& settings) const {
    return read_text(settings.out + "/last/model.safetensors");
  }
};

TEST_F(StoppedStage, WhileTheTeacherSaysItsPart) {
  ASSERT_TRUE(run_stage(Stage::finetune, settings(Stage::finetune, "cpu"), false, {}).finished);
  const Settings whole = settings(Stage::assist, "cpu");
  ASSERT_TRUE(run_stage(Stage::assist, whole, false, {}).finished);
  Settings parted = whole;
  parted.out = folder().path("parted");
  std::atomic<bool> stop = false;
  StageEvents events;
  events.stop = &stop;
  events.taught = [&](std::int64_t done, std::int64_t) { stop = done > 0; };
  events.step = [](const StageProgress&) { ADD_FAILURE() << "a step without what the teacher remembers"; };
  const StageResult stopped = run_stage(Stage::assist, parted, false, events);
  EXPECT_FALSE(stopped.finished);
  EXPECT_EQ(stopped.steps, 0);
  ASSERT_TRUE(run_stage(Stage::assist, parted, true, {}).finished);
  EXPECT_EQ(weights(parted), weights(whole));
}

TEST_F(StoppedStage, BetweenStepsASaveHoldsAllOfThem) {
  const Settings whole = settings(Stage::finetune, "cpu");
  ASSERT_TRUE(run_stage(Stage::finetune, whole, false, {}).finished);
  Settings parted = whole;
  parted.out = folder().path("parted");
  std::atomic<bool> stop = false;
  StageEvents events;
  events.stop = &stop;
  events.step = [&](const StageProgress& progress) { stop = progress.step == 3; };
  EXPECT_EQ(run_stage(Stage::finetune, parted, false, events).steps, 3);
  std::int64_t first = 0;
  events.step = [&](const StageProgress& progress) { first = first == 0 ? progress.step : first; };
  stop = false;
  ASSERT_TRUE(run_stage(Stage::finetune, parted, true, events).finished);
  EXPECT_EQ(first, 4);
  EXPECT_EQ(weights(parted), weights(whole));
}

}  // namespace
}  // namespace costeff
