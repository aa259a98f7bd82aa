#include "tensor/layout.h"

#include <algorithm>
#include <cstring>

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

// Everything in one i32 tensor; pairs come first, where they are aligned.
const std::byte* Layout::on_device(Device device) const {
  if (!copy_.defined() || copy_.device() != device) {
    constexpr std::size_t kWord = sizeof(std::int32_t);
    const std::size_t words = 2 * pairs_.size() + offsets_.size() + lengths_.size();
    const Tensor all = Tensor::empty({static_cast<std::int64_t>(words)}, DType::i32);
    std::int32_t* to = all.host<std::int32_t>();
    std::memcpy(to, pairs_.data(), pairs_.size() * sizeof(std::int64_t));
    std::memcpy(to + 2 * pairs_.size(), offsets_.data(), offsets_.size() * kWord);
    std::memcpy(to + 2 * pairs_.size() + offsets_.size(), lengths_.data(), lengths_.size() * kWord);
    copy_ = all.to(device);
  }
  return static_cast<const std::byte*>(copy_.raw());
}

Sequences Layout::view(Device device) const {
  if (device == kCpu) return {sequences(), offsets_.data(), lengths_.data(), pairs_.data(), longest_};
  const std::byte* pairs = on_device(device);
  const auto* offsets = reinterpret_cast<const std::int32_t*>(pairs + pairs_.size() * sizeof(std::int64_t));
  return {sequences(), offsets, offsets + offsets_.size(), reinterpret_cast<const std::int64_t*>(pairs),
          longest_};
}

Tensor Layout::first_rows(Device device) const {
  if (device == kCpu) return Tensor::from(offsets().first(lengths_.size()), {sequences()});
  on_device(device);
  const auto begin = static_cast<std::int64_t>(2 * pairs_.size());
  return copy_.slice(begin, begin + sequences());
}

LayoutPtr make_layout(std::span<const std::int32_t> offsets, std::span<const std::int32_t> lengths) {
  return std::allocate_shared<Layout>(CachedAllocator<Layout>(), offsets, lengths);
}

}  // namespace costeff
