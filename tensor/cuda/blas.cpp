#include "tensor/cuda/blas.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace costeff::cuda {
namespace {

#define COSTEFF_TEXT(x) #x
#define COSTEFF_NAME(x) COSTEFF_TEXT(x)  // what a macro of cublas_v2.h stands for

BlasLibrary load() {
  BlasLibrary blas;
  const std::string name = fmt::format("libcublas.so.{}", CUBLAS_VER_MAJOR);
  void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) library = dlopen(("/usr/local/cuda/lib64/" + name).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    blas.missing = fmt::format("{} cannot be loaded: install CUDA {}, or name its folder in LD_LIBRARY_PATH",
                               name, CUBLAS_VER_MAJOR);
    return blas;
  }
  const auto find = [&](auto& function, const char* symbol) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, symbol));
    if (function == nullptr && blas.missing.empty()) blas.missing = fmt::format("{} has no {}", name, symbol);
  };
  find(blas.create, COSTEFF_NAME(cublasCreate));
  find(blas.set_stream, COSTEFF_NAME(cublasSetStream));
  find(blas.set_workspace, COSTEFF_NAME(cublasSetWorkspace));
  find(blas.set_math_mode, COSTEFF_NAME(cublasSetMathMode));
  find(blas.status_string, COSTEFF_NAME(cublasGetStatusString));
  find(blas.sgemm, COSTEFF_NAME(cublasSgemm_64));
  find(blas.dgemm, COSTEFF_NAME(cublasDgemm_64));
  find(blas.gemm_ex, COSTEFF_NAME(cublasGemmEx_64));
  return blas;
}

}  // namespace

const BlasLibrary& blas_library() {
  static const BlasLibrary& library = *new BlasLibrary(load());
  return library;
}

}  // namespace costeff::cuda
