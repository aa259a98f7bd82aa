// A model that teaches: its outputs for a batch, computed anew or cached.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "costeff/train/losses.h"

namespace costeff {

class Teacher {
 public:
  explicit Teacher(std::unique_ptr<Bert> model, Precision precision = Precision::full)
      : model_(std::move(model)), precision_(precision) {}

  const Bert& model() const { return *model_; }

  // A teacher's outputs for a sentence are the same in every epoch, as its dropout is off. Computes them
  // once, for all of `data`, in batches of `batch` in the order of the data, and keeps them on the model's
  // device, if that takes at most `limit` bytes; without `hidden`, hidden states need not be kept. True if
  // they are kept; the bits differ from a batch's own in rounding alone. `go_on` is asked before each batch,
  // with the number of sentences done; a no ends it. What is cached already, of the same sentences in the
  // same batches, is not computed again.
  bool cache(const EncodedDataset& data, bool hidden, std::size_t batch, std::size_t limit,
             const std::function<bool(std::size_t done)>& go_on = {});

  // For a batch of the data that is cached, where one is; otherwise of any.
  TeacherOutputs operator()(const Batch& batch, const TokenBatch& tokens) const;

 private:
  bool has_cached(const EncodedDataset& data, bool hidden, std::size_t batch) const;
  TeacherOutputs cached(const Batch& batch) const;

  std::unique_ptr<Bert> model_;
  Precision precision_;
  TeacherOutputs all_;   // of the whole data, packed in its order; of nothing where nothing is cached
  EncodedDataset data_;  // that it is of
  std::size_t batch_ = 0;
};

}  // namespace costeff
