// The extents of a tensor: up to four dimensions, held in place.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace costeff {

class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;  // a scalar: rank 0, one element
  // Throws Error for more than kMaxRank extents, a negative one, and a product beyond 64 bits.
  Shape(std::initializer_list<std::int64_t> sizes);

  int rank() const { return rank_; }
  std::int64_t operator[](int i) const { return sizes_[static_cast<std::size_t>(i < 0 ? i + rank_ : i)]; }
  std::int64_t numel() const;
  std::int64_t cols() const { return rank_ == 0 ? 1 : (*this)[-1]; }  // the last extent
  std::int64_t rows() const;                                          // the product of the others
  Shape with_front(std::int64_t size) const;                          // first extent replaced
  Shape with_back(std::int64_t size) const;                           // last extent replaced
  bool operator==(const Shape& other) const;

 private:
  void check() const;

  std::array<std::int64_t, kMaxRank> sizes_{};
  int rank_ = 0;
};

std::string to_string(const Shape& shape);  // "[8, 128, 768]"

}  // namespace costeff
