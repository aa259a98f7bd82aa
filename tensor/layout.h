// How the sequences of a batch lie in its token rows.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "tensor/kernels.h"
#include "tensor/tensor.h"

namespace costeff {

// Sequence s has the rows offsets[s] .. offsets[s + 1] - 1 of every [tokens, ...] tensor; the first
// lengths[s] of them are real, the rest padding.
class Layout {
 public:
  // offsets [sequences + 1], ascending from 0; lengths [sequences], at least 1 and at most the rows of the
  // sequence, or empty: no padding. Throws Error when they do not fit each other.
  Layout(std::span<const std::int32_t> offsets, std::span<const std::int32_t> lengths);

  std::int64_t sequences() const { return static_cast<std::int64_t>(lengths_.size()); }
  std::int64_t tokens() const { return offsets_.back(); }  // rows, padding included
  std::int64_t pairs() const { return pairs_.back(); }     // sum of squared rows per sequence
  std::int64_t offset(std::int64_t s) const { return offsets_[static_cast<std::size_t>(s)]; }
  std::int64_t length(std::int64_t s) const { return lengths_[static_cast<std::size_t>(s)]; }
  std::span<const std::int32_t> offsets() const { return offsets_; }
  // For kernels of a device; valid as long as this. What a device other than the CPU reads is copied there,
  // in one transfer, when it is first asked for.
  Sequences view(Device device = kCpu) const;
  // i32 [sequences], on the device: the row where each sequence begins.
  Tensor first_rows(Device device) const;

 private:
  const std::byte* on_device(Device device) const;

  CachedVector<std::int32_t> offsets_;
  CachedVector<std::int32_t> lengths_;
  CachedVector<std::int64_t> pairs_;
  std::int64_t longest_ = 0;
  mutable Tensor copy_;  // on the device that asked last: pairs, then offsets, then lengths
};

using LayoutPtr = std::shared_ptr<const Layout>;

LayoutPtr make_layout(std::span<const std::int32_t> offsets, std::span<const std::int32_t> lengths = {});

}  // namespace costeff
