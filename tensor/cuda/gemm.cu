// The matrix product from cuBLAS, which counts in columns: the transpose of c = op(a) op(b) is c^T = op(b)^T
// op(a)^T, and a row-major matrix is its transpose to cuBLAS.
#include <mutex>
#include <type_traits>

#include "tensor/cuda/blas.h"
#include "tensor/cuda/device.h"

namespace costeff::cuda {
namespace {

// What a product over nothing leaves.
template <class T>
__global__ void scale_matrix(std::int64_t m, std::int64_t n, Target<T> c) {
  for_each_row(m, [=](std::int64_t r) {
    for_each_column(n, [=](std::int64_t j) { put(c.data[r * n + j], T(0), c.keep); });
  });
}

template <class T>
cublasOperation_t op(const Matrix<T>& matrix) {
  return matrix.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
}

// Calls multiply(n, m, k, alpha) unless the product is empty.
template <class T, class Operand, class F>
void product(const char* name, const Matrix<Operand>& a, const Matrix<Operand>& b, Target<T> c,
             F&& multiply) {
  const std::int64_t m = a.rows, n = b.cols, k = a.cols;
  if (m == 0 || n == 0) return;
  if (k == 0) return launch(name, rows_launch(m, n), scale_matrix<T>, m, n, c);
  const T alpha = 1;
  const std::lock_guard lock(blas_mutex());
  check_gemm(multiply(n, m, k, &alpha), {a.transposed, b.transposed, m, n, k, a.stride, b.stride});
}

template <class T>
void gemm(Matrix<const T> a, Matrix<const T> b, Target<T> c) {
  product("gemm", a, b, c, [&](std::int64_t n, std::int64_t m, std::int64_t k, const T* alpha) {
    const auto& library = blas_library();
    if constexpr (std::is_same_v<T, float>) {
      return library.sgemm(blas(), op(b), op(a), n, m, k, alpha, b.data, b.stride, a.data, a.stride, &c.keep,
                           c.data, n);
    } else {
      return library.dgemm(blas(), op(b), op(a), n, m, k, alpha, b.data, b.stride, a.data, a.stride, &c.keep,
                           c.data, n);
    }
  });
}

void gemm_bf16(Matrix<const bf16> a, Matrix<const bf16> b, Target<float> c) {
  product("gemm_bf16", a, b, c, [&](std::int64_t n, std::int64_t m, std::int64_t k, const float* alpha) {
    return blas_library().gemm_ex(blas(), op(b), op(a), n, m, k, alpha, b.data, CUDA_R_16BF, b.stride, a.data,
                                  CUDA_R_16BF, a.stride, &c.keep, c.data, CUDA_R_32F, n, CUBLAS_COMPUTE_32F,
                                  CUBLAS_GEMM_DEFAULT);
  });
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
