#include "tensor/shape.h"

#include <algorithm>

#include "tensor/error.h"

namespace costeff {

Shape::Shape(std::initializer_list<std::int64_t> sizes) : rank_(static_cast<int>(sizes.size())) {
  if (sizes.size() > kMaxRank) fail("a tensor has at most {} dimensions, not {}", kMaxRank, sizes.size());
  std::copy(sizes.begin(), sizes.end(), sizes_.begin());
  check();
}

void Shape::check() const {
  std::int64_t n = 1;
  for (int i = 0; i < rank_; ++i) {
    if ((*this)[i] < 0) fail("negative extent in shape {}", to_string(*this));
    if (__builtin_mul_overflow(n, (*this)[i], &n))
      fail("more elements than can be counted in shape {}", to_string(*this));
  }
}

std::int64_t Shape::numel() const {
  std::int64_t n = 1;
  for (int i = 0; i < rank_; ++i) n *= (*this)[i];
  return n;
}

std::int64_t Shape::rows() const {
  std::int64_t n = 1;
  for (int i = 0; i + 1 < rank_; ++i) n *= (*this)[i];
  return n;
}

Shape Shape::with_front(std::int64_t size) const {
  Shape s = *this;
  s.sizes_[0] = size;
  s.check();
  return s;
}

Shape Shape::with_back(std::int64_t size) const {
  Shape s = *this;
  s.sizes_[static_cast<std::size_t>(rank_ - 1)] = size;
  s.check();
  return s;
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(sizes_.begin(), sizes_.begin() + rank_, other.sizes_.begin());
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (int i = 0; i < shape.rank(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace costeff
