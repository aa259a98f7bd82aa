// Layer norm of dropout(x + bias) + residual, a block a row, and its gradients.
#include "tensor/cuda/columns.h"

namespace costeff::COSTEFF_GPU {
namespace {

// Between the passes a row is kept in y, whose elements each thread reads back by itself.
template <class T>
__global__ void layer_norm_kernel(LayerNormForward<T> call, bool whole, Mask<T> mask) {
  const std::int64_t rows = call.rows, cols = call.cols;
  const T *x = call.x, *bias = call.bias, *residual = call.residual, *gamma = call.gamma, *beta = call.beta;
  const T eps = call.eps;
  T *y = call.y, *xhat = call.xhat, *rstd = call.rstd;
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
      const Group<T> g = load(gamma, c, cols, whole), b = load(beta, c, cols, whole);
      for (int l = 0; l < kGroup; ++l) z.x[l] = g.x[l] * z.x[l] + b.x[l];
      store(s, c, cols, whole, z);
    });
  });
}
template <class T>
void layer_norm(const LayerNormForward<T>& call) {
  const bool whole = call.cols % kGroup == 0 &&
                     aligned(call.x, call.bias, call.residual, call.gamma, call.beta, call.y, call.xhat);
  launch("layer_norm", rows_launch(call.rows, divided_up(call.cols, kGroup)), layer_norm_kernel<T>, call,
         whole, mask_of<T>(call.dropout));
}

// One row's ds to dresidual and, through the mask, to dx.
template <class T>
__global__ void layer_norm_backward_kernel(LayerNormBackward<T> call, bool whole, Mask<T> mask) {
  const std::int64_t rows = call.rows, cols = call.cols;
  const T *xhat = call.xhat, *rstd = call.rstd, *gamma = call.gamma, *dy = call.dy;
  const Target<T> dresidual = call.dresidual, dx = call.dx;
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
      if (dresidual.data != nullptr) store(dresidual.data + at, c, cols, whole, ds, dresidual.keep);
      if (dx.data == nullptr) return;
      if (!mask.off) {
        const Group<T> factor = factors(mask, at + c);
        for (int l = 0; l < kGroup; ++l) ds.x[l] *= factor.x[l];
      }
      store(dx.data + at, c, cols, whole, ds, dx.keep);
    });
  });
}
template <class T>
void layer_norm_backward(const LayerNormBackward<T>& call) {
  const bool whole =
      call.cols % kGroup == 0 && aligned(call.xhat, call.gamma, call.dy, call.dresidual.data, call.dx.data);
  launch("layer_norm_backward", rows_launch(call.rows, divided_up(call.cols, kGroup)),
         layer_norm_backward_kernel<T>, call, whole, mask_of<T>(call.dropout));
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
void layer_norm_parameters_backward(const LayerNormParametersBackward<T>& call) {
  sum_columns<T, 2>("layer_norm_parameters_backward", call.rows, call.cols,
                    ParametersBackward<T>{call.cols, call.xhat, call.dy}, {call.dgamma, call.dbeta});
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
