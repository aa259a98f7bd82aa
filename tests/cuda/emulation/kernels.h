// The kernels of tensor/cuda on the emulated device: all but the matrix product, which is cuBLAS's.
#pragma once

#include "tensor/kernels.h"

namespace costeff::emulated {

template <class T>
Kernels<T> kernels();

}  // namespace costeff::emulated
