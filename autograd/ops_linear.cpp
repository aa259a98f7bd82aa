// Matrix products. A weight is [out, in], as in Hugging Face checkpoints.
#include "autograd/op_support.h"

namespace costeff {
namespace {

// y[m, n] = a[m, k] b[k, n]:  da = dy b^T, db = a^T dy;  y = a b^T, b[n, k]:  da = dy b, db = dy^T a
void matmul_backward(const Record& r, Backward& back) {
  const Tensor& a = r.saved(0);
  const Tensor& b = r.saved(1);
  const bool trans_b = r.attribute(0) != 0;
  const Slot da = back.slot(0);
  const Slot db = back.slot(1);
  const std::int64_t batch = a.shape().rank() == 3 ? a.shape()[0] : 1;
  const std::int64_t m = a.shape()[-2];
  const std::int64_t k = a.shape()[-1];
  const std::int64_t n = back.dy().shape()[-1];
  compute(a, [&]<class T>(const Kernels<T>& kernels) {
    for (std::int64_t i = 0; i < batch; ++i) {
      const T* dy = back.dy().data<T>() + i * m * n;
      if (da) {
        kernels.gemm(false, !trans_b, m, k, n, T(1), dy, n, b.data<T>() + i * k * n, trans_b ? k : n,
                     da.beta<T>(), da.data<T>() + i * m * k, k);
      }
      if (db && trans_b) {
        kernels.gemm(true, false, n, k, m, T(1), dy, n, a.data<T>() + i * m * k, k, db.beta<T>(),
                     db.data<T>() + i * k * n, k);
      } else if (db) {
        kernels.gemm(true, false, k, n, m, T(1), a.data<T>() + i * m * k, k, dy, n, db.beta<T>(),
                     db.data<T>() + i * k * n, n);
      }
    }
  });
}
const Op kMatmul("matmul", "y = a b", matmul_backward);

// y = x W^T + b:  dx = dy W, dW = dy^T x, db = sum over rows of dy
void linear_backward(const Record& r, Backward& back) {
  const Tensor& x = r.saved(0);
  const Tensor& w = r.saved(1);
  const Tensor& dy = back.dy();
  const std::int64_t rows = x.shape()[0];
  const std::int64_t out = w.shape()[0];
  const std::int64_t in = w.shape()[1];
  compute(x, [&]<class T>(const Kernels<T>& k) {
    if (const Slot dx = back.slot(0)) {
      k.gemm(false, false, rows, in, out, T(1), dy.data<T>(), out, w.data<T>(), in, dx.beta<T>(),
             dx.data<T>(), in);
    }
    if (const Slot dw = back.slot(1)) {
      k.gemm(true, false, out, in, rows, T(1), dy.data<T>(), out, x.data<T>(), in, dw.beta<T>(), dw.data<T>(),
             in);
    }
    if (r.inputs.size() < 3) return;
    if (const Slot db = back.slot(2)) k.sum_rows(rows, out, dy.data<T>(), db.beta<T>(), db.data<T>());
  });
}
const Op kLinear("linear", "y = x W^T + b", linear_backward);

Variable linear(const Variable& x, const Variable& w, const Variable* bias) {
  require(x.shape().rank() == 2 && w.shape().rank() == 2 && x.shape()[1] == w.shape()[1], kLinear,
          "x must be [rows, in] and the weight [out, in]", {&x, &w});
  const std::int64_t rows = x.shape()[0];
  const std::int64_t out = w.shape()[0];
  const std::int64_t in = w.shape()[1];
  if (bias != nullptr)
    require(bias->shape() == Shape{out}, kLinear, "the bias must be [out]", {&x, &w, bias});
  Tensor y = empty_like(x.value(), {rows, out});
  compute(y, [&]<class T>(const Kernels<T>& k) {
    if (bias != nullptr) k.fill_rows(rows, out, bias->value().data<T>(), y.data<T>());
    k.gemm(false, true, rows, out, in, T(1), x.value().data<T>(), in, w.value().data<T>(), in,
           bias != nullptr ? T(1) : T(0), y.data<T>(), out);
  });
  Details details{
      .saved = {{"x", x.value()}, {"weight", w.value()}},
      .flops = 2.0 * static_cast<double>(rows) * static_cast<double>(out) * static_cast<double>(in)};
  if (bias == nullptr) return record(kLinear, {&x, &w}, std::move(y), std::move(details));
  return record(kLinear, {&x, &w, bias}, std::move(y), std::move(details));
}

}  // namespace

Variable matmul(const Variable& a, const Variable& b, bool trans_b) {
  const Shape& sa = a.shape();
  const Shape& sb = b.shape();
  const bool ranks = sa.rank() == sb.rank() && (sa.rank() == 2 || (sa.rank() == 3 && sa[0] == sb[0]));
  require(ranks && sa[-1] == (trans_b ? sb[-1] : sb[-2]), kMatmul, "shapes do not fit", {&a, &b});
  const std::int64_t batch = sa.rank() == 3 ? sa[0] : 1;
  const std::int64_t m = sa[-2];
  const std::int64_t k = sa[-1];
  const std::int64_t n = trans_b ? sb[-2] : sb[-1];
  Tensor y = empty_like(a.value(), sa.with_back(n));
  compute(y, [&]<class T>(const Kernels<T>& kernels) {
    for (std::int64_t i = 0; i < batch; ++i) {
      kernels.gemm(false, trans_b, m, n, k, T(1), a.value().data<T>() + i * m * k, k,
                   b.value().data<T>() + i * k * n, trans_b ? k : n, T(0), y.data<T>() + i * m * n, n);
    }
  });
  return record(
      kMatmul, {&a, &b}, std::move(y),
      {.saved = {{"a", a.value()}, {"b", b.value()}},
       .attributes = {{"trans_b", trans_b ? 1.0 : 0.0}},
       .flops = 2.0 * static_cast<double>(batch * m) * static_cast<double>(n) * static_cast<double>(k)});
}

Variable linear(const Variable& x, const Variable& weight) {
  return linear(x, weight, nullptr);
}

Variable linear(const Variable& x, const Variable& weight, const Variable& bias) {
  return linear(x, weight, &bias);
}

}  // namespace costeff
