// Softmax and log-softmax over rows: the row's largest element is subtracted first, so that wide values
// neither overflow nor vanish. An element of -inf gets probability 0; a row with a NaN, with +inf or of
// nothing but -inf becomes NaN.
#include <cmath>
#include <limits>

#include "tensor/cpu/isa.h"
#include "tensor/cpu/table.h"

namespace costeff::COSTEFF_ISA {
namespace {

template <class T>
COSTEFF_INLINE T largest(std::int64_t cols, const T* x) {
  T top = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : top)
  for (std::int64_t c = 0; c < cols; ++c) top = x[c] > top ? x[c] : top;
  return top;
}

template <class T>
void softmax(std::int64_t rows, std::int64_t cols, const T* x, T* y) {
  parallel_ranges(rows, 8 * rows * cols, 1, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const T* in = x + r * cols;
      T* out = y + r * cols;
      const T top = largest(cols, in);
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t c = 0; c < cols; ++c) {
        const T e = math::exp(in[c] - top);
        out[c] = e;
        sum += e;
      }
      const T inverse = T(1) / sum;
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) out[c] *= inverse;
    }
  });
}

// dx = y (dy - sum y dy)
template <class T>
void softmax_backward(std::int64_t rows, std::int64_t cols, const T* y, const T* dy, T beta, T* dx) {
  with_beta(beta, [&](auto keep) {
    parallel_ranges(rows, 2 * rows * cols, 1, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const T *out = y + r * cols, *dout = dy + r * cols;
        T* din = dx + r * cols;
        T dot = 0;
#pragma omp simd reduction(+ : dot)
        for (std::int64_t c = 0; c < cols; ++c) dot += out[c] * dout[c];
#pragma omp simd
        for (std::int64_t c = 0; c < cols; ++c)
          put<decltype(keep)::value>(din[c], out[c] * (dout[c] - dot), beta);
      }
    });
  });
}

template <class T>
void log_softmax(std::int64_t rows, std::int64_t cols, const T* x, T* y) {
  parallel_ranges(rows, 8 * rows * cols, 1, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const T* in = x + r * cols;
      T* out = y + r * cols;
      const T top = largest(cols, in);
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (std::int64_t c = 0; c < cols; ++c) sum += math::exp(in[c] - top);
      const T log_sum = std::log(sum);
      // Not in[c] - (top + log_sum): beside a top of 1e3 that would round the logarithm away.
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) out[c] = (in[c] - top) - log_sum;
    }
  });
}

// dx = dy - e^y sum dy
template <class T>
void log_softmax_backward(std::int64_t rows, std::int64_t cols, const T* y, const T* dy, T beta, T* dx) {
  with_beta(beta, [&](auto keep) {
    parallel_ranges(rows, 8 * rows * cols, 1, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const T *out = y + r * cols, *dout = dy + r * cols;
        T* din = dx + r * cols;
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (std::int64_t c = 0; c < cols; ++c) sum += dout[c];
#pragma omp simd
        for (std::int64_t c = 0; c < cols; ++c) {
          put<decltype(keep)::value>(din[c], dout[c] - math::exp(out[c]) * sum, beta);
        }
      }
    });
  });
}

}  // namespace

template <class T>
void fill_softmax(Kernels<T>& k) {
  k.softmax = softmax<T>;
  k.softmax_backward = softmax_backward<T>;
  k.log_softmax = log_softmax<T>;
  k.log_softmax_backward = log_softmax_backward<T>;
}
template void fill_softmax(Kernels<float>& k);
template void fill_softmax(Kernels<double>& k);

}  // namespace costeff::COSTEFF_ISA
