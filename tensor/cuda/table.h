// The families of CUDA kernels.
#pragma once

#include "tensor/cuda/context.h"
#include "tensor/families.h"
#include "tensor/kernels.h"

#define COSTEFF_BACKEND COSTEFF_GPU

namespace costeff::COSTEFF_GPU {
COSTEFF_BACKEND_FAMILIES

template <class T>
void fill_gemm(Kernels<T>& k);
}  // namespace costeff::COSTEFF_GPU
