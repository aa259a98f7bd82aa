// Layer norm of dropout(x + bias) + residual, a block a row, and its gradients.
#include "tensor/cuda/columns.h"

namespace costeff::COSTEFF_GPU {
namespace {

// Between the passes a row is kept in y, whose elements each thread reads back by itself.
template <class T>
__global__ void layer_norm_kernel(std::int64_t rows, std::int64_t cols, bool whole, const T* x, const T* bias,
                                  Mask<T> mask, const T* residual, const T* gamma, const T* beta_, T eps,
                                  T* y, T* xhat, T* rstd) {
  for_each_row(rows, [=](std::int64_t r) {
    const std::int64_t at = r * cols;
    T* s = y + at;
    T sum = 0;
    for_each_group_of_row(cols, [&](std::int64_t c) {
      Group<T> z = load(x + at, c, cols, whole);
      if (bias != nullptr) {
        const Group<T> b = load(bias, c, cols, whole);
        for (int l = 0; l < kGroup; ++l) z.x[l] += b.x[l];
      }
      if (!mask.off) {
        const Group<T> factor = factors(mask, at + c);
        for (int l = 0; l < kGroup; ++l) z.x[l] *= factor.x[l];
      }
      if (residual != nullptr) {
        const Group<T> b = load(residual + at, c, cols, whole);
        for (int l = 0; l < kGroup; ++l) z.x[l] += b.x[l];
      }
      store(s, c, cols, whole, z);
      for (int l = 0; l < kGroup; ++l) sum += c + l < cols ? z.x[l] : T(0);
    });
    const T mean = reduce_block(sum, Add{}) / static_cast<T>(cols);
    // The mean is rounded; what that leaves in the differences counts where a row is nearly constant.
    T rest = 0, squares = 0;
    for_each_group_of_row(cols, [&](std::int64_t c) {
      const Group<T> z = load(static_cast<const T*>(s), c, cols, whole);
      for (int l = 0; l < kGroup; ++l) {
        const T d = c + l < cols ? z.x[l] - mean : T(0);
        rest += d;
        squares += d * d;
      }
    });
    const T off = reduce_block(rest, Add{}) / static_cast<T>(cols);
    squares = reduce_block(squares, Add{});
    const T inverse = T(1) / std::sqrt(squares / static_cast<T>(cols) - off * off + eps);
    if (rstd != nullptr && threadIdx.x == 0) rstd[r] = inverse;
    for_each_group_of_row(cols, [=](std::int64_t c) {
      Group<T> z = load(static_cast<const T*>(s), c, cols, whole);
      for (T& v : z.x) v = (v - mean - off) * inverse;
      if (xhat != nullptr) store(xhat + at, c, cols, whole, z);
      const Group<T> g = load(gamma, c, cols, whole), b = load(beta_, c, cols, whole);
      for (int l = 0; l < kGroup; ++l) z.x[l] = g.x[l] * z.x[l] + b.x[l];
      store(s, c, cols, whole, z);
    });
  });
}
template <class T>
void layer_norm(std::int64_t rows, std::int64_t cols, const T* x, const T* bias, Dropout dropout,
                const T* residual, const T* gamma, const T* beta_, T eps, T* y, T* xhat, T* rstd) {
  launch("layer_norm", rows_launch(rows, divided_up(cols, kGroup)), layer_norm_kernel<T>, rows, cols,
         cols % kGroup == 0 && aligned(x, bias, residual, gamma, beta_, y, xhat), x, bias,
         mask_of<T>(dropout), residual, gamma, beta_, eps, y, xhat, rstd);
}

// One row's ds to dresidual and, through the mask, to dx.
template <class T>
__global__ void layer_norm_backward_kernel(std::int64_t rows, std::int64_t cols, bool whole, const T* xhat,
                                           const T* rstd, const T* gamma, const T* dy, Mask<T> mask,
                                           T residual_beta, T* dresidual, T x_beta, T* dx) {
  for_each_row(rows, [=](std::int64_t r) {
    const std::int64_t at = r * cols;
    T sum = 0, dot = 0;
    for_each_group_of_row(cols, [&](std::int64_t c) {
      const Group<T> g = load(gamma, c, cols, whole), d = load(dy + at, c, cols, whole),
                     norm = load(xhat + at, c, cols, whole);
      for (int l = 0; l < kGroup; ++l) {
        sum += d.x[l] * g.x[l];
        dot += d.x[l] * g.x[l] * norm.x[l];
      }
    });
    const T mean = reduce_block(sum, Add{}) / static_cast<T>(cols);
    const T mean_dot = reduce_block(dot, Add{}) / static_cast<T>(cols);
    const T inverse = rstd[r];
    for_each_group_of_row(cols, [=](std::int64_t c) {
      const Group<T> g = load(gamma, c, cols, whole), d = load(dy + at, c, cols, whole),
                     norm = load(xhat + at, c, cols, whole);
      Group<T> ds;
      for (int l = 0; l < kGroup; ++l) ds.x[l] = inverse * (d.x[l] * g.x[l] - mean - norm.x[l] * mean_dot);
      if (dresidual != nullptr) store(dresidual + at, c, cols, whole, ds, residual_beta);
      if (dx == nullptr) return;
      if (!mask.off) {
        const Group<T> factor = factors(mask, at + c);
        for (int l = 0; l < kGroup; ++l) ds.x[l] *= factor.x[l];
      }
      store(dx + at, c, cols, whole, ds, x_beta);
    });
  });
}
template <class T>
void layer_norm_backward(std::int64_t rows, std::int64_t cols, const T* xhat, const T* rstd, const T* gamma,
                         const T* dy, Dropout dropout, T residual_beta, T* dresidual, T x_beta, T* dx) {
  launch("layer_norm_backward", rows_launch(rows, divided_up(cols, kGroup)), layer_norm_backward_kernel<T>,
         rows, cols, cols % kGroup == 0 && aligned(xhat, gamma, dy, dresidual, dx), xhat, rstd, gamma, dy,
         mask_of<T>(dropout), residual_beta, dresidual, x_beta, dx);
}

template <class T>
struct ParametersBackward {
  std::int64_t cols;
  const T *xhat, *dy;
  __device__ Values<T, 2> operator()(std::int64_t r, std::int64_t c) const {
    const T d = dy[r * cols + c];
    return {{d * xhat[r * cols + c], d}};
  }
};
template <class T>
void layer_norm_parameters_backward(std::int64_t rows, std::int64_t cols, const T* xhat, const T* dy,
                                    T gamma_beta, T* dgamma, T beta_beta, T* dbeta) {
  T* const out[] = {dgamma, dbeta};
  sum_columns<T, 2>("layer_norm_parameters_backward", rows, cols, ParametersBackward<T>{cols, xhat, dy},
                    {{gamma_beta, beta_beta}}, out);
}

}  // namespace

template <class T>
void fill_layer_norm(Kernels<T>& k) {
  k.layer_norm = layer_norm<T>;
  k.layer_norm_backward = layer_norm_backward<T>;
  k.layer_norm_parameters_backward = layer_norm_parameters_backward<T>;
}
template void fill_layer_norm(Kernels<float>& k);
template void fill_layer_norm(Kernels<double>& k);

}  // namespace costeff::COSTEFF_GPU
