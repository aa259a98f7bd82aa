// Run folders: what is refused, what a killed process may leave, and what restoring cuts back.
#include "costeff/train/run_folder.h"

#include "tensor/error.h"
#include "tests/support.h"

namespace costeff {
namespace {

using namespace testing;

std::string content(const std::string& path) {
  return read_text(path);
}

TEST(RunFolder, ASecondRunInTheSameFolderIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.path("run");
  RunFolder::create(path, {{"a", 1}});
  const std::string message = message_of<Error>([&] { RunFolder::create(path, {{"a", 2}}); });
  EXPECT_NE(message.find("resume"), std::string::npos);
  EXPECT_EQ(RunFolder::open(path).config()["a"], 1);
}

TEST(RunFolder, AFolderOfOtherThingsIsRefused) {
  const TemporaryFolder folder;
  folder.write("notes.txt", "mine");
  EXPECT_THROW(RunFolder::create(folder.path(), {}), Error);
  EXPECT_EQ(content(folder.path("notes.txt")), "mine");
}

TEST(RunFolder, ABeginningThatWasKilledIsTakenOver) {
  const TemporaryFolder folder;
  folder.write("config.json.tmp", "{\"half");
  const RunFolder run = RunFolder::create(folder.path(), {{"a", 1}});
  EXPECT_EQ(run.config()["a"], 1);
}

TEST(RunFolder, NothingToGoOnWithIsAnError) {
  const TemporaryFolder folder;
  EXPECT_THROW(RunFolder::open(folder.path("nothing")), Error);
}

TEST(RunFolder, RestoringCutsTheLogBackToTheNewestCheckpoint) {
  const TemporaryFolder folder;
  const std::string path = folder.path("run");
  const auto fill = [](const std::string& to) { write_atomically(to + "/weights", "w"); };
  {
    RunFolder run = RunFolder::create(path, {});
    for (int step = 1; step <= 3; ++step) {
      run.log({{"step", step}});
      run.save_checkpoint(step, {{"step", step}}, 2, fill);
    }
    run.log({{"step", 4}});
  }
  EXPECT_FALSE(std::filesystem::exists(path + "/checkpoints/step-1"));
  RunFolder run = RunFolder::open(path);
  const auto newest = run.restore();
  ASSERT_TRUE(newest.has_value());
  EXPECT_EQ(newest->state["step"], 3);
  EXPECT_EQ(content(path + "/log.jsonl"), "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n");
  run.log({{"step", 4}});
  EXPECT_EQ(content(path + "/log.jsonl"), "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"step\":4}\n");
}

TEST(RunFolder, TwoProcessesAtOneRunAreRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.path("run");
  const RunFolder first = RunFolder::create(path, {});
  RunFolder second = RunFolder::open(path);
  EXPECT_NE(message_of<Error>([&] { second.restore(); }).find("another process"), std::string::npos);
}

TEST(RunFolder, WhatAKilledCheckpointLeftIsRemoved) {
  const TemporaryFolder folder;
  const std::string path = folder.path("run");
  RunFolder::create(path, {});
  std::filesystem::create_directories(path + "/checkpoints/step-9.writing");
  RunFolder run = RunFolder::open(path);
  EXPECT_FALSE(run.restore().has_value());
  EXPECT_FALSE(std::filesystem::exists(path + "/checkpoints/step-9.writing"));
}

TEST(RunFolder, WithoutACheckpointARunBeginsAgain) {
  const TemporaryFolder folder;
  const std::string path = folder.path("run");
  RunFolder::create(path, {}).log({{"step", 1}});
  RunFolder run = RunFolder::open(path);
  EXPECT_FALSE(run.restore().has_value());
  EXPECT_EQ(content(path + "/log.jsonl"), "");
}

TEST(RunFolder, ALogShorterThanItsCheckpointSaysIsAnError) {
  const TemporaryFolder folder;
  const std::string path = folder.path("run");
  {
    RunFolder run = RunFolder::create(path, {});
    run.log({{"step", 1}});
    run.save_checkpoint(1, {{"step", 1}}, 2, [](const std::string& /*to*/) {});
  }
  std::filesystem::resize_file(path + "/log.jsonl", 3);
  RunFolder run = RunFolder::open(path);
  EXPECT_NE(message_of<Error>([&] { run.restore(); }).find("log.jsonl"), std::string::npos);
}

}  // namespace
}  // namespace costeff
