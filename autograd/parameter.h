// A trainable tensor that outlives the tape: its value and its persistent gradient.
#pragma once

#include <cstdint>
#include <string>

#include "tensor/tensor.h"

namespace costeff {

// Rows of a table that a gradient has touched, in the order of first touch.
class RowSet {
 public:
  explicit RowSet(std::int64_t rows = 0) : stamp_(static_cast<std::size_t>(rows), 0) {
    rows_.reserve(stamp_.size());
  }
  void add(const std::int32_t* rows, std::int64_t n);
  void add_all();
  void clear();
  const CachedVector<std::int32_t>& rows() const { return rows_; }
  const Tensor& on(Device device) const;  // rows() as i32, copied there once

 private:
  CachedVector<std::uint32_t> stamp_;  // row r is in the set when stamp_[r] == now_
  CachedVector<std::int32_t> rows_;
  std::uint32_t now_ = 1;
  mutable Tensor there_;  // undefined when rows_ has changed
};

struct Parameter {
  std::string name;
  Tensor value;
  Tensor gradient;  // same shape; meaningful while has_gradient
  bool has_gradient = false;
  bool frozen = false;  // leaves of frozen parameters ask for no gradient
  bool fixed = false;   // has a gradient, which counts in the global norm, and which no optimiser follows
  bool decays = true;   // weight decay acts on it
  // A table of which a batch reads few rows: rows outside `touched` have zero gradient. Not used when
  // `by_rows` is false.
  bool by_rows = false;
  RowSet touched;
};

}  // namespace costeff
