#include "data/batches.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <utility>

#include "tensor/error.h"
#include "tensor/philox.h"

namespace costeff {

namespace {

// Which of the numbers of a seed and an epoch a shuffle draws: high, for the sites of a network count from 0.
constexpr std::uint32_t kSequenceSite = 0xDA7A0001u;
constexpr std::uint32_t kBatchSite = 0xDA7A0002u;

// Fisher-Yates. The i-th draw is the high word of a 64-bit random number times (i + 1): uneven by less than
// 2^-32.
template <class T>
void shuffle(std::uint64_t seed, std::uint32_t epoch, std::uint32_t site, std::vector<T>& items) {
  const std::array<std::uint32_t, 2> key = {static_cast<std::uint32_t>(seed),
                                            static_cast<std::uint32_t>(seed >> 32)};
  for (std::size_t i = items.size(); i-- > 1;) {
    const auto random = philox4x32({static_cast<std::uint32_t>(i), 0, epoch, site}, key);
    const std::uint64_t bound = i + 1;
    const std::uint64_t low = random[0] * bound;
    std::swap(items[i], items[(random[1] * bound + (low >> 32)) >> 32]);
  }
}

}  // namespace

std::size_t EncodedDataset::longest() const {
  std::size_t longest = 0;
  for (std::size_t i = 0; i < size(); ++i) longest = std::max(longest, length(i));
  return longest;
}

void EncodedDataset::add(const Encoding& encoding, std::int32_t label, double score) {
  ids.insert(ids.end(), encoding.ids.begin(), encoding.ids.end());
  token_types.insert(token_types.end(), encoding.token_type_ids.begin(), encoding.token_type_ids.end());
  offsets.push_back(ids.size());
  labels.push_back(label);
  scores.push_back(score);
}

EncodedDataset encode_dataset(const Tokenizer& tokenizer, std::span<const Example> examples,
                              std::size_t max_length) {
  EncodedDataset out;
  out.pad_id = tokenizer.pad_id();
  for (const Example& example : examples) {
    try {
      out.add(example.pair ? tokenizer.encode(example.text, *example.pair, max_length)
                           : tokenizer.encode(example.text, max_length),
              example.label, example.score);
    } catch (const UsageError&) {
      throw;
    } catch (const Error& error) {
      fail("line {}: {}", example.line, error.what());
    }
  }
  return out;
}

void Batch::reserve(std::size_t sequences, std::size_t tokens) {
  ids.reserve(tokens);
  token_types.reserve(tokens);
  positions.reserve(tokens);
  offsets.reserve(sequences + 1);
  lengths.reserve(sequences);
  labels.reserve(sequences);
  scores.reserve(sequences);
  places.reserve(sequences);
}

void fill_batch(const EncodedDataset& data, std::span<const std::int32_t> sequences,
                std::optional<std::size_t> pad_to, Batch& batch) {
  std::size_t tokens = 0;
  for (const std::int32_t s : sequences) {
    const std::size_t length = data.length(static_cast<std::size_t>(s));
    if (pad_to && length > *pad_to)
      fail("a sequence of {} tokens does not fit the {} it is padded to", length, *pad_to);
    tokens += pad_to.value_or(length);
  }
  if (tokens > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    fail("a batch of {} sequences and {} tokens is too large", sequences.size(), tokens);
  }
  batch.ids.resize(tokens);
  batch.token_types.resize(tokens);
  batch.positions.resize(tokens);
  batch.offsets.resize(sequences.size() + 1);
  batch.lengths.resize(sequences.size());
  batch.labels.resize(sequences.size());
  batch.scores.resize(sequences.size());
  batch.places.assign(sequences.begin(), sequences.end());

  std::size_t row = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    const auto s = static_cast<std::size_t>(sequences[i]);
    const std::size_t length = data.length(s);
    const std::size_t rows = pad_to.value_or(length);
    const auto at = static_cast<std::ptrdiff_t>(row);
    const auto from = static_cast<std::ptrdiff_t>(data.offsets[s]);
    std::fill_n(std::copy_n(data.ids.begin() + from, length, batch.ids.begin() + at), rows - length,
                data.pad_id);
    std::fill_n(std::copy_n(data.token_types.begin() + from, length, batch.token_types.begin() + at),
                rows - length, 0);
    std::iota(batch.positions.begin() + at, batch.positions.begin() + at + static_cast<std::ptrdiff_t>(rows),
              0);
    batch.offsets[i] = static_cast<std::int32_t>(row);
    batch.lengths[i] = static_cast<std::int32_t>(length);
    batch.labels[i] = data.labels[s];
    batch.scores[i] = data.scores[s];
    row += rows;
  }
  batch.offsets[sequences.size()] = static_cast<std::int32_t>(row);
}

