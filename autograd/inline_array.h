// A few elements held in place: what a record of the tape is made of, so that recording allocates nothing.
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>

#include "tensor/error.h"

namespace costeff {

template <class T, std::size_t N>
class InlineArray {
 public:
  InlineArray() = default;
  InlineArray(std::initializer_list<T> items) {
    for (const T& item : items) push_back(item);
  }

  void push_back(T item) {
    if (size_ == N) fail("more than {} items in a record of the tape", N);
    items_[size_++] = std::move(item);
  }
  void clear() {
    while (size_ > 0) items_[--size_] = T();
  }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const T& operator[](std::size_t i) const { return items_[i]; }
  const T* begin() const { return items_.data(); }
  const T* end() const { return items_.data() + size_; }

 private:
  std::array<T, N> items_{};
  std::size_t size_ = 0;
};

}  // namespace costeff
