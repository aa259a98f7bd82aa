// A model that teaches: its outputs for a batch, computed anew or remembered.
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

  // A teacher says the same of a sentence in every epoch, as its dropout is off: says it once, for all of
  // `data`, in batches of `batch` in the order of the data, and remembers it, on the model's device, if that
  // takes at most `limit` bytes. Without `hidden` hidden states need not be remembered. True if it is
  // remembered; the bits differ from a batch's own in rounding alone. `go_on` is asked before each batch,
  // with the number of sentences done; a no ends it. What is remembered already, of the same sentences in
  // the same batches, is not said again.
  bool remember(const EncodedDataset& data, bool hidden, std::size_t batch, std::size_t limit,
                const std::function<bool(std::size_t done)>& go_on = {});

  // For a batch of the data that is remembered, where one is; otherwise of any.
  TeacherOutputs operator()(const Batch& batch, const TokenBatch& tokens) const;

 private:
  bool remembers(const EncodedDataset& data, bool hidden, std::size_t batch) const;
  TeacherOutputs recall(const Batch& batch) const;

  std::unique_ptr<Bert> model_;
  Precision precision_;
  TeacherOutputs all_;   // of the whole data, packed in its order; of nothing where nothing is remembered
  EncodedDataset data_;  // that it is of
  std::size_t batch_ = 0;
};

}  // namespace costeff
