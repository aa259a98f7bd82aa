// Whole runs of COST-EFF on a tiny model.
#pragma once

#include <algorithm>

#include "tests/tools/support.h"

namespace costeff::testing {

class PipelineTest : public CliTest {
 protected:
  Words pipeline(const std::string& out, const Words& more = {}) const {
    Words words = {"run",
                   "--model",
                   model_,
                   "--task",
                   "sst2",
                   "--data",
                   data_,
                   "--out",
                   out,
                   "--batch",
                   "4",
                   "--threads",
                   "1",
                   "--heads",
                   "2",
                   "--ffn",
                   "16",
                   "--rank",
                   "8",
                   "--set",
                   "finetune.lr=2e-3,assist.lr=2e-3,slenderise.lr=2e-3,recover.lr=2e-3,"
                   "slenderise.epochs=4",
                   "--holdout",
                   "4",
                   "--calibration",
                   "12",
                   "--checkpoint-every",
                   "2"};
    return with(std::move(words), more);
  }
  // The words with these flags, in place of the same ones.
  static Words with(Words words, const Words& more) {
    for (std::size_t i = 0; i < more.size(); ++i) {
      const auto at = std::find(words.begin(), words.end(), more[i]);
      const bool valued = i + 1 < more.size() && !more[i + 1].starts_with("--");
      if (at == words.end()) {
        words.push_back(more[i]);
        if (valued) words.push_back(more[i + 1]);
      } else if (valued) {
        *(at + 1) = more[i + 1];
      }
      if (valued) ++i;
    }
    return words;
  }
  // One stage alone, after `pipeline` into `run`.
  Words stage(const std::string& name, const std::string& run, const std::string& out,
              const Words& more = {}) const {
    Words words = {name,    "--task", "sst2",      "--data", data_,       "--batch",           "4",
                   "--out", out,      "--threads", "1",      "--teacher", run + "/assist/last"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
};

}  // namespace costeff::testing
