#include "costeff/train/stage_data.h"

#include <algorithm>
#include <numeric>

#include "tensor/error.h"
#include "tensor/philox.h"

namespace costeff {
namespace {

constexpr std::uint32_t kHoldout = 1;

EncodedDataset encode(const Settings& s, const Task& task, const Tokenizer& tokenizer, Split split,
                      const char* what, const std::function<void(const std::string& line)>& note) {
  const std::string file = split_file(task, s.data, split);
  const Examples examples = load_examples(task, file);
  if (!examples.skipped_lines.empty()) {
    note(fmt::format("{}: {} rows without all columns were left out", file, examples.skipped_lines.size()));
  }
  EncodedDataset data = encode_dataset(tokenizer, examples.rows, static_cast<std::size_t>(s.max_length));
  note(fmt::format("{}: {} examples, {:.1f} tokens on average, from {}", what, data.size(),
                   static_cast<double>(data.ids.size()) / static_cast<double>(data.size()), file));
  if (task.regression && data.size() < 2) fail("{}: a correlation needs at least two examples", file);
  return data;
}

}  // namespace

Task task_of(const Settings& s) {
  if (!s.task.empty()) return find_task(s.task);
  Task task = custom_task(s.columns, s.labels);
  if (task.labels.empty()) task.labels = collect_labels(task, split_file(task, s.data, Split::train));
  return task;
}

std::vector<std::string> class_names(const Task& task) {
  return task.regression ? std::vector<std::string>{"score"} : task.labels;
}

StageData load_data(const Settings& s, const Task& task, const Tokenizer& tokenizer, const BertConfig& config,
                    const std::function<void(const std::string& line)>& note) {
  check_positions(s, config.max_position_embeddings);
  StageData data;
  data.train = encode(s, task, tokenizer, Split::train, "training", note);
  data.dev = encode(s, task, tokenizer, Split::dev, "dev", note);
  if (s.holdout == 0) return data;
  const std::size_t size = data.train.size();
  if (s.holdout >= static_cast<std::int64_t>(size))
    fail_setting(&Settings::holdout, s, "there are {} training examples", size);
  const std::vector<std::int32_t> out = draw(static_cast<std::size_t>(s.holdout), size, s.seed, kHoldout);
  std::vector<std::int32_t> all(size);
  std::iota(all.begin(), all.end(), 0);
  std::vector<std::int32_t> in;
  std::set_difference(all.begin(), all.end(), out.begin(), out.end(), std::back_inserter(in));
  data.held_out = subset(data.train, out);
  data.train = subset(data.train, in);
  return data;
}

std::vector<std::int32_t> draw(std::size_t count, std::size_t size, std::uint64_t seed,
                               std::uint32_t purpose) {
  std::vector<std::pair<std::uint32_t, std::int32_t>> keys(size);
  const auto low = static_cast<std::uint32_t>(seed), high = static_cast<std::uint32_t>(seed >> 32);
  for (std::size_t i = 0; i < size; ++i) {
    const auto place = static_cast<std::int32_t>(i);
    keys[i] = {philox4x32({static_cast<std::uint32_t>(i), purpose, 0, 0x73656c}, {low, high})[0], place};
  }
  std::sort(keys.begin(), keys.end());
  std::vector<std::int32_t> drawn;
  for (std::size_t i = 0; i < std::min(count, size); ++i) drawn.push_back(keys[i].second);
  std::sort(drawn.begin(), drawn.end());
  return drawn;
}

EncodedDataset subset(const EncodedDataset& data, std::span<const std::int32_t> sequences) {
  EncodedDataset part;
  part.pad_id = data.pad_id;
  for (const std::int32_t s : sequences) {
    const auto i = static_cast<std::size_t>(s);
    const auto begin = static_cast<std::ptrdiff_t>(data.offsets[i]),
               end = static_cast<std::ptrdiff_t>(data.offsets[i + 1]);
    part.ids.insert(part.ids.end(), data.ids.begin() + begin, data.ids.begin() + end);
    part.token_types.insert(part.token_types.end(), data.token_types.begin() + begin,
                            data.token_types.begin() + end);
    part.offsets.push_back(part.ids.size());
    part.labels.push_back(data.labels[i]);
    part.scores.push_back(data.scores[i]);
  }
  return part;
}

}  // namespace costeff