Batcher::Batcher(const BatcherOptions& options, const EncodedDataset& data) : options_(options) {
  const std::size_t n = data.size();
  const std::size_t size = options.batch_size;
  if (size == 0) fail_usage("a batch size of 0");
  if (n == 0) fail("no sequences to make batches of");
  if (n > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
    fail("{} sequences are too many", n);
  if (options.drop_last && n < size) fail("{} sequences do not fill one batch of {}", n, size);

  lengths_.resize(n);
  for (std::size_t i = 0; i < n; ++i) lengths_[i] = static_cast<std::int32_t>(data.length(i));
  used_ = options.drop_last ? n - n % size : n;
  const std::size_t batches = used_ / size + (used_ % size == 0 ? 0 : 1);
  shuffled_.resize(n);
  order_.resize(used_);
  starts_.resize(batches);
  ends_.resize(batches);
  window_ = size > used_ / kWindow ? used_ : kWindow * size;
  if (options.bucket) keys_.reserve(window_);
  begin_epoch(0);
}

void Batcher::begin_epoch(std::uint32_t epoch) {
  const std::size_t size = options_.batch_size;
  std::iota(shuffled_.begin(), shuffled_.end(), 0);
  if (options_.shuffle) shuffle(options_.seed, epoch, kSequenceSite, shuffled_);
  for (std::size_t i = 0; i < starts_.size(); ++i) starts_[i] = i * size;
  if (options_.bucket) {
    sort_windows();
    if (options_.shuffle) shuffle(options_.seed, epoch, kBatchSite, starts_);
  }
  std::size_t end = 0;
  for (std::size_t i = 0; i < starts_.size(); ++i) {
    const std::size_t n = std::min(size, used_ - starts_[i]);
    std::copy_n(shuffled_.begin() + static_cast<std::ptrdiff_t>(starts_[i]), n,
                order_.begin() + static_cast<std::ptrdiff_t>(end));
    end += n;
    ends_[i] = end;
  }
}

// Sorts each window by length; of equal ones, whichever the shuffle put first stays first.
void Batcher::sort_windows() {
  for (std::size_t first = 0; first < used_; first += window_) {
    const std::size_t n = std::min(window_, used_ - first);
    keys_.clear();
    for (std::size_t i = 0; i < n; ++i) {
      const auto length =
          static_cast<std::uint64_t>(lengths_[static_cast<std::size_t>(shuffled_[first + i])]);
      keys_.push_back(length << 32 | i);
    }
    std::sort(keys_.begin(), keys_.end());
    for (std::uint64_t& key : keys_) key = static_cast<std::uint64_t>(shuffled_[first + (key & 0xFFFFFFFFu)]);
    std::transform(keys_.begin(), keys_.end(), shuffled_.begin() + static_cast<std::ptrdiff_t>(first),
                   [](std::uint64_t s) { return static_cast<std::int32_t>(s); });
  }
}

std::span<const std::int32_t> Batcher::batch(std::size_t i) const {
  const std::size_t first = i == 0 ? 0 : ends_[i - 1];
  return std::span(order_).subspan(first, ends_[i] - first);
}

}  // namespace costeff
