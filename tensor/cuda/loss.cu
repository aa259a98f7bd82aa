// Losses and their gradients; sums in f64.
#include "tensor/cuda/sums.h"

namespace costeff::COSTEFF_GPU {
namespace {

// A target of 0 takes no part, so that 0 log 0 is 0.
template <class T>
struct TargetLog {
  const T *log_p, *target;
  __device__ double operator()(std::int64_t i) const {
    return target[i] == T(0) ? 0.0 : static_cast<double>(target[i]) * static_cast<double>(log_p[i]);
  }
};
template <class T>
void cross_entropy(std::int64_t rows, std::int64_t classes, const T* log_p, const T* target, T* out) {
  sum_all("cross_entropy", rows * classes, TargetLog<T>{log_p, target}, -1.0 / static_cast<double>(rows),
          out);
}

template <class T>
__global__ void cross_entropy_backward_kernel(std::int64_t rows, std::int64_t classes, const T* log_p,
                                              const T* target, T scale, T beta, T* dz) {
  for_each_row(rows, [=](std::int64_t r) {
    const T *lp = log_p + r * classes, *t = target + r * classes;
    T* d = dz + r * classes;
    T mass = 0;
    for_each_column(classes, [&](std::int64_t c) { mass += t[c]; });
    mass = reduce_block(mass, Add{});
    for_each_column(classes,
                    [=](std::int64_t c) { put(d[c], scale * (math::exp(lp[c]) * mass - t[c]), beta); });
  });
}
template <class T>
void cross_entropy_backward(std::int64_t rows, std::int64_t classes, const T* log_p, const T* target, T scale,
                            T beta, T* dz) {
  launch("cross_entropy_backward", rows_launch(rows, classes), cross_entropy_backward_kernel<T>, rows,
         classes, log_p, target, scale, beta, dz);
}

template <class T>
struct SquaredDifference {
  std::int64_t cols;
  const T *w, *a, *b;
  __device__ double operator()(std::int64_t i) const {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    return w == nullptr ? d * d : static_cast<double>(w[i / cols]) * (d * d);
  }
};
template <class T>
void squared_error(std::int64_t rows, std::int64_t cols, const T* w, T scale, const T* a, const T* b,
                   T* out) {
  sum_all("squared_error", rows * cols, SquaredDifference<T>{cols, w, a, b}, static_cast<double>(scale), out);
}

template <class T>
__global__ void squared_error_backward_kernel(std::int64_t rows, std::int64_t cols, const T* w, T scale,
                                              const T* a, const T* b, T beta, T* da) {
  for_each_row(rows, [=](std::int64_t r) {
    const T factor = w == nullptr ? scale : scale * w[r];
    for_each_column(cols, [=](std::int64_t c) {
      const std::int64_t i = r * cols + c;
      put(da[i], factor * (a[i] - b[i]), beta);
    });
  });
}
template <class T>
void squared_error_backward(std::int64_t rows, std::int64_t cols, const T* w, T scale, const T* a, const T* b,
                            T beta, T* da) {
  launch("squared_error_backward", rows_launch(rows, cols), squared_error_backward_kernel<T>, rows, cols, w,
         scale, a, b, beta, da);
}

}  // namespace

template <class T>
void fill_loss(Kernels<T>& k) {
  k.cross_entropy = cross_entropy<T>;
  k.cross_entropy_backward = cross_entropy_backward<T>;
  k.squared_error = squared_error<T>;
  k.squared_error_backward = squared_error_backward<T>;
}
template void fill_loss(Kernels<float>& k);
template void fill_loss(Kernels<double>& k);

}  // namespace costeff::COSTEFF_GPU
