// What costeff eval finds, and how it shows it.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "costeff/exits/early_exit.h"
#include "costeff/train/run_folder.h"

namespace costeff {

// A data set's sequences, each answered by one exit.
struct Answers {
  Evaluation evaluation;
  std::optional<Evaluation> short_half;  // of the sequences below the median length
  std::vector<std::int64_t> counts;      // of exits 1..L
  double average_exit = 0;
  double flops = 0;            // mean over sequences at their own lengths
  double flops_reduction = 1;  // the same model's at full depth over that
  double flops_padded = 0;     // mean at 128 tokens each
};

struct EvalResults {
  Answers answers;
  std::vector<std::pair<std::int64_t, Answers>> exits;  // all at exit i
  std::vector<std::pair<double, Answers>> sweep;        // at a threshold
};

// Scores choices of exits on one data set.
class Scorer {
 public:
  // With short_half, Error is thrown when no sequence is below the median.
  Scorer(const BertConfig& config, const Task& task, const EncodedDataset& data, bool short_half);

  Answers score(const ExitChoice& choice, double seconds) const;
  Answers score(const ExitLogits& logits, std::int64_t exit) const;  // all sequences at one exit

 private:
  const BertConfig& config_;
  const Task& task_;
  const EncodedDataset& data_;
  std::vector<std::int64_t> lengths_;
  std::optional<std::vector<std::int32_t>> short_half_;
};

Json to_json(const EvalResults& results);
std::string to_text(const EvalResults& results);

}  // namespace costeff
