#include "autograd/parameter.h"

#include <algorithm>

namespace costeff {

void RowSet::add(const std::int32_t* rows, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint32_t& stamp = stamp_[static_cast<std::size_t>(rows[i])];
    if (stamp == now_) continue;
    stamp = now_;
    rows_.push_back(rows[i]);
    there_ = {};
  }
}

const Tensor& RowSet::on(Device device) const {
  if (!there_.defined() || there_.device() != device) {
    there_ = Tensor::from(std::span<const std::int32_t>(rows_), {static_cast<std::int64_t>(rows_.size())})
                 .to(device);
  }
  return there_;
}

void RowSet::add_all() {
  for (std::size_t r = 0; r < stamp_.size(); ++r) {
    const auto row = static_cast<std::int32_t>(r);
    add(&row, 1);
  }
}

void RowSet::clear() {
  rows_.clear();
  there_ = {};
  if (++now_ == 0) {  // the stamps have wrapped around
    std::fill(stamp_.begin(), stamp_.end(), 0);
    now_ = 1;
  }
}

}  // namespace costeff
