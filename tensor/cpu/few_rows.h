// A matrix product for few rows, which cpu_backend.cpp prefers to the library's there.
#pragma once

#include <cstdint>

namespace costeff::COSTEFF_ISA {

// c[m,n] = a[m,k] b[n,k]^T + beta c; ld*: row strides. beta is 0 (c is not read) or any factor.
template <class T>
void few_rows_product(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda,
                      const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc);

}  // namespace costeff::COSTEFF_ISA
