// What the commands print, and that they agree with each other.
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <sstream>

#include "nn/safetensors.h"
#include "tests/support.h"
#include "tests/tools/support.h"

namespace costeff::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class OutputsTest : public CliTest {
 protected:
  Outcome predict(const std::string& input, const Words& more = {}) const {
    Words words = {"predict", "--model", model_, "--threads", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return run(words, input);
  }
};

TEST_F(OutputsTest, EvalAndPredictAgree) {
  const std::string out = folder_.path("run");
  ASSERT_EQ(run(finetune(out)).code, 0);
  model_ = out;
  const Json scores = run(eval()).json();
  for (const char* key : {"acc", "accuracy", "loss", "examples", "seconds", "sequences_per_second"}) {
    ASSERT_TRUE(scores.contains(key)) << key;
  }
  EXPECT_EQ(scores["examples"], 10);
  EXPECT_EQ(scores["acc"], scores["accuracy"]);

  std::istringstream rows(read(data_ + "/dev.tsv"));
  std::string texts;
  std::vector<std::string> labels;
  std::string row;
  std::getline(rows, row);
  while (std::getline(rows, row)) {
    texts += row.substr(0, row.find('\t')) + "\n";
    labels.push_back(row.substr(row.find('\t') + 1));
  }
  const std::vector<Json> answers = predict(texts).json_lines();
  ASSERT_EQ(answers.size(), labels.size());
  double right = 0;
  double loss = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const Json& p = answers[i]["probabilities"];
    right += answers[i]["label"] == labels[i] ? 1 : 0;
    loss -= std::log(p[labels[i]].get<double>());
    EXPECT_NEAR(p["0"].get<double>() + p["1"].get<double>(), 1, 1e-12);
    EXPECT_GE(p[answers[i]["label"].get<std::string>()].get<double>(), 0.5);
  }
  const auto count = static_cast<double>(labels.size());
  EXPECT_NEAR(scores["accuracy"].get<double>(), right / count, 1e-12);
  EXPECT_NEAR(scores["loss"].get<double>(), loss / count, 1e-6);

  const Outcome text =
      run({"eval", "--model", out, "--columns", "sentence,label", "--data", data_ + "/dev.tsv"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("acc "));
  EXPECT_THAT(text.out, HasSubstr("loss "));
}

TEST_F(OutputsTest, EvalPaddedIsEvalPacked) {
  const Json packed = run(eval({"--batch", "3"})).json();
  const Json padded = run(eval({"--pad-to", "128"})).json();
  EXPECT_EQ(packed["acc"], padded["acc"]);
  EXPECT_NEAR(packed["loss"].get<double>(), padded["loss"].get<double>(), 1e-6);
  EXPECT_NEAR(run(eval({"--split", "train"})).json()["examples"].get<double>(), 24, 0);
}

TEST_F(OutputsTest, EvalInBf16IsNearlyEval) {
  const Json full = run(eval({})).json(), mixed = run(eval({"--precision", "bf16"})).json();
  EXPECT_NEAR(mixed["loss"].get<double>(), full["loss"].get<double>(), 2e-2);
  EXPECT_NE(mixed["loss"], full["loss"]);
}

TEST_F(OutputsTest, PredictKeepsOrderAndText) {
  const Outcome outcome =
      predict("the good film\r\n\n \"quoted\" \\ \xC3\xA4\na story\tis dull\nno line end", {"--batch", "2"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const std::vector<Json> answers = outcome.json_lines();
  ASSERT_THAT(answers, SizeIs(5));
  EXPECT_EQ(answers[0]["text"], "the good film");
  EXPECT_EQ(answers[1]["text"], "");
  EXPECT_EQ(answers[2]["text"], " \"quoted\" \\ \xC3\xA4");
  EXPECT_EQ(answers[3]["text"], "a story");
  EXPECT_EQ(answers[3]["pair"], "is dull");
  EXPECT_EQ(answers[4]["text"], "no line end");
  EXPECT_FALSE(answers[4].contains("pair"));
  EXPECT_EQ(predict("").out, "");
  EXPECT_EQ(predict("\xEF\xBB\xBFthe film\n").json()["text"], "the film");
}

TEST_F(OutputsTest, PredictDoesNotDependOnTheBatch) {
  const std::string texts = "the good film\nbad\nthe story is very dull and flat .\n\nlovely\n";
  const std::vector<Json> together = predict(texts).json_lines();
  const std::vector<Json> alone = predict(texts, {"--batch", "1"}).json_lines();
  ASSERT_EQ(together.size(), alone.size());
  for (std::size_t i = 0; i < alone.size(); ++i) {
    EXPECT_NEAR(together[i]["probabilities"]["1"].get<double>(), alone[i]["probabilities"]["1"].get<double>(),
                1e-6);
  }
}

TEST_F(OutputsTest, PredictAnswersTheLinesBeforeABadOne) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"caf\xE9", "not UTF-8"},
      {std::string("a\0b", 3), "NUL"},
      {std::string(10'000'000, 'a'), "longer than"},
      {"a\tb\tc", "more than one tab"},
  };
  for (const auto& [line, why] : bad) {
    const Outcome outcome = predict("the good film\nbad\n" + line + "\nafter\n");
    EXPECT_TRUE(fails(outcome, 1, {"standard input:3: ", why})) << why;
    EXPECT_THAT(outcome.json_lines(), SizeIs(2)) << why;
    const Outcome ids = run({"tokenize", "--vocab", model_}, "the good film\nbad\n" + line + "\nafter\n");
    EXPECT_TRUE(fails(ids, 1, {"standard input:3: ", why})) << why;
    EXPECT_THAT(ids.json_lines(), SizeIs(2)) << why;
  }
}

