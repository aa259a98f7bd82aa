// A disk that is full, a folder that cannot be written: nothing is lost, and the error says what to do.
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/support.h"
#include "tests/tools/support.h"

namespace costeff::testing {
namespace {

namespace fs = std::filesystem;

// No file of the process may grow beyond this.
std::function<void()> file_limit(rlim_t bytes) {
  return [bytes] {
    const rlimit limit{bytes, bytes};
    setrlimit(RLIMIT_FSIZE, &limit);
  };
}

class DiskTest : public CliTest {
 protected:
  // After the error at most temporaries that the next run takes over; the run itself goes on to the usual
  // end.
  void expect_recovers(const std::string& out, const Words& more = {}) const {
    const std::string whole = folder_.path("whole");
    ASSERT_EQ(run(finetune(whole, more)).code, 0);
    const Outcome resumed = run({"finetune", "--out", out, "--resume"});
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_EQ(read(out + "/last/model.safetensors"), read(whole + "/last/model.safetensors"));
    EXPECT_EQ(read_log(out), read_log(whole));
  }
};

TEST_F(DiskTest, AFileThatMayNotGrow) {
  const std::string out = folder_.path("run");
  // The settings and the log fit, the weights (some 100 kB) do not.
  EXPECT_TRUE(fails(run(finetune(out), "", file_limit(50'000)), 1, {"costeff finetune: ", out}));
  EXPECT_FALSE(fs::exists(out + "/best"));
  expect_recovers(out);
}

TEST_F(DiskTest, ALogThatMayNotGrow) {
  const std::string out = folder_.path("run");
  const Words more = {"--eval-every", "18"};  // so that the log is what grows first
  EXPECT_TRUE(fails(run(finetune(out, more), "", file_limit(2'500)), 1, {"log.jsonl", "resume"}));
  expect_recovers(out, more);
}

TEST_F(DiskTest, ASettingsFileThatDoesNotFit) {
  const std::string out = folder_.path("run");
  EXPECT_EQ(run(finetune(out), "", file_limit(100)).code, 1);  // stderr is cut off, too
  EXPECT_EQ(run(finetune(out)).code, 0);                       // nothing in the way
}

class MountedTest : public DiskTest {
 protected:
  void SetUp() override {
    disk_ = folder_.path("disk");
    fs::create_directories(disk_);
    if (mount("none", disk_.c_str(), "tmpfs", 0, "size=600k") != 0)
      GTEST_SKIP() << "may not mount a small disk";
    mounted_ = true;
  }
  void TearDown() override {
    if (mounted_) umount2(disk_.c_str(), MNT_DETACH);
  }

  std::string disk_;
  bool mounted_ = false;
};

TEST_F(MountedTest, AFullDiskKeepsTheCheckpointsThereWere) {
  const std::string out = disk_ + "/run";
  const Outcome full = run(finetune(out, {"--keep-checkpoints", "5"}));
  EXPECT_TRUE(fails(full, 1, {"No space left"}));
  ASSERT_EQ(mount("none", disk_.c_str(), "tmpfs", MS_REMOUNT, "size=20m"), 0);
  const std::string whole = folder_.path("whole");
  ASSERT_EQ(run(finetune(whole)).code, 0);
  const Outcome resumed = run({"finetune", "--out", out, "--resume"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_EQ(read(out + "/last/model.safetensors"), read(whole + "/last/model.safetensors"));
}

TEST_F(MountedTest, AReadOnlyDisk) {
  const std::string out = disk_ + "/run";
  ASSERT_EQ(run(finetune(out, {"--epochs", "1"})).code, 0);
  const auto before = contents(out);
  ASSERT_EQ(mount("none", disk_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr), 0);
  EXPECT_TRUE(fails(run(finetune(disk_ + "/other")), 1, {disk_ + "/other", "Read-only"}));
  EXPECT_TRUE(fails(run({"finetune", "--out", out, "--resume"}), 1, {out, "Read-only"}));
  EXPECT_EQ(before, contents(out));
  EXPECT_EQ(run({"inspect", out}).code, 0);
  EXPECT_EQ(run({"predict", "--model", out}, "a film\n").code, 0);
}

TEST_F(DiskTest, AFolderThatMayNotBeWritten) {
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
  const Outcome outcome = run(finetune(closed + "/run"), "", as_somebody);
  if (outcome.code == 126) GTEST_SKIP() << "the program cannot be run without being root";
  EXPECT_TRUE(fails(outcome, 1, {closed + "/run", "Permission denied"}));
  EXPECT_TRUE(fs::is_empty(closed));
}

TEST_F(DiskTest, AFileIsNoFolder) {
  const std::string file = folder_.write("letter.txt", "dear");
  EXPECT_TRUE(fails(run(finetune(file)), 1, {file, "not a folder"}));
  EXPECT_TRUE(fails(run(finetune(file + "/run")), 1, {file}));
  EXPECT_EQ(read(file), "dear");
}

}  // namespace
}  // namespace costeff::testing
