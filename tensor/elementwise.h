// Elementwise kernels, written once: a formula for one element, and a line that makes it an entry of the
// table. A backend includes this file after its map(name, cost, n, f, y, x...), which has y[i] = f(x[i]...)
// for all of n elements; `cost` is that of an element beside an addition's.
#pragma once

namespace costeff::COSTEFF_BACKEND {

template <class T>
struct Scaled {
  T alpha;
  COSTEFF_INLINE T operator()(T x) const { return alpha * x; }
};
template <class T>
struct Sum {
  COSTEFF_INLINE T operator()(T a, T b) const { return a + b; }
};
template <class T>
struct Product {
  COSTEFF_INLINE T operator()(T a, T b) const { return a * b; }
};
template <class T>
struct Tanh {
  COSTEFF_INLINE T operator()(T x) const { return math::tanh(x); }
};
template <class T>
struct TanhBackward {
  COSTEFF_INLINE T operator()(T y, T dy) const { return dy * (T(1) - y * y); }
};

template <class T>
void fill_maps(Kernels<T>& k) {
  using Size = std::int64_t;
  k.scale = [](Size n, T alpha, const T* x, T keep, T* y) {
    map("scale", 1, n, Scaled<T>{alpha}, Target<T>{y, keep}, x);
  };
  k.add = [](Size n, const T* a, const T* b, T* y) { map("add", 1, n, Sum<T>{}, Target<T>{y}, a, b); };
  k.multiply = [](Size n, const T* a, const T* b, T keep, T* y) {
    map("multiply", 1, n, Product<T>{}, Target<T>{y, keep}, a, b);
  };
  k.tanh = [](Size n, const T* x, T* y) { map("tanh", 16, n, Tanh<T>{}, Target<T>{y}, x); };
  k.tanh_backward = [](Size n, const T* y, const T* dy, T keep, T* dx) {
    map("tanh_backward", 1, n, TanhBackward<T>{}, Target<T>{dx, keep}, y, dy);
  };
}

}  // namespace costeff::COSTEFF_BACKEND
