// From examples to what a training step reads: a data set encoded once, an order of it per epoch, and packed
// batches.
//
//   const EncodedDataset train = encode_dataset(tokenizer, examples.rows, 128);
//   Batcher batcher({.seed = 1, .batch_size = 32}, train);
//   Batch batch;
//   for (std::uint32_t epoch = 0; epoch < 3; ++epoch) {
//     batcher.begin_epoch(epoch);
//     for (std::size_t i = 0; i < batcher.batches(); ++i) {
//       fill_batch(train, batcher.batch(i), {}, batch);
//       ...
//     }
//   }
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "data/task.h"
#include "data/tokenizer.h"

namespace costeff {

// All sequences of a data set one behind the other: the tokens of sequence i are ids[offsets[i]] to
// ids[offsets[i + 1] - 1].
struct EncodedDataset {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> token_types;
  std::vector<std::size_t> offsets = {0};  // (sequences + 1)
  std::vector<std::int32_t> labels;        // -1 where there is none
  std::vector<double> scores;              // nan where there is none
  std::int32_t pad_id = 0;

  std::size_t size() const { return offsets.size() - 1; }
  std::size_t length(std::size_t i) const { return offsets[i + 1] - offsets[i]; }
  std::size_t longest() const;  // 0 if empty

  // Adds one sequence.
  void add(const Encoding& encoding, std::int32_t label, double score);
};

// Throws Error, naming the line of the example, if a text is not UTF-8; UsageError if max_length has no room
// for the special tokens.
EncodedDataset encode_dataset(const Tokenizer& tokenizer, std::span<const Example> examples,
                              std::size_t max_length);

// Sequences packed one behind the other: row t of a [tokens, hidden] tensor belongs to ids[t].
struct Batch {
  std::vector<std::int32_t> ids;          // (tokens)
  std::vector<std::int32_t> token_types;  // (tokens)
  std::vector<std::int32_t> positions;    // (tokens) from 0 within a sequence
  std::vector<std::int32_t> offsets;      // (sequences + 1) first row of each sequence
  std::vector<std::int32_t> lengths;      // (sequences) rows that are no padding; the others follow them
  std::vector<std::int32_t> labels;       // (sequences) class, -1 if there is none
  std::vector<double> scores;             // (sequences) score of a regression task, otherwise nan
  std::vector<std::int32_t> places;       // (sequences) in the data set

  std::size_t sequences() const { return lengths.size(); }
  std::size_t tokens() const { return ids.size(); }

  // Makes room, so that no later fill_batch of that size allocates.
  void reserve(std::size_t sequences, std::size_t tokens);
};

// Puts the given sequences of a data set into a batch, replacing what it held; memory is taken only where its
// capacity is too small. With pad_to each sequence gets that many rows, the last ones [PAD] with token type
// 0. Throws Error if a sequence is longer than pad_to, or if the rows do not fit 32 bits.
void fill_batch(const EncodedDataset& data, std::span<const std::int32_t> sequences,
                std::optional<std::size_t> pad_to, Batch& batch);

struct BatcherOptions {
  std::uint64_t seed = 0;
  std::size_t batch_size = 32;
  bool shuffle = true;     // otherwise the order of the data set
  bool bucket = false;     // sequences of similar length together
  bool drop_last = false;  // leave out the incomplete last batch
};

// Cuts a data set into batches, anew for each epoch. What a batch holds depends on the options, the lengths
// in the data set and the epoch, on nothing that happened before: a resumed run goes on with the batch it
// stopped at.
//
// The order is a Fisher-Yates shuffle fed by Philox. With `bucket` it is cut into windows of 50 batches, each
// window is sorted by length and cut into batches, and the batches are shuffled. drop_last leaves out
// sequences that came last in the shuffle, before any sorting, so that it favours no length.
class Batcher {
 public:
  static constexpr std::size_t kWindow = 50;  // batches

  // Throws UsageError if batch_size is 0; Error if the data set is empty, or if drop_last leaves no batch of
  // it.
  Batcher(const BatcherOptions& options, const EncodedDataset& data);

  // Takes no memory after the first call.
  void begin_epoch(std::uint32_t epoch);

  // Batches of an epoch, the same number in each.
  std::size_t batches() const { return starts_.size(); }
  // The sequences of one batch of the epoch that was begun last (the first one if none was), by their place
  // in the data set.
  std::span<const std::int32_t> batch(std::size_t i) const;
  // All of them, batch behind batch.
  std::span<const std::int32_t> order() const { return order_; }

 private:
  void sort_windows();

  BatcherOptions options_;
  std::vector<std::int32_t> lengths_;
  std::size_t used_;                    // sequences of an epoch
  std::size_t window_;                  // sequences that are sorted together
  std::vector<std::int32_t> shuffled_;  // the whole data set
  std::vector<std::int32_t> order_;     // (used)
  std::vector<std::size_t> starts_;     // (batches) in shuffled_, of each batch in turn
  std::vector<std::size_t> ends_;       // (batches) in order_
  std::vector<std::uint64_t> keys_;     // of the window that is being sorted
};

}  // namespace costeff
