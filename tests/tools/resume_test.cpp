// A run's life: the same command gives the same bits, also when it is killed and gone on with.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <random>
#include <sstream>
#include <thread>

#include "tests/support.h"
#include "tests/tools/support.h"

namespace costeff::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

// What a finished run leaves behind that may not differ: models and log.
struct Traces {
  std::string last;
  std::string best;
  std::vector<Json> log;
  bool operator==(const Traces&) const = default;
};

Traces traces(const std::string& run) {
  return {read(run + "/last/model.safetensors"), read(run + "/best/model.safetensors"), read_log(run)};
}

class ResumeTest : public CliTest {
 protected:
  // Long enough to be interrupted: 180 steps with an evaluation every 20 and a checkpoint every 5.
  Words long_run(const std::string& out) const {
    return finetune(out, {"--epochs", "30", "--eval-every", "20", "--checkpoint-every", "5"});
  }
  static Words resume(const std::string& out) { return {"finetune", "--out", out, "--resume"}; }

  static bool wait_for(const std::function<bool()>& condition) {
    const auto end = Clock::now() + std::chrono::seconds(60);
    while (!condition()) {
      if (Clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return true;
  }
};

TEST_F(ResumeTest, SameCommandSameBits) {
  for (const char* threads : {"1", "2"}) {
    const std::string a = folder_.path(std::string("a") + threads);
    const std::string b = folder_.path(std::string("b") + threads);
    const Words more = {"--bucket", "--accumulate", "2", "--adam-variant", "transformers"};
    for (const std::string& out : {a, b}) {
      Words words = finetune(out, more);
      *(std::find(words.begin(), words.end(), "--threads") + 1) = threads;
      const Outcome outcome = run(words);
      ASSERT_EQ(outcome.code, 0) << outcome.err;
    }
    EXPECT_TRUE(traces(a) == traces(b));
    EXPECT_FALSE(traces(a).last.empty());
  }
  const std::string other = folder_.path("other seed");
  ASSERT_EQ(run(finetune(other, {"--seed", "2"})).code, 0);
  EXPECT_FALSE(traces(folder_.path("a1")) == traces(other));
}

// Whether a checkpoint of the run is being written, or was when it was killed.
bool half_a_checkpoint(const std::string& run) {
  std::error_code error;
  fs::directory_iterator entry(run + "/checkpoints", error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (entry->path().extension() == ".writing") return true;
  }
  return false;
}

std::uintmax_t log_size(const std::string& run) {
  std::error_code error;
  const std::uintmax_t size = fs::file_size(run + "/log.jsonl", error);
  return error ? 0 : size;
}

TEST_F(ResumeTest, KilledTwentyTimesEndsTheSame) {
  const std::string whole = folder_.path("whole");
  ASSERT_EQ(run(long_run(whole)).code, 0);
  const std::string killed = folder_.path("killed");
  const auto begin = [&] { return fs::exists(killed + "/config.json") ? resume(killed) : long_run(killed); };
  std::mt19937 random(20);  // NOLINT: another seed would be another twenty moments
  // By steps, so that twenty kills are over before the run is, however fast the machine; and, for what comes
  // before the first step, by time.
  std::uniform_int_distribution<std::uintmax_t> bytes(1, log_size(whole) / 25);
  std::uniform_int_distribution<int> microseconds(0, 60'000);
  // False where the run was over first, as this process may have to wait for a core; then it is begun anew.
  const auto died = [&](Process& process) {
    process.kill(SIGKILL);
    const Outcome outcome = process.wait();
    EXPECT_THAT(outcome.code, ::testing::AnyOf(-SIGKILL, 0)) << outcome.err;
    if (outcome.code == 0) fs::remove_all(killed);
    return outcome.code == -SIGKILL;
  };
  for (int tries = 0; !half_a_checkpoint(killed); ++tries) {  // one in the midst of a checkpoint
    ASSERT_LT(tries, 10);
    Process process(begin(), "");
    while (process.running() && !half_a_checkpoint(killed)) std::this_thread::yield();
    died(process);
  }
  for (int i = 0, tries = 0; i < 20; ++tries) {
    ASSERT_LT(tries, 40);
    const std::uintmax_t target = log_size(killed) + bytes(random);
    Process process(begin(), "");
    if (i % 3 == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(microseconds(random)));
    } else {
      ASSERT_TRUE(wait_for([&] { return log_size(killed) >= target || !process.running(); }));
    }
    if (died(process)) ++i;
  }
  const Outcome last = run(begin());
  ASSERT_EQ(last.code, 0) << last.err;
  EXPECT_FALSE(half_a_checkpoint(killed));
  EXPECT_TRUE(traces(whole) == traces(killed));
}

TEST_F(ResumeTest, SignalsSaveAndSayHowToGoOn) {
  const std::string whole = folder_.path("whole");
  ASSERT_EQ(run(long_run(whole)).code, 0);
  for (const int signal : {SIGINT, SIGTERM}) {
    const std::string out = folder_.path("stopped by " + std::to_string(signal));
    Process process(long_run(out), "");
    ASSERT_TRUE(wait_for([&] { return read(out + "/log.jsonl").size() > 1000 || !process.running(); }));
    process.kill(signal);
    const Outcome stopped = process.wait();
    const std::string command = "finetune --out '" + out + "' --resume";
    EXPECT_TRUE(fails(stopped, 1, {"costeff finetune: stopped after step", "of 180", command}))
        << stopped.out;
    EXPECT_THAT(stopped.err, HasSubstr("stopping"));
    EXPECT_FALSE(fs::exists(out + "/last"));
    const auto steps = static_cast<std::int64_t>(read_log(out).back()["step"]);
    EXPECT_TRUE(fs::exists(out + "/checkpoints/step-" + std::to_string(steps)));

    const std::size_t at = stopped.err.find(binary());  // the very command that was printed
    ASSERT_NE(at, std::string::npos) << stopped.err;
    const std::string line = stopped.err.substr(at, stopped.err.find('\n', at) - at);
    ASSERT_EQ(std::system((line + " >/dev/null 2>&1").c_str()), 0) << line;
    EXPECT_TRUE(traces(whole) == traces(out));
  }
}

TEST_F(ResumeTest, ASecondSignalEndsAtOnce) {
  const std::string out = folder_.path("run");
  Process process(finetune(out, {"--epochs", "100000"}), "");
  ASSERT_TRUE(wait_for([&] { return read(out + "/log.jsonl").size() > 300 || !process.running(); }));
  while (process.running()) process.kill(SIGINT);
  const Outcome outcome = process.wait();
  EXPECT_EQ(outcome.code, -SIGINT) << outcome.err;
}

TEST_F(ResumeTest, AResumedRunKeepsItsSettings) {
  const std::string out = folder_.path("run");
  ASSERT_EQ(run(finetune(out)).code, 0);
  const Traces before = traces(out);
  EXPECT_EQ(run(resume(out)).code, 0);  // finished: nothing is left to do
  Words same = finetune(out);
  same.push_back("--resume");
  EXPECT_EQ(run(same).code, 0);
  Words other = resume(out);
  other.insert(other.end(), {"--lr", "1e-5", "--batch", "4", "--seed", "9"});
  const Outcome refused = run(other);
  EXPECT_TRUE(fails(refused, 2, {"--lr 1e-05 (the run has 0.002)", "--seed 9 (the run has 1)"}));
  EXPECT_THAT(refused.err, ::testing::Not(HasSubstr("--batch 4")));
  EXPECT_TRUE(before == traces(out));
  EXPECT_TRUE(fails(run(resume(folder_.path("none"))), 1, {"none"}));
  EXPECT_TRUE(fails(run(resume(model_)), 1, {"not the settings of a run"}));
}

TEST_F(ResumeTest, AFolderThatHoldsARunIsLeftAlone) {
  const std::string out = folder_.path("run");
  ASSERT_EQ(run(finetune(out)).code, 0);
  const auto before = contents(out);
  EXPECT_TRUE(fails(run(finetune(out)), 1, {out, "already holds a run", "resume"}));
  EXPECT_EQ(before, contents(out));
  const auto model = contents(model_);
  EXPECT_EQ(run(finetune(model_)).code, 1);
  EXPECT_EQ(model, contents(model_));
  folder_.write("notes/letter.txt", "dear");
  EXPECT_TRUE(fails(run(finetune(folder_.path("notes"))), 1, {"not empty"}));
  EXPECT_EQ(read(folder_.path("notes/letter.txt")), "dear");
}

TEST_F(ResumeTest, OutputStaysParseableAndPlainLinesGoToStderr) {
  const Outcome outcome = run(finetune(folder_.path("run")));
  EXPECT_THAT(outcome.out, ::testing::StartsWith("best on dev after step "));
  EXPECT_THAT(outcome.err, HasSubstr("step 6: dev acc "));
  EXPECT_EQ(outcome.err.find('\r'), std::string::npos);
}

}  // namespace
}  // namespace costeff::testing
