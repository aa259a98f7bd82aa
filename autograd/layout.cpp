#include "autograd/layout.h"

#include <algorithm>

#include "tensor/error.h"

namespace costeff {

Layout::Layout(std::span<const std::int32_t> offsets, std::span<const std::int32_t> lengths)
    : offsets_(offsets.begin(), offsets.end()), lengths_(lengths.begin(), lengths.end()) {
  if (offsets.size() < 2 || offsets[0] != 0)
    fail("a batch needs at least one sequence, and offsets that start at 0");
  const std::size_t count = offsets.size() - 1;
  if (lengths_.empty()) {
    for (std::size_t s = 0; s < count; ++s) lengths_.push_back(offsets[s + 1] - offsets[s]);
  }
  if (lengths_.size() != count) fail("{} lengths for {} sequences", lengths_.size(), count);
  pairs_.assign(count + 1, 0);
  for (std::size_t s = 0; s < count; ++s) {
    const std::int64_t rows = std::int64_t{offsets[s + 1]} - offsets[s];
    if (lengths_[s] < 1 || lengths_[s] > rows) {
      fail("sequence {} of the batch has {} real tokens in {} rows", s, lengths_[s], rows);
    }
    pairs_[s + 1] = pairs_[s] + rows * rows;
    longest_ = std::max(longest_, rows);
  }
}

Sequences Layout::view() const {
  return {sequences(), offsets_.data(), lengths_.data(), pairs_.data(), longest_};
}

LayoutPtr make_layout(std::span<const std::int32_t> offsets, std::span<const std::int32_t> lengths) {
  return std::allocate_shared<Layout>(CachedAllocator<Layout>(), offsets, lengths);
}

}  // namespace costeff
