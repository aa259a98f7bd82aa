// Kernels that treat every row by itself, written once. A backend includes this file after its
// for_rows(name, rows, cols, cost, f), which calls f(row, first element of the row) for each row, and its
// Row: row.sum(f) and row.largest(f) over the columns c of f(c), row.each(f), and row.put(to, f), which has
// to[c] = f(c). `cost` is that of an element beside an addition's. COSTEFF_ROW declares what is called for a
// row.
#pragma once

namespace costeff::COSTEFF_BACKEND {

// Softmax and log-softmax: the row's largest element is subtracted first, so that wide values neither
// overflow nor vanish. An element of -inf gets probability 0; a row with a NaN, with +inf or of nothing but
// -inf becomes NaN. y may be x.
template <class T>
struct Softmax {
  const T* x;
  T* y;
  COSTEFF_ROW void operator()(const Row& row, std::int64_t at) const {
    const T* in = x + at;
    T* out = y + at;
    const T top = row.largest([=](std::int64_t c) { return in[c]; });
    const T sum = row.sum([=](std::int64_t c) {
      const T e = math::exp(in[c] - top);
      out[c] = e;
      return e;
    });
    const T inverse = T(1) / sum;
    row.each([=](std::int64_t c) { out[c] *= inverse; });
  }
};
// dx = y (dy - sum y dy)
template <class T>
struct SoftmaxBackward {
  const T *y, *dy;
  Target<T> dx;
  COSTEFF_ROW void operator()(const Row& row, std::int64_t at) const {
    const T *out = y + at, *dout = dy + at;
    const T dot = row.sum([=](std::int64_t c) { return out[c] * dout[c]; });
    row.put(dx, at, [=](std::int64_t c) { return out[c] * (dout[c] - dot); });
  }
};

template <class T>
struct LogSoftmax {
  const T* x;
  T* y;
  COSTEFF_ROW void operator()(const Row& row, std::int64_t at) const {
    const T* in = x + at;
    T* out = y + at;
    const T top = row.largest([=](std::int64_t c) { return in[c]; });
    const T log_sum = std::log(row.sum([=](std::int64_t c) { return math::exp(in[c] - top); }));
    // Not in[c] - (top + log_sum): beside a top of 1e3 that would round the logarithm away.
    row.each([=](std::int64_t c) { out[c] = (in[c] - top) - log_sum; });
  }
};
// dx = dy - e^y sum dy
template <class T>
struct LogSoftmaxBackward {
  const T *y, *dy;
  Target<T> dx;
  COSTEFF_ROW void operator()(const Row& row, std::int64_t at) const {
    const T *out = y + at, *dout = dy + at;
    const T sum = row.sum([=](std::int64_t c) { return dout[c]; });
    row.put(dx, at, [=](std::int64_t c) { return dout[c] - math::exp(out[c]) * sum; });
  }
};

// dz = scale (e^log_p sum target - target)
template <class T>
struct CrossEntropyBackward {
  const T *log_p, *target;
  T scale;
  Target<T> dz;
  COSTEFF_ROW void operator()(const Row& row, std::int64_t at) const {
    const T *lp = log_p + at, *t = target + at;
    const T factor = scale;
    const T mass = row.sum([=](std::int64_t c) { return t[c]; });
    row.put(dz, at, [=](std::int64_t c) { return factor * (math::exp(lp[c]) * mass - t[c]); });
  }
};

// da = scale w (a - b)
template <class T>
struct SquaredErrorBackward {
  const T *w, *a, *b;
  T scale;
  Target<T> da;
  COSTEFF_ROW void operator()(const Row& row, std::int64_t at) const {
    const T *x = a + at, *y = b + at;
    const T factor = w == nullptr ? scale : scale * w[at / row.cols];
    row.put(da, at, [=](std::int64_t c) { return factor * (x[c] - y[c]); });
  }
};

template <class T>
void fill_rowwise(Kernels<T>& k) {
  using Size = std::int64_t;
  k.softmax = [](Size rows, Size cols, const T* x, T* y) {
    for_rows("softmax", rows, cols, 8, Softmax<T>{x, y});
  };
  k.softmax_backward = [](Size rows, Size cols, const T* y, const T* dy, T keep, T* dx) {
    for_rows("softmax_backward", rows, cols, 2, SoftmaxBackward<T>{y, dy, {dx, keep}});
  };
  k.log_softmax = [](Size rows, Size cols, const T* x, T* y) {
    for_rows("log_softmax", rows, cols, 8, LogSoftmax<T>{x, y});
  };
  k.log_softmax_backward = [](Size rows, Size cols, const T* y, const T* dy, T keep, T* dx) {
    for_rows("log_softmax_backward", rows, cols, 8, LogSoftmaxBackward<T>{y, dy, {dx, keep}});
  };
  k.cross_entropy_backward = [](Size rows, Size classes, const T* log_p, const T* target, T scale, T keep,
                                T* dz) {
    for_rows("cross_entropy_backward", rows, classes, 8,
             CrossEntropyBackward<T>{log_p, target, scale, {dz, keep}});
  };
  k.squared_error_backward = [](Size rows, Size cols, const T* w, T scale, const T* a, const T* b, T keep,
                                T* da) {
    for_rows("squared_error_backward", rows, cols, 1, SquaredErrorBackward<T>{w, a, b, scale, {da, keep}});
  };
}
template void fill_rowwise(Kernels<float>& k);
template void fill_rowwise(Kernels<double>& k);

}  // namespace costeff::COSTEFF_BACKEND
