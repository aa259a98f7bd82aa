// What the tests of the command line share: the program as a process, a tiny model, tiny data.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nn/bert_config.h"
#include "tests/support.h"

namespace costeff::testing {

using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

struct Outcome {
  int code = -1;  // exit code; -N when signal N ended it
  std::string out;
  std::string err;

  Json json() const { return Json::parse(out); }
  std::vector<Json> json_lines() const;
};

// `costeff` with these words; `in_child` runs just before the program starts.
class Process {
 public:
  Process(const Words& words, const std::string& input, const std::function<void()>& in_child = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t id() const { return id_; }
  bool running();
  void kill(int signal) const;
  Outcome wait();

 private:
  TemporaryFolder streams_;
  pid_t id_ = -1;
  int status_ = 0;
  bool ended_ = false;
};

Outcome run(const Words& words, const std::string& input = "", const std::function<void()>& in_child = {});

std::string read(const std::filesystem::path& path);
// Each line of a run's log, without what differs from machine to machine.
std::vector<Json> read_log(const std::string& run);
// Every file below a folder by its path, with its content.
std::vector<std::pair<std::string, std::string>> contents(const std::string& folder);

constexpr int kVocabulary = 60;
std::string vocabulary();  // as vocab.txt
// A BERT of 2 layers, hidden 32, 128 positions and two labels, "0" and "1" (or one: a regression).
void make_model(const std::string& folder, const std::vector<std::string>& labels = {"0", "1"});
// A multi-exit BERT of those sizes; `deviation` of its weights is large enough that sentences differ.
void make_exits_model(const std::string& folder, std::int64_t layers, const ExitConfig& exits,
                      std::uint64_t seed, double deviation = 0.2,
                      const std::vector<std::string>& labels = {"0", "1"});
// The first number of a weight becomes nan.
void spoil_model(const std::string& folder, const std::string& weight);
// A file of SST-2 whose words tell the label.
std::string sentences(int rows, int first = 0);

// A model in `model`, data in `data`, both made once per test.
class CliTest : public ::testing::Test {
 protected:
  CliTest();

  // The words of a fine-tuning into `out`: 24 sentences, batches of 4, 3 epochs, 18 steps.
  Words finetune(const std::string& out, const Words& more = {}) const;
  Words eval(const Words& more = {}) const;

  TemporaryFolder folder_;
  std::string model_;
  std::string data_;
};

// Exit code, and one line on stderr that names the command and holds the text.
::testing::AssertionResult fails(const Outcome& outcome, int code, const std::vector<std::string>& texts);

}  // namespace costeff::testing
