// The matrix product c = a b^T when a has few rows: a sentence or two against a weight.
//
// A general product copies b into blocks first, which here would cost more than the product. Instead four
// rows of b and up to six of a meet in registers along k, where both are contiguous: each element of b is
// read from memory once, and asked for four rows ahead.
#include "tensor/cpu/isa.h"
#include "tensor/cpu/products.h"

namespace costeff::COSTEFF_ISA {
namespace {

constexpr int kRowsA = 6;
constexpr int kRowsB = 4;

// out[j] = the sum of the lanes of v[j]
template <class T>
COSTEFF_INLINE void sum_lanes(const typename Simd<T>::Vec* v, T* out) {
  for (int j = 0; j < kRowsB; ++j) {
    T sum = 0;
    for (std::int64_t lane = 0; lane < Simd<T>::kLanes; ++lane) sum += v[j][lane];
    out[j] = sum;
  }
}

#if defined(__AVX512F__)
// Pairs of vectors are interleaved and added until each 128-bit part holds a share of all four sums.
template <>
COSTEFF_INLINE void sum_lanes<float>(const Simd<float>::Vec* v, float* out) {
  const auto a = (__m512)v[0], b = (__m512)v[1], c = (__m512)v[2], d = (__m512)v[3];
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512 parts = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(parts), _mm512_extractf32x8_ps(parts, 1));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}
#elif defined(__AVX2__)
template <>
COSTEFF_INLINE void sum_lanes<float>(const Simd<float>::Vec* v, float* out) {
  const __m256 ab = _mm256_hadd_ps((__m256)v[0], (__m256)v[1]);
  const __m256 parts = _mm256_hadd_ps(ab, _mm256_hadd_ps((__m256)v[2], (__m256)v[3]));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(parts), _mm256_extractf128_ps(parts, 1)));
}
#endif

// c[kA, 4] from kA rows of a and four of b; of the columns only the first `columns` are written, and rows of
// b beyond them repeat the last.
template <int kA, class T>
COSTEFF_INLINE void block(std::int64_t k, const T* a, std::int64_t lda, const T* const* b, std::int64_t ldb,
                          std::int64_t columns, T keep, T* c, std::int64_t ldc) {
  using S = Simd<T>;
  typename S::Vec sums[kA][kRowsB] = {};
  const auto step = [&](auto load) {
    typename S::Vec vb[kRowsB];
    for (int j = 0; j < kRowsB; ++j) vb[j] = load(b[j]);
    for (int r = 0; r < kA; ++r) {
      const typename S::Vec va = load(a + r * lda);
      for (int j = 0; j < kRowsB; ++j) sums[r][j] += va * vb[j];
    }
  };
  std::int64_t i = 0;
  for (; i + S::kLanes <= k; i += S::kLanes) {
    for (int j = 0; j < kRowsB; ++j) __builtin_prefetch(b[j] + kRowsB * ldb + i);
    step([i](const T* p) { return S::load(p + i); });
  }
  if (i < k) step([i, k](const T* p) { return S::load_part(p + i, k - i); });
  for (int r = 0; r < kA; ++r) {
    T out[kRowsB];
    sum_lanes<T>(sums[r], out);
    for (std::int64_t j = 0; j < columns; ++j)
      c[r * ldc + j] = keep == T(0) ? out[j] : out[j] + keep * c[r * ldc + j];
  }
}

}  // namespace

template <class T>
void few_rows_product(Matrix<const T> left, Matrix<const T> right, Target<T> target) {
  const std::int64_t m = left.rows, n = right.cols, k = left.cols, lda = left.stride, ldb = right.stride,
                     ldc = n;
  const T *a = left.data, *b = right.data;
  T* c = target.data;
  const T keep = target.keep;
  parallel_ranges(n, m * n * k / 8, kRowsB, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t j = begin; j < end; j += kRowsB) {
      const std::int64_t columns = smaller(kRowsB, end - j);
      const T* rows[kRowsB];
      for (int s = 0; s < kRowsB; ++s) rows[s] = b + (j + smaller(s, columns - 1)) * ldb;
      std::int64_t i = 0;
      for (; i + kRowsA <= m; i += kRowsA)
        block<kRowsA>(k, a + i * lda, lda, rows, ldb, columns, keep, c + i * ldc + j, ldc);
      const T* rest = a + i * lda;
      T* out = c + i * ldc + j;
      switch (m - i) {
        case 5:
          block<5>(k, rest, lda, rows, ldb, columns, keep, out, ldc);
          break;
        case 4:
          block<4>(k, rest, lda, rows, ldb, columns, keep, out, ldc);
          break;
        case 3:
          block<3>(k, rest, lda, rows, ldb, columns, keep, out, ldc);
          break;
        case 2:
          block<2>(k, rest, lda, rows, ldb, columns, keep, out, ldc);
          break;
        case 1:
          block<1>(k, rest, lda, rows, ldb, columns, keep, out, ldc);
          break;
        default:
          break;
      }
    }
  });
}
template void few_rows_product(Matrix<const float>, Matrix<const float>, Target<float>);
template void few_rows_product(Matrix<const double>, Matrix<const double>, Target<double>);

}  // namespace costeff::COSTEFF_ISA
