#include "tests/tools/support.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>

#include "nn/checkpoint.h"
#include "tests/support.h"

namespace costeff::testing {

namespace fs = std::filesystem;

std::vector<Json> Outcome::json_lines() const {
  std::vector<Json> lines;
  std::istringstream in(out);
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  return lines;
}

Process::Process(const Words& words, const std::string& input, const std::function<void()>& in_child) {
  const std::string in = streams_.write("in", input);
  const std::string out = streams_.path("out");
  const std::string err = streams_.path("err");
  std::string program = binary();
  Words copy = words;
  std::vector<char*> arguments = {program.data()};
  for (std::string& word : copy) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  id_ = fork();
  if (id_ != 0) return;
  dup2(open(in.c_str(), O_RDONLY), STDIN_FILENO);
  dup2(open(out.c_str(), O_WRONLY | O_CREAT, 0644), STDOUT_FILENO);
  dup2(open(err.c_str(), O_WRONLY | O_CREAT, 0644), STDERR_FILENO);
  if (in_child) in_child();
  execv(program.c_str(), arguments.data());
  _exit(127);
}

Process::~Process() {
  if (!running()) return;
  kill(SIGKILL);
  waitpid(id_, &status_, 0);
}

bool Process::running() {
  if (!ended_) ended_ = waitpid(id_, &status_, WNOHANG) == id_;
  return !ended_;
}

void Process::kill(int signal) const {
  ::kill(id_, signal);
}

Outcome Process::wait() {
  if (!ended_) waitpid(id_, &status_, 0);
  ended_ = true;
  const int code = WIFEXITED(status_) ? WEXITSTATUS(status_) : -WTERMSIG(status_);
  return {code, read(streams_.path("out")), read(streams_.path("err"))};
}

Outcome run(const Words& words, const std::string& input, const std::function<void()>& in_child) {
  return Process(words, input, in_child).wait();
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<Json> read_log(const std::string& run) {
  std::vector<Json> lines;
  std::istringstream in(read(run + "/log.jsonl"));
  for (std::string line; std::getline(in, line);) {
    lines.push_back(Json::parse(line));
    lines.back().erase("tokens_per_second");
  }
  return lines;
}

std::vector<std::pair<std::string, std::string>> contents(const std::string& folder) {
  std::vector<std::pair<std::string, std::string>> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    files.emplace_back(entry.path().string(), entry.is_regular_file() ? read(entry.path()) : "");
  }
  std::sort(files.begin(), files.end());
  return files;
}

constexpr std::array<const char*, 12> kGood = {"good",  "great", "fine",   "charming", "lovely", "warm",
                                               "smart", "fresh", "bright", "moving",   "funny",  "rich"};
constexpr std::array<const char*, 12> kBad = {"bad",  "poor",  "dull",  "bleak", "boring", "cold",
                                              "flat", "stale", "silly", "grim",  "empty",  "weak"};
constexpr std::array<const char*, 8> kPlain = {"the", "film", "a", "story", "is", "and", "very", "."};

std::string vocabulary() {
  std::string text = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
  int count = 5;
  const auto add = [&](const std::string& token) {
    text += token + "\n";
    ++count;
  };
  for (const char* word : kGood) add(word);
  for (const char* word : kBad) add(word);
  for (const char* word : kPlain) add(word);
  for (char c = 'a'; count < kVocabulary; ++c) add(std::string("##") + c);
  return text;
}

namespace {

void save_model(const std::string& folder, const BertConfig& config, std::uint64_t seed) {
  const TemporaryFolder words;
  words.write("vocab.txt", vocabulary());
  Bert model(config);
  model.initialise(seed);
  fs::create_directories(folder);
  save_bert(folder, model, words.path());
}

BertConfig small_config(std::int64_t layers, const std::vector<std::string>& labels) {
  BertConfig config = BertConfig::plain(kVocabulary, 32, layers, 4, 64);
  config.max_position_embeddings = 128;
  config.labels = labels;
  return config;
}

}  // namespace

void make_model(const std::string& folder, const std::vector<std::string>& labels) {
  save_model(folder, small_config(2, labels), 7);
}

void make_exits_model(const std::string& folder, std::int64_t layers, const ExitConfig& exits,
                      std::uint64_t seed, double deviation, const std::vector<std::string>& labels) {
  BertConfig config = small_config(layers, labels);
  config.initializer_range = deviation;
  config.exits = exits;
  save_model(folder, config, seed);
}

void spoil_model(const std::string& folder, const std::string& weight) {
  const auto model = load_bert(folder, {});
  for (const NamedTensor& t : model->parameters().named()) {
    if (t.name == weight) t.value().data<float>()[0] = std::numeric_limits<float>::quiet_NaN();
  }
  save_bert(folder, *model, folder);
}

std::string sentences(int rows, int first) {
  std::string text = "sentence\tlabel\n";
  for (int i = first; i < first + rows; ++i) {
    const auto word = [&](const auto& words, int k) {
      return std::string(words[static_cast<std::size_t>(k) % words.size()]);
    };
    const bool good = i % 2 == 0;
    text += "the " + word(kPlain, 3 * i) + " is " + (i % 3 == 0 ? "very " : "");
    text += good ? word(kGood, i / 2) + " and " + word(kGood, i + 5)
                 : word(kBad, i / 2) + " and " + word(kBad, i + 5);
    text += std::string(" .\t") + (good ? "1" : "0") + "\n";
  }
  return text;
}

CliTest::CliTest() : model_(folder_.path("tiny model")), data_(folder_.path("some data")) {
  make_model(model_);
  folder_.write("some data/train.tsv", sentences(24));
  folder_.write("some data/dev.tsv", sentences(10, 24));
}

Words CliTest::finetune(const std::string& out, const Words& more) const {
  Words words = {"finetune", "--model", model_, "--task",    "sst2", "--data", data_, "--out",
                 out,        "--batch", "4",    "--threads", "1",    "--lr",   "2e-3"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

Words CliTest::eval(const Words& more) const {
  Words words = {"eval", "--model", model_, "--task", "SST-2", "--data", data_, "--threads", "1", "--json"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

::testing::AssertionResult fails(const Outcome& outcome, int code, const std::vector<std::string>& texts) {
  const std::string last = outcome.err.substr(outcome.err.rfind('\n', outcome.err.size() - 2) + 1);
  bool right = outcome.code == code && last.starts_with("costeff") && last.ends_with("\n");
  for (const std::string& text : texts) right &= last.find(text) != std::string::npos;
  if (right) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << "exit code " << outcome.code << " (expected " << code << "), stderr: " << outcome.err
         << "expected: " << ::testing::PrintToString(texts);
}

}  // namespace costeff::testing
