// Rows with a bias: broadcast it, sum it back, and GELU of a biased row.
#include "tensor/cuda/columns.h"

namespace costeff::COSTEFF_GPU {
namespace {

template <class T>
__global__ void fill_rows_kernel(std::int64_t rows, std::int64_t cols, bool whole, const T* bias, T* y) {
  for_each_row(rows, [=](std::int64_t r) {
    for_each_group_of_row(
        cols, [=](std::int64_t c) { store(y + r * cols, c, cols, whole, load(bias, c, cols, whole)); });
  });
}
template <class T>
void broadcast_row(std::int64_t rows, std::int64_t cols, const T* bias, T* y) {
  launch("fill_rows", rows_launch(rows, divided_up(cols, kGroup)), fill_rows_kernel<T>, rows, cols,
         cols % kGroup == 0 && aligned(bias, y), bias, y);
}

template <class T>
struct Element {
  const T* x;
  std::int64_t cols;
  __device__ Values<T, 1> operator()(std::int64_t r, std::int64_t c) const { return {{x[r * cols + c]}}; }
};
template <class T>
void sum_rows(std::int64_t rows, std::int64_t cols, const T* x, T keep, T* sum) {
  sum_columns<T, 1>("sum_rows", rows, cols, Element<T>{x, cols}, {{sum, keep}});
}

template <class T>
__global__ void bias_gelu_kernel(std::int64_t rows, std::int64_t cols, bool whole, const T* x, const T* bias,
                                 T* y) {
  for_each_row(rows, [=](std::int64_t r) {
    for_each_group_of_row(cols, [=](std::int64_t c) {
      Group<T> z = load(x + r * cols, c, cols, whole);
      if (bias != nullptr) {
        const Group<T> b = load(bias, c, cols, whole);
        for (int l = 0; l < kGroup; ++l) z.x[l] += b.x[l];
      }
      for (T& v : z.x) v = math::gelu(v);
      store(y + r * cols, c, cols, whole, z);
    });
  });
}
template <class T>
void bias_gelu(std::int64_t rows, std::int64_t cols, const T* x, const T* bias, T* y) {
  launch("bias_gelu", rows_launch(rows, divided_up(cols, kGroup)), bias_gelu_kernel<T>, rows, cols,
         cols % kGroup == 0 && aligned(x, bias, y), x, bias, y);
}

template <class T>
__global__ void bias_gelu_backward_kernel(BiasGeluBackward<T> call, bool whole) {
  const std::int64_t cols = call.cols;
  const T *x = call.x, *bias = call.bias, *dy = call.dy;
  const Target<T> dx = call.dx;
  for_each_row(call.rows, [=](std::int64_t r) {
    const std::int64_t at = r * cols;
    for_each_group_of_row(cols, [=](std::int64_t c) {
      Group<T> z = load(x + at, c, cols, whole);
      if (bias != nullptr) {
        const Group<T> b = load(bias, c, cols, whole);
        for (int l = 0; l < kGroup; ++l) z.x[l] += b.x[l];
      }
      const Group<T> d = load(dy + at, c, cols, whole);
      for (int l = 0; l < kGroup; ++l) z.x[l] = d.x[l] * math::gelu_derivative(z.x[l]);
      store(dx.data + at, c, cols, whole, z, dx.keep);
    });
  });
}
// Writes dx of an element and hands it to the sum.
template <class T>
struct GeluOfBias {
  BiasGeluBackward<T> call;
  __device__ Values<T, 1> operator()(std::int64_t r, std::int64_t c) const {
    const std::int64_t i = r * call.cols + c;
    const T z = call.bias == nullptr ? call.x[i] : call.x[i] + call.bias[c];
    const T d = call.dy[i] * math::gelu_derivative(z);
    put(call.dx.data[i], d, call.dx.keep);
    return {{d}};
  }
};
template <class T>
void bias_gelu_backward(const BiasGeluBackward<T>& call) {
  if (call.dbias.data != nullptr)
    return sum_columns<T, 1>("bias_gelu_backward", call.rows, call.cols, GeluOfBias<T>{call}, {call.dbias});
  const bool whole = call.cols % kGroup == 0 && aligned(call.x, call.bias, call.dy, call.dx.data);
  launch("bias_gelu_backward", rows_launch(call.rows, divided_up(call.cols, kGroup)),
         bias_gelu_backward_kernel<T>, call, whole);
}

}  // namespace

template <class T>
void fill_bias(Kernels<T>& k) {
  k.fill_rows = broadcast_row<T>;
  k.sum_rows = sum_rows<T>;
  k.bias_gelu = bias_gelu<T>;
  k.bias_gelu_backward = bias_gelu_backward<T>;
}
template void fill_bias(Kernels<float>& k);
template void fill_bias(Kernels<double>& k);

}  // namespace costeff::COSTEFF_GPU
