// Views that kernels take: where numbers lie, and how they are read.
#pragma once

#include <cstdint>

#include "tensor/inline.h"

namespace costeff {

// A matrix [rows, cols] as it is read. In memory it lies row by row, `stride` elements from one row to the
// next; a transposed view's columns are the rows in memory.
template <class T>
struct Matrix {
  T* data = nullptr;
  std::int64_t rows = 0, cols = 0;
  std::int64_t stride = 0;
  bool transposed = false;

  COSTEFF_INLINE Matrix t() const { return {data, cols, rows, stride, !transposed}; }
};

// Where a kernel puts a result: out = result + keep * out. With keep = 0 the old content is not read (it may
// be uninitialised); with 1 the result is added to it.
template <class T>
struct Target {
  T* data = nullptr;
  T keep = 0;
};

}  // namespace costeff
