// The matrix product c = a b^T + beta c when b is small: a batch against a weight of a slender model.
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
void small_weight_product(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda,
                          const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc) {
  parallel_ranges(m, m * n * k / 8, kRows, [=](std::int64_t begin, std::int64_t end) {
    alignas(64) T packed[kStrip * kDepth];  // [depth, kStrip]
    for (std::int64_t j = 0; j < n; j += kStrip) {
      const std::int64_t columns = smaller(kStrip, n - j);
      for (std::int64_t p = 0; p < k; p += kDepth) {
        const std::int64_t depth = smaller(kDepth, k - p);
        pack_transposed(columns, depth, b + j * ldb + p, ldb, packed, kStrip);
        const T* rows = a + begin * lda + p;
        T* out = c + begin * ldc + j;
        if (p == 0 && beta == T(0)) {
          multiply_panel<false>(end - begin, columns, depth, rows, lda, 1, packed, kStrip, out, ldc);
        } else {
          multiply_panel<true>(end - begin, columns, depth, rows, lda, 1, packed, kStrip, out, ldc);
        }
      }
    }
  });
}
template void small_weight_product(std::int64_t, std::int64_t, std::int64_t, const float*, std::int64_t,
                                   const float*, std::int64_t, float, float*, std::int64_t);
template void small_weight_product(std::int64_t, std::int64_t, std::int64_t, const double*, std::int64_t,
                                   const double*, std::int64_t, double, double*, std::int64_t);

}  // namespace costeff::COSTEFF_ISA
