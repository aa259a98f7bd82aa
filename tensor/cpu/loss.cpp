// Losses and their gradients; sums in f64.
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
void cross_entropy_backward(std::int64_t rows, std::int64_t classes, const T* log_p, const T* target, T scale,
                            T beta, T* dz) {
  with_beta(beta, [&](auto keep) {
    parallel_ranges(rows, 8 * rows * classes, 1, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const T *lp = log_p + r * classes, *t = target + r * classes;
        T* d = dz + r * classes;
        T mass = 0;
#pragma omp simd reduction(+ : mass)
        for (std::int64_t c = 0; c < classes; ++c) mass += t[c];
#pragma omp simd
        for (std::int64_t c = 0; c < classes; ++c) {
          put<decltype(keep)::value>(d[c], scale * (math::exp(lp[c]) * mass - t[c]), beta);
        }
      }
    });
  });
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

template <class T>
void squared_error_backward(std::int64_t rows, std::int64_t cols, const T* w, T scale, const T* a, const T* b,
                            T beta, T* da) {
  with_beta(beta, [&](auto keep) {
    parallel_ranges(rows, rows * cols, 1, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const T *x = a + r * cols, *y = b + r * cols;
        T* d = da + r * cols;
        const T factor = w == nullptr ? scale : scale * w[r];
#pragma omp simd
        for (std::int64_t c = 0; c < cols; ++c)
          put<decltype(keep)::value>(d[c], factor * (x[c] - y[c]), beta);
      }
    });
  });
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

}  // namespace costeff::COSTEFF_ISA
