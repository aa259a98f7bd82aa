// Losses, summed up in f64 (tensor/rowwise.h has their gradients).
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

}  // namespace

template <class T>
void fill_loss(Kernels<T>& k) {
  k.cross_entropy = cross_entropy<T>;
  k.squared_error = squared_error<T>;
}
template void fill_loss(Kernels<float>& k);
template void fill_loss(Kernels<double>& k);

}  // namespace costeff::COSTEFF_GPU
