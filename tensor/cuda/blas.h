// cuBLAS on the stream of a device.
//
// The library is loaded when a device is first used: 600 MB that commands on the CPU need not wait for, nor
// have.
#pragma once

#include <cublas_v2.h>

#include <cstdint>
#include <mutex>
#include <string>

namespace costeff::cuda {

// The functions of cuBLAS that are called, by their names there.
struct BlasLibrary {
  decltype(&cublasCreate) create = nullptr;
  decltype(&cublasSetStream) set_stream = nullptr;
  decltype(&cublasSetWorkspace) set_workspace = nullptr;
  decltype(&cublasSetMathMode) set_math_mode = nullptr;
  decltype(&cublasGetStatusString) status_string = nullptr;
  decltype(&cublasSgemm_64) sgemm = nullptr;
  decltype(&cublasDgemm_64) dgemm = nullptr;
  decltype(&cublasGemmEx_64) gemm_ex = nullptr;
  std::string missing;  // why it could not be loaded; else empty
};
const BlasLibrary& blas_library();

// Of the device that the calling thread uses. It has a workspace of its own and one stream, so that the same
// call gives the same bits (CUBLAS_WORKSPACE_CONFIG's purpose), and computes f32 in f32: no TF32.
cublasHandle_t blas();
std::mutex& blas_mutex();  // a handle serves one thread at a time: held around each call
struct ProductSizes {
  bool trans_a, trans_b;
  std::int64_t m, n, k, lda, ldb;
};
// Throws Error, with the product's sizes, where `status` is not success.
void check_gemm(cublasStatus_t status, const ProductSizes& sizes);

}  // namespace costeff::cuda
