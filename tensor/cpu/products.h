// Matrix products c = a b, b a transposed view, that cpu_backend.cpp prefers to the library's.
#pragma once

#include "tensor/matrix.h"

namespace costeff::COSTEFF_ISA {

// For few rows of a.
template <class T>
void few_rows_product(Matrix<const T> a, Matrix<const T> b, Target<T> c);

// For a small b.
template <class T>
void small_weight_product(Matrix<const T> a, Matrix<const T> b, Target<T> c);

}  // namespace costeff::COSTEFF_ISA
