// Kernels that treat every element by itself.
#include "tensor/cuda/device.h"

namespace costeff::COSTEFF_GPU {
namespace {

// y = f(i, group of a, group of b) + beta y; b may be null. y may be a or b: a thread reads its elements
// before it writes them.
template <class T, class F>
__global__ void map(std::int64_t n, bool whole, F f, const T* a, const T* b, T beta, T* y) {
  for_each_group(n, [=](std::int64_t i) {
    const Group<T> x = load(a, i, n, whole);
    store(y, i, n, whole, f(i, x, b == nullptr ? x : load(b, i, n, whole)), beta);
  });
}

template <class F, class T>
void start(const char* name, F f, std::int64_t n, const T* a, const T* b, T beta, T* y) {
  launch(name, elementwise_launch(n), map<T, F>, n, aligned(a, b, y), f, a, b, beta, y);
}

template <class T>
struct Scale {
  T alpha;
  __device__ Group<T> operator()(std::int64_t /*i*/, Group<T> a, const Group<T>& /*b*/) const {
    for (T& x : a.x) x *= alpha;
    return a;
  }
};
template <class T>
void scale(std::int64_t n, T alpha, const T* x, T beta, T* y) {
  start("scale", Scale<T>{alpha}, n, x, static_cast<const T*>(nullptr), beta, y);
}

template <class T>
struct Sum {
  __device__ Group<T> operator()(std::int64_t /*i*/, Group<T> a, const Group<T>& b) const {
    for (int l = 0; l < kGroup; ++l) a.x[l] += b.x[l];
    return a;
  }
};
template <class T>
void add(std::int64_t n, const T* a, const T* b, T* y) {
  start("add", Sum<T>{}, n, a, b, T(0), y);
}

template <class T>
struct Product {
  __device__ Group<T> operator()(std::int64_t /*i*/, Group<T> a, const Group<T>& b) const {
    for (int l = 0; l < kGroup; ++l) a.x[l] *= b.x[l];
    return a;
  }
};
template <class T>
void multiply(std::int64_t n, const T* a, const T* b, T beta, T* y) {
  start("multiply", Product<T>{}, n, a, b, beta, y);
}

template <class T>
struct Tanh {
  __device__ Group<T> operator()(std::int64_t /*i*/, Group<T> a, const Group<T>& /*b*/) const {
    for (T& x : a.x) x = math::tanh(x);
    return a;
  }
};
template <class T>
void tanh(std::int64_t n, const T* x, T* y) {
  start("tanh", Tanh<T>{}, n, x, static_cast<const T*>(nullptr), T(0), y);
}

template <class T>
struct TanhBackward {
  __device__ Group<T> operator()(std::int64_t /*i*/, Group<T> y, const Group<T>& dy) const {
    for (int l = 0; l < kGroup; ++l) y.x[l] = dy.x[l] * (T(1) - y.x[l] * y.x[l]);
    return y;
  }
};
template <class T>
void tanh_backward(std::int64_t n, const T* y, const T* dy, T beta, T* dx) {
  start("tanh_backward", TanhBackward<T>{}, n, y, dy, beta, dx);
}

template <class T>
struct Drop {
  Mask<T> mask;
  __device__ Group<T> operator()(std::int64_t i, Group<T> a, const Group<T>& /*b*/) const {
    const Group<T> factor = factors(mask, i);
    for (int l = 0; l < kGroup; ++l) a.x[l] *= factor.x[l];
    return a;
  }
};
template <class T>
void dropout(std::int64_t n, Dropout dropout, const T* x, T beta, T* y) {
  if (dropout.p == 0) return scale(n, T(1), x, beta, y);
  start("dropout", Drop<T>{mask_of<T>(dropout)}, n, x, static_cast<const T*>(nullptr), beta, y);
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
  k.scale = scale<T>;
  k.add = add<T>;
  k.multiply = multiply<T>;
  k.tanh = tanh<T>;
  k.tanh_backward = tanh_backward<T>;
  k.dropout = dropout<T>;
  k.round_bf16 = round_bf16<T>;
}
template void fill_elementwise(Kernels<float>& k);
template void fill_elementwise(Kernels<double>& k);

}  // namespace costeff::COSTEFF_GPU
