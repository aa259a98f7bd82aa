// Softmax and log-softmax over rows, a block a row: the row's largest element is subtracted first. An element
// of -inf gets probability 0; a row with a NaN, with +inf or of nothing but -inf becomes NaN.
//
// A thread reads and writes the same elements in every pass, so y may be x.
#include "tensor/cuda/device.h"

namespace costeff::COSTEFF_GPU {
namespace {

template <class T>
__device__ T largest(std::int64_t cols, const T* x) {
  T top = -std::numeric_limits<T>::infinity();
  for_each_column(cols, [&](std::int64_t c) { top = x[c] > top ? x[c] : top; });
  return reduce_block(top, Larger{});
}

template <class T>
__global__ void softmax_kernel(std::int64_t rows, std::int64_t cols, const T* x, T* y) {
  for_each_row(rows, [=](std::int64_t r) {
    const T* in = x + r * cols;
    T* out = y + r * cols;
    const T top = largest(cols, in);
    T sum = 0;
    for_each_column(cols, [&](std::int64_t c) {
      const T e = math::exp(in[c] - top);
      out[c] = e;
      sum += e;
    });
    const T inverse = T(1) / reduce_block(sum, Add{});
    for_each_column(cols, [=](std::int64_t c) { out[c] *= inverse; });
  });
}
template <class T>
void softmax(std::int64_t rows, std::int64_t cols, const T* x, T* y) {
  launch("softmax", rows_launch(rows, cols), softmax_kernel<T>, rows, cols, x, y);
}

// dx = y (dy - sum y dy)
template <class T>
__global__ void softmax_backward_kernel(std::int64_t rows, std::int64_t cols, const T* y, const T* dy, T beta,
                                        T* dx) {
  for_each_row(rows, [=](std::int64_t r) {
    const T *out = y + r * cols, *dout = dy + r * cols;
    T* din = dx + r * cols;
    T dot = 0;
    for_each_column(cols, [&](std::int64_t c) { dot += out[c] * dout[c]; });
    dot = reduce_block(dot, Add{});
    for_each_column(cols, [=](std::int64_t c) { put(din[c], out[c] * (dout[c] - dot), beta); });
  });
}
template <class T>
void softmax_backward(std::int64_t rows, std::int64_t cols, const T* y, const T* dy, T beta, T* dx) {
  launch("softmax_backward", rows_launch(rows, cols), softmax_backward_kernel<T>, rows, cols, y, dy, beta,
         dx);
}

template <class T>
__global__ void log_softmax_kernel(std::int64_t rows, std::int64_t cols, const T* x, T* y) {
  for_each_row(rows, [=](std::int64_t r) {
    const T* in = x + r * cols;
    T* out = y + r * cols;
    const T top = largest(cols, in);
    T sum = 0;
    for_each_column(cols, [&](std::int64_t c) { sum += math::exp(in[c] - top); });
    const T log_sum = std::log(reduce_block(sum, Add{}));
    for_each_column(cols, [=](std::int64_t c) { out[c] = in[c] - top - log_sum; });
  });
}
template <class T>
void log_softmax(std::int64_t rows, std::int64_t cols, const T* x, T* y) {
  launch("log_softmax", rows_launch(rows, cols), log_softmax_kernel<T>, rows, cols, x, y);
}

// dx = dy - e^y sum dy
template <class T>
__global__ void log_softmax_backward_kernel(std::int64_t rows, std::int64_t cols, const T* y, const T* dy,
                                            T beta, T* dx) {
  for_each_row(rows, [=](std::int64_t r) {
    const T *out = y + r * cols, *dout = dy + r * cols;
    T* din = dx + r * cols;
    T sum = 0;
    for_each_column(cols, [&](std::int64_t c) { sum += dout[c]; });
    sum = reduce_block(sum, Add{});
    for_each_column(cols, [=](std::int64_t c) { put(din[c], dout[c] - math::exp(out[c]) * sum, beta); });
  });
}
template <class T>
void log_softmax_backward(std::int64_t rows, std::int64_t cols, const T* y, const T* dy, T beta, T* dx) {
  launch("log_softmax_backward", rows_launch(rows, cols), log_softmax_backward_kernel<T>, rows, cols, y, dy,
         beta, dx);
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

}  // namespace costeff::COSTEFF_GPU
