// The matrix product from cuBLAS, which counts in columns: the transpose of c = op(a) op(b) is c^T = op(b)^T
// op(a)^T, and a row-major matrix is its transpose to cuBLAS.
#include <mutex>
#include <type_traits>

#include "tensor/cuda/blas.h"
#include "tensor/cuda/device.h"

namespace costeff::cuda {
namespace {

// c = beta c: what a product over nothing leaves.
template <class T>
__global__ void scale_matrix(std::int64_t m, std::int64_t n, T beta, T* c, std::int64_t ldc) {
  for_each_row(m, [=](std::int64_t r) {
    for_each_column(n, [=](std::int64_t j) { put(c[r * ldc + j], T(0), beta); });
  });
}

cublasOperation_t op(bool transpose) {
  return transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
}

template <class T>
void gemm(bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k, T alpha, const T* a,
          std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc) {
  if (m == 0 || n == 0) return;
  if (k == 0) return launch("gemm", rows_launch(m, n), scale_matrix<T>, m, n, beta, c, ldc);
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
  const std::lock_guard lock(blas_mutex());
  if constexpr (std::is_same_v<T, float>) {
    status = blas_library().sgemm(blas(), op(trans_b), op(trans_a), n, m, k, &alpha, b, ldb, a, lda, &beta, c,
                                  ldc);
  } else {
    status = blas_library().dgemm(blas(), op(trans_b), op(trans_a), n, m, k, &alpha, b, ldb, a, lda, &beta, c,
                                  ldc);
  }
  check_gemm(status, trans_a, trans_b, m, n, k, lda, ldb, ldc);
}

void gemm_bf16(bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k, const bf16* a,
               std::int64_t lda, const bf16* b, std::int64_t ldb, float beta, float* c, std::int64_t ldc) {
  if (m == 0 || n == 0) return;
  if (k == 0) return launch("gemm_bf16", rows_launch(m, n), scale_matrix<float>, m, n, beta, c, ldc);
  const float alpha = 1;
  const std::lock_guard lock(blas_mutex());
  const cublasStatus_t status = blas_library().gemm_ex(
      blas(), op(trans_b), op(trans_a), n, m, k, &alpha, b, CUDA_R_16BF, ldb, a, CUDA_R_16BF, lda, &beta, c,
      CUDA_R_32F, ldc, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
  check_gemm(status, trans_a, trans_b, m, n, k, lda, ldb, ldc);
}

}  // namespace

template <class T>
void fill_gemm(Kernels<T>& k) {
  k.gemm = gemm<T>;
  if constexpr (std::is_same_v<T, float>) k.gemm_bf16 = gemm_bf16;
}
template void fill_gemm(Kernels<float>& k);
template void fill_gemm(Kernels<double>& k);

}  // namespace costeff::cuda
