// Small matrix products and transposes whose operands fit the caches: the arithmetic of attention.
#pragma once

#include "tensor/cpu/isa.h"

namespace costeff::COSTEFF_ISA {

// One tile of `multiply_panel`: R rows by V registers of c stay in registers over the whole sum. The last
// register has `last` lanes.
template <bool kAdd, int R, int V, class T>
[[gnu::noinline]] void panel_tile(std::int64_t k, const T* a, std::int64_t a_row, std::int64_t a_col,
                                  const T* b, std::int64_t ldb, T* c, std::int64_t ldc, std::int64_t last) {
  using S = Simd<T>;
  using Vec = typename S::Vec;
  Vec sum[R][V] = {};
  for (std::int64_t p = 0; p < k; ++p) {
    Vec right[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) right[v] = S::load(b + p * ldb + v * S::kLanes);
    const T* left = a + p * a_col;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Vec factor = S::broadcast(left[r * a_row]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[r][v] += factor * right[v];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      T* out = c + r * ldc + v * S::kLanes;
      if (v < V - 1 || last == S::kLanes) {
        if constexpr (kAdd) sum[r][v] += S::load(out);
        S::store(out, sum[r][v]);
      } else {
        if constexpr (kAdd) sum[r][v] += S::load_part(out, last);
        S::store_part(out, last, sum[r][v]);
      }
    }
  }
}

template <bool kAdd, int R, int V, class T>
COSTEFF_INLINE void panel_rows(std::int64_t rows, std::int64_t k, const T* a, std::int64_t a_row,
                               std::int64_t a_col, const T* b, std::int64_t ldb, T* c, std::int64_t ldc,
                               std::int64_t last) {
  if constexpr (R > 1) {
    if (rows < R) return panel_rows<kAdd, R - 1, V>(rows, k, a, a_row, a_col, b, ldb, c, ldc, last);
  }
  panel_tile<kAdd, R, V>(k, a, a_row, a_col, b, ldb, c, ldc, last);
}

// All rows of V registers' worth of columns, in tiles of at most R rows and sizes as equal as can be.
template <bool kAdd, int R, int V, class T>
COSTEFF_INLINE void panel_columns(std::int64_t m, std::int64_t k, const T* a, std::int64_t a_row,
                                  std::int64_t a_col, const T* b, std::int64_t ldb, T* c, std::int64_t ldc,
                                  std::int64_t last) {
  const std::int64_t tiles = (m + R - 1) / R;
  for (std::int64_t t = 0; t < tiles; ++t) {
    const std::int64_t row = m * t / tiles, rows = m * (t + 1) / tiles - row;
    panel_rows<kAdd, R, V>(rows, k, a + row * a_row, a_row, a_col, b, ldb, c + row * ldc, ldc, last);
  }
}

// c[m, n] = a[m, k] b[k, n], added to what c held if kAdd. Element (i, p) of a lies at a[i * a_row + p *
// a_col]. Rows of b hold n rounded up to whole registers; of c only the n columns are touched.
template <bool kAdd, class T>
void multiply_panel(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t a_row,
                    std::int64_t a_col, const T* b, std::int64_t ldb, T* c, std::int64_t ldc) {
  constexpr std::int64_t kLanes = Simd<T>::kLanes;
  std::int64_t column = 0;
  const auto last = [&](std::int64_t registers) {
    return smaller(n - column - (registers - 1) * kLanes, kLanes);
  };
#if defined(__AVX512F__)
  for (; n - column > 3 * kLanes; column += 4 * kLanes) {
    panel_columns<kAdd, 6, 4>(m, k, a, a_row, a_col, b + column, ldb, c + column, ldc, last(4));
  }
  constexpr int kRowsOfTwo = 8;
#else
  constexpr int kRowsOfTwo = 6;
#endif
  for (; n - column > kLanes; column += 2 * kLanes) {
    panel_columns<kAdd, kRowsOfTwo, 2>(m, k, a, a_row, a_col, b + column, ldb, c + column, ldc, last(2));
  }
  if (column < n)
    panel_columns<kAdd, 12, 1>(m, k, a, a_row, a_col, b + column, ldb, c + column, ldc, last(1));
}

// One step of transposing a square of registers: exchanges the off-diagonal blocks of size H inside blocks of
// size 2H.
template <int H, class T>
COSTEFF_INLINE void exchange_blocks(typename Simd<T>::Vec* rows) {
  constexpr int kLanes = static_cast<int>(Simd<T>::kLanes);
  using Index = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  typename Simd<Index>::Vec upper, lower;
  for (int l = 0; l < kLanes; ++l) {
    upper[l] = (l & H) != 0 ? kLanes + l - H : l;
    lower[l] = (l & H) != 0 ? kLanes + l : l + H;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if ((i & H) != 0) continue;
    const auto top = rows[i], bottom = rows[i + H];
    rows[i] = __builtin_shuffle(top, bottom, upper);
    rows[i + H] = __builtin_shuffle(top, bottom, lower);
  }
  if constexpr (H > 1) exchange_blocks<H / 2, T>(rows);
}

// A square of registers from from[rows, cols] to its transpose; what lies beyond rows or cols is 0 and not
// read or written.
template <bool kWhole, class T>
COSTEFF_INLINE void transpose_square(std::int64_t rows, std::int64_t cols, const T* from,
                                     std::int64_t ld_from, T* to, std::int64_t ld_to) {
  using S = Simd<T>;
  typename S::Vec square[S::kLanes];
#pragma GCC unroll 16
  for (std::int64_t i = 0; i < S::kLanes; ++i) {
    if constexpr (kWhole) {
      square[i] = S::load(from + i * ld_from);
    } else {
      square[i] = i < rows ? load_up_to(from + i * ld_from, 0, cols) : typename S::Vec{};
    }
  }
  exchange_blocks<static_cast<int>(S::kLanes / 2), T>(square);
#pragma GCC unroll 16
  for (std::int64_t i = 0; i < S::kLanes; ++i) {
    if (kWhole || i < cols) S::store(to + i * ld_to, square[i]);
  }
}

// to[cols, ld_to] = the transpose of from[rows, cols]; its rows are filled up with zeros to whole registers.
template <class T>
void pack_transposed(std::int64_t rows, std::int64_t cols, const T* from, std::int64_t ld_from, T* to,
                     std::int64_t ld_to) {
  constexpr std::int64_t kLanes = Simd<T>::kLanes;
  for (std::int64_t r = 0; r < rows; r += kLanes) {
    for (std::int64_t c = 0; c < cols; c += kLanes) {
      const std::int64_t height = smaller(kLanes, rows - r), width = smaller(kLanes, cols - c);
      if (height == kLanes && width == kLanes) {
        transpose_square<true>(height, width, from + r * ld_from + c, ld_from, to + c * ld_to + r, ld_to);
      } else {
        transpose_square<false>(height, width, from + r * ld_from + c, ld_from, to + c * ld_to + r, ld_to);
      }
    }
  }
}

// to[rows, ld_to] = from[rows, cols], its rows filled up with zeros to whole registers.
template <class T>
void pack_rows(std::int64_t rows, std::int64_t cols, const T* from, std::int64_t ld_from, T* to,
               std::int64_t ld_to) {
  using S = Simd<T>;
  for (std::int64_t r = 0; r < rows; ++r) {
    std::int64_t c = 0;
    for (; c + S::kLanes <= cols; c += S::kLanes)
      S::store(to + r * ld_to + c, S::load(from + r * ld_from + c));
    if (c < cols) S::store(to + r * ld_to + c, S::load_part(from + r * ld_from + c, cols - c));
  }
}

}  // namespace costeff::COSTEFF_ISA
