// The truncated singular value decomposition: the best approximation of a matrix by one of lower rank (Eckart
// and Young, 1936), with or without weights on its rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace costeff {

// W ~ left right^T with left = U_R S_R and right = V_R, of the R largest singular values of W = U S V^T.
struct TruncatedSvd {
  Tensor left;   // [rows, R] = W right
  Tensor right;  // [columns, R], orthonormal; of each column the largest |x| is positive
  std::vector<double> singular_values;  // all min(rows, columns), descending
};

// Minimises sum_i |w_i - left_i right^T|^2 over all matrices of these shapes. With `row_weights` c (empty:
// all 1) it minimises sum_i c_i |w_i - left_i right^T|^2: right and the singular values are then those of
// diag(sqrt c) W, and left is still W right, also for rows of weight 0.
//
// w [rows, columns], f32 or f64, on any device; rank 1 .. min(rows, columns). left and right have w's dtype,
// are on the CPU, and are computed there in f64 through the eigenvectors of W^T diag(c) W, [columns,
// columns]: meant for rows >> columns. Squaring costs precision: a singular value s is right to about 1e-16
// s_1^2 / s, so those below 1e-8 s_1 are noise; right is orthonormal nevertheless. Throws Error for a w of
// another shape or dtype or with a number that is not finite, for more than 30,000 columns, for a rank
// outside its bounds, and for weights that are not one for each row, negative, not finite, or all 0.
TruncatedSvd truncated_svd(const Tensor& w, std::int64_t rank, std::span<const double> row_weights = {});

}  // namespace costeff