// The program at a terminal of its own.
class Terminal {
 public:
  explicit Terminal(Words words) {
    std::string program = binary();
    std::vector<char*> arguments = {program.data()};
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    winsize size{24, 60, 0, 0};
    child_ = forkpty(&terminal_, nullptr, nullptr, &size);
    if (child_ != 0) return;
    setenv("TERM", "xterm", 1);
    execv(program.c_str(), arguments.data());
    _exit(127);
  }
  ~Terminal() { close(terminal_); }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void type(const std::string& text) const {
    EXPECT_EQ(write(terminal_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  // Reads until the text was seen; an empty one: to the end.
  bool see(const std::string& text) {
    char buffer[4096];
    while (text.empty() || seen_.find(text) == std::string::npos) {
      const ssize_t count = ::read(terminal_, buffer, sizeof buffer);
      if (count <= 0) return text.empty();
      seen_.append(buffer, static_cast<std::size_t>(count));
    }
    return true;
  }
  const std::string& seen() const { return seen_; }
  int wait() const {
    int status = -1;
    waitpid(child_, &status, 0);
    return status;
  }

 private:
  int terminal_ = -1;
  pid_t child_ = -1;
  std::string seen_;
};

TEST_F(OutputsTest, PredictAnswersATerminalLineByLine) {
  Terminal terminal({"predict", "--model", model_, "--threads", "1"});
  for (const char* word : {"lovely", "dull"}) {
    terminal.type(std::string(word) + "\n");
    ASSERT_TRUE(terminal.see("{\"text\":\"" + std::string(word) + "\"")) << terminal.seen();
  }
  terminal.type("\x04");
  terminal.see("");
  EXPECT_EQ(terminal.wait(), 0) << terminal.seen();
}

TEST_F(OutputsTest, ProgressBarFitsTheTerminal) {
  Terminal terminal(finetune(folder_.path("run"), {"--epochs", "40"}));
  terminal.see("");
  EXPECT_EQ(terminal.wait(), 0) << terminal.seen();
  const std::string& seen = terminal.seen();
  EXPECT_THAT(seen, HasSubstr("/240"));
  const std::string redraw = "\r\033[K";
  std::size_t at = seen.find(redraw);
  ASSERT_NE(at, std::string::npos);
  while ((at = seen.find(redraw, at)) != std::string::npos) {
    at += redraw.size();
    if (seen.compare(at, 8, "finetune") == 0) {
      EXPECT_LT(seen.find_first_of("\r\n", at) - at, 60u);
    }
  }
}

TEST_F(OutputsTest, PredictOfARegression) {
  make_model(folder_.path("score"), {"score"});
  const Json answer = run({"predict", "--model", folder_.path("score")}, "a film\ta story\n").json();
  EXPECT_TRUE(answer["score"].is_number());
  EXPECT_FALSE(answer.contains("label"));
}

TEST_F(OutputsTest, Tokenize) {
  // [CLS] 2, [SEP] 3, good 5, film 30, the 29
  for (const std::string& vocabulary_path : {model_, model_ + "/vocab.txt"}) {
    const Outcome outcome = run({"tokenize", "--vocab", vocabulary_path}, "the Good film\ngood\tfilm\n\n");
    EXPECT_EQ(outcome.out,
              "{\"ids\":[2,29,5,30,3],\"token_type_ids\":[0,0,0,0,0]}\n"
              "{\"ids\":[2,5,3,30,3],\"token_type_ids\":[0,0,0,1,1]}\n"
              "{\"ids\":[2,3],\"token_type_ids\":[0,0]}\n");
  }
  EXPECT_THAT(run({"tokenize", "--vocab", model_, "--max-length", "3"}, "the good film\n").json()["ids"],
              ElementsAre(2, 29, 3));
  EXPECT_TRUE(fails(run({"tokenize", "--vocab", model_, "--max-length", "1"}), 2, {"--max-length"}));
  folder_.write("tiny model/tokenizer_config.json", R"({"do_lower_case": false})");
  EXPECT_THAT(run({"tokenize", "--vocab", model_ + "/vocab.txt"}, "Good\n").json()["ids"],
              ElementsAre(2, 1, 3));
}

TEST_F(OutputsTest, InspectCountsWhatTheFileHolds) {
  const Json model = run({"inspect", model_, "--json"}).json()["model"];
  const SafetensorsFile file(model_ + "/model.safetensors");
  std::int64_t elements = 0;
  for (const std::string& name : file.names()) elements += file.info(name).count();
  EXPECT_EQ(model["parameters"]["total"], elements);
  EXPECT_EQ(model["parameters"]["embeddings"], (kVocabulary + 128 + 2 + 2) * 32);
  ASSERT_THAT(model["layers"], SizeIs(2));
  EXPECT_EQ(model["layers"][1]["heads"], 4);
  EXPECT_EQ(model["layers"][1]["head_size"], 8);
  EXPECT_EQ(model["layers"][1]["ffn"], 64);
  EXPECT_EQ(model["layers"][1]["parameters"], 4 * 33 * 32 + 33 * 64 + 65 * 32 + 4 * 32);
  EXPECT_EQ(model["parameters"]["classifier"], 2 * 33);
  EXPECT_THAT(model["labels"], ElementsAre("0", "1"));
  EXPECT_EQ(model["file"]["dtypes"]["F32"], file.names().size());
  EXPECT_EQ(model["vocabulary"]["tokens"], kVocabulary);
  const Outcome text = run({"inspect", model_});
  EXPECT_EQ(text.code, 0);
  EXPECT_THAT(text.out, HasSubstr("total"));
}

TEST_F(OutputsTest, InspectOfARun) {
  const std::string out = folder_.path("run");
  ASSERT_EQ(run(finetune(out, {"--save-dtype", "f16"})).code, 0);
  const Json both = run({"inspect", out, "--json"}).json();
  EXPECT_EQ(both["run"]["step"], 18);
  EXPECT_EQ(both["run"]["finished"], true);
  EXPECT_THAT(both["run"]["checkpoints"], ElementsAre(12, 18));
  EXPECT_THAT(both["run"]["dev"], SizeIs(3));
  EXPECT_EQ(both["run"]["settings"]["lr"], 2e-3);
  EXPECT_EQ(both["model"]["folder"], out + "/best");
  EXPECT_EQ(both["model"]["file"]["dtypes"].begin().key(), "F16");
  const Outcome text = run({"inspect", out});
  EXPECT_EQ(text.code, 0);
  EXPECT_THAT(text.out, HasSubstr("finished at step 18"));
  EXPECT_EQ(read_log(out).size(), 21u);  // looking changed nothing
}

TEST(Devices, SayWhatComputes) {
  const Outcome text = run({"devices"});
  EXPECT_EQ(text.code, 0);
  EXPECT_THAT(text.out, HasSubstr("OpenBLAS"));
  EXPECT_THAT(text.out, HasSubstr("cuda"));
  const Json json = run({"devices", "--json"}).json();
  EXPECT_GE(json["cpu"]["cores"].get<int>(), 1);
  EXPECT_EQ(json["cpu"]["blas_threads"], json["cpu"]["cores"]);
  EXPECT_GT(json["cpu"]["memory_bytes"].get<std::int64_t>(), 0);
  EXPECT_EQ(json["cuda"].is_null(), !json["cuda_unavailable"].get<std::string>().empty());
  EXPECT_THAT(text.out, HasSubstr(json["cpu"]["blas_kernels"].get<std::string>()));
}

TEST(Devices, ThatCannotBeUsedAreErrors) {
  EXPECT_TRUE(
      fails(run({"predict", "--model", "none", "--precision", "fp8"}), 2, {"--precision fp8", "bf16"}));
  EXPECT_TRUE(fails(run({"predict", "--model", "none", "--device", "gpu"}), 2, {"device gpu", "cuda:N"}));
  EXPECT_TRUE(fails(run({"predict", "--model", "none", "--device", "mock"}), 2, {"device mock"}));
  EXPECT_TRUE(fails(run({"predict", "--model", "none", "--device", "cuda:127"}), 1, {"device cuda:127"}));
  const std::string reason = run({"devices", "--json"}).json()["cuda_unavailable"];
  if (reason.empty()) return;
  EXPECT_TRUE(fails(run({"predict", "--model", "none", "--device", "cuda"}), 1, {reason, "cpu computes"}));
}

}  // namespace
}  // namespace costeff::testing
