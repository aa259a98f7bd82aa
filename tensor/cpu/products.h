// Matrix products c[m,n] = a[m,k] b[n,k]^T + beta c that cpu_backend.cpp prefers to the library's; ld*: row
// strides.
#pragma once

#include <cstdint>

namespace costeff::COSTEFF_ISA {

// For few rows of a; any beta, and with 0 c is not read.
template <class T>
void few_rows_product(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda,
                      const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc);

// For a small b; beta is 0, and then c is not read, or 1.
template <class T>
void small_weight_product(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda,
                          const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc);

}  // namespace costeff::COSTEFF_ISA
