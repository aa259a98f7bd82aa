// Losses, summed up in f64 (tensor/rowwise.h has their gradients).
#include "tensor/cpu/partials.h"
#include "tensor/cpu/table.h"

namespace costeff::COSTEFF_ISA {
namespace {

// A target of 0 takes no part, so that 0 log 0 is 0.
template <class T>
void cross_entropy(std::int64_t rows, std::int64_t classes, const T* log_p, const T* target, T* out) {
  const std::int64_t n = rows * classes;
  const double sum = ordered_sum(n, n, [=](std::int64_t begin, std::int64_t end) {
    double s = 0;
#pragma omp simd reduction(+ : s)
    for (std::int64_t i = begin; i < end; ++i) {
      s += target[i] == T(0) ? 0.0 : static_cast<double>(target[i]) * static_cast<double>(log_p[i]);
    }
    return s;
  });
  *out = static_cast<T>(-sum / static_cast<double>(rows));
}

template <class T>
void squared_error(std::int64_t rows, std::int64_t cols, const T* w, T scale, const T* a, const T* b,
                   T* out) {
  const double sum = ordered_sum(rows, rows * cols, [=](std::int64_t begin, std::int64_t end) {
    double total = 0;
    for (std::int64_t r = begin; r < end; ++r) {
      const T *x = a + r * cols, *y = b + r * cols;
      double s = 0;
#pragma omp simd reduction(+ : s)
      for (std::int64_t c = 0; c < cols; ++c) {
        const double d = static_cast<double>(x[c]) - static_cast<double>(y[c]);
        s += d * d;
      }
      total += w == nullptr ? s : static_cast<double>(w[r]) * s;
    }
    return total;
  });
  *out = static_cast<T>(static_cast<double>(scale) * sum);
}

}  // namespace

template <class T>
void fill_loss(Kernels<T>& k) {
  k.cross_entropy = cross_entropy<T>;
  k.squared_error = squared_error<T>;
}
template void fill_loss(Kernels<float>& k);
template void fill_loss(Kernels<double>& k);

}  // namespace costeff::COSTEFF_ISA
