// The matrix product c = a b^T when b is small: a batch against a weight of a slender model.
//
// A general product copies both operands into blocks and passes over c once more to clear it, which a product
// so thin does not pay back. Here b alone is copied, a strip of its rows at a time, transposed; rows of a are
// read where they are, and c is written once.
#include "tensor/cpu/isa.h"
#include "tensor/cpu/panel.h"
#include "tensor/cpu/products.h"

namespace costeff::COSTEFF_ISA {
namespace {

constexpr std::int64_t kStrip = 64;   // rows of b: whole tiles of multiply_panel
constexpr std::int64_t kDepth = 512;  // of k at a time: with kStrip, what stays in the second-level cache
constexpr std::int64_t kRows = 48;    // of a, at least, for a thread: each copies b for itself

}  // namespace

template <class T>
void small_weight_product(Matrix<const T> left, Matrix<const T> right, Target<T> target) {
  const std::int64_t m = left.rows, n = right.cols, k = left.cols, lda = left.stride, ldb = right.stride,
                     ldc = n;
  const T *a = left.data, *b = right.data;
  T* c = target.data;
  const T keep = target.keep;
  parallel_ranges(m, m * n * k / 8, kRows, [=](std::int64_t begin, std::int64_t end) {
    alignas(64) T packed[kStrip * kDepth];  // [depth, kStrip]
    for (std::int64_t j = 0; j < n; j += kStrip) {
      const std::int64_t columns = smaller(kStrip, n - j);
      for (std::int64_t p = 0; p < k; p += kDepth) {
        const std::int64_t depth = smaller(kDepth, k - p);
        pack_transposed(columns, depth, b + j * ldb + p, ldb, packed, kStrip);
        const T* rows = a + begin * lda + p;
        T* out = c + begin * ldc + j;
        if (p == 0 && keep == T(0)) {
          multiply_panel<false>(end - begin, columns, depth, rows, lda, 1, packed, kStrip, out, ldc);
        } else {
          multiply_panel<true>(end - begin, columns, depth, rows, lda, 1, packed, kStrip, out, ldc);
        }
      }
    }
  });
}
template void small_weight_product(Matrix<const float>, Matrix<const float>, Target<float>);
template void small_weight_product(Matrix<const double>, Matrix<const double>, Target<double>);

}  // namespace costeff::COSTEFF_ISA
