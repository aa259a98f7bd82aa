// A stage that is stopped from outside, at any moment, goes on as if it had not been.
#include "costeff/train/stage.h"

#include "costeff/train/classifier.h"
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

TEST_F(StoppedStage, WhileTheTeachersOutputsAreComputed) {
  ASSERT_TRUE(run("finetune", settings("finetune", "cpu"), false, {}).finished);
  const Settings whole = settings("assist", "cpu");
  ASSERT_TRUE(run("assist", whole, false, {}).finished);
  Settings parted = whole;
  parted.out = folder().path("parted");
  std::atomic<bool> stop = false;
  StageEvents events;
  events.stop = &stop;
  events.cached = [&](std::int64_t done, std::int64_t) { stop = done > 0; };
  events.step = [](const StageProgress&) { ADD_FAILURE() << "a step without the teacher's outputs"; };
  const StageResult stopped = run("assist", parted, false, events);
  EXPECT_FALSE(stopped.finished);
  EXPECT_EQ(stopped.record.steps, 0);
  ASSERT_TRUE(run("assist", parted, true, {}).finished);
  EXPECT_EQ(weights(parted), weights(whole));
}

TEST_F(StoppedStage, BetweenStepsASaveHoldsAllOfThem) {
  const Settings whole = settings("finetune", "cpu");
  ASSERT_TRUE(run("finetune", whole, false, {}).finished);
  Settings parted = whole;
  parted.out = folder().path("parted");
  std::atomic<bool> stop = false;
  StageEvents events;
  events.stop = &stop;
  events.step = [&](const StageProgress& progress) { stop = progress.step == 3; };
  EXPECT_EQ(run("finetune", parted, false, events).record.steps, 3);
  std::int64_t first = 0;
  events.step = [&](const StageProgress& progress) { first = first == 0 ? progress.step : first; };
  stop = false;
  ASSERT_TRUE(run("finetune", parted, true, events).finished);
  EXPECT_EQ(first, 4);
  EXPECT_EQ(weights(parted), weights(whole));
}

}  // namespace
}  // namespace costeff
