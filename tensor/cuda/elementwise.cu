// How a GPU goes over the elements of tensor/elementwise.h, dropout, and rounding.
#include "tensor/cuda/device.h"

namespace costeff::COSTEFF_GPU {
namespace {

template <class F, class T, class... X>
__device__ Group<T> of_groups(F f, const Group<T>& first, const X&... others) {
  Group<T> y;
  for (int l = 0; l < kGroup; ++l) y.x[l] = f(first.x[l], others.x[l]...);
  return y;
}

// y may be one of x: a thread reads its elements before it writes them.
template <class F, class T, class... X>
__global__ void map_kernel(std::int64_t n, bool whole, F f, Target<T> y, const X*... x) {
  for_each_group(
      n, [=](std::int64_t i) { store(y.data, i, n, whole, of_groups(f, load(x, i, n, whole)...), y.keep); });
}

// y[i] = f(x[i]...)
template <class T, class F, class... X>
void map(const char* name, std::int64_t /*cost*/, std::int64_t n, F f, Target<T> y, const X*... x) {
  launch(name, elementwise_launch(n), map_kernel<F, T, X...>, n, aligned(y.data, x...), f, y, x...);
}

}  // namespace
}  // namespace costeff::COSTEFF_GPU

#include "tensor/elementwise.h"

namespace costeff::COSTEFF_GPU {
namespace {

template <class T>
__global__ void dropout_kernel(std::int64_t n, bool whole, Mask<T> mask, const T* x, Target<T> y) {
  for_each_group(n, [=](std::int64_t i) {
    store(y.data, i, n, whole, of_groups(Product<T>{}, load(x, i, n, whole), factors(mask, i)), y.keep);
  });
}
template <class T>
void dropout(std::int64_t n, Dropout dropout, const T* x, T keep, T* y) {
  const Target<T> target{y, keep};
  if (dropout.p == 0) return map("dropout", 1, n, Scaled<T>{T(1)}, target, x);
  launch("dropout", elementwise_launch(n), dropout_kernel<T>, n, aligned(x, y), mask_of<T>(dropout), x,
         target);
}

struct alignas(8) GroupOfBf16 {
  bf16 x[kGroup];
};
template <class T>
__global__ void round_group(std::int64_t n, bool whole, const T* x, bf16* y) {
  for_each_group(n, [=](std::int64_t i) {
    const Group<T> g = load(x, i, n, whole);
    GroupOfBf16 rounded;
    for (int l = 0; l < kGroup; ++l) rounded.x[l] = to_bf16(static_cast<float>(g.x[l]));
    if (whole && i + kGroup <= n) {
      *reinterpret_cast<GroupOfBf16*>(y + i) = rounded;
      return;
    }
    for (int l = 0; l < kGroup; ++l) {
      if (i + l < n) y[i + l] = rounded.x[l];
    }
  });
}
template <class T>
void round_bf16(std::int64_t n, const T* x, bf16* y) {
  launch("round_bf16", elementwise_launch(n), round_group<T>, n, aligned(x, y), x, y);
}

}  // namespace

template <class T>
void fill_elementwise(Kernels<T>& k) {
  fill_maps(k);
  k.dropout = dropout<T>;
  k.round_bf16 = round_bf16<T>;
}
template void fill_elementwise(Kernels<float>& k);
template void fill_elementwise(Kernels<double>& k);

}  // namespace costeff::COSTEFF_GPU
