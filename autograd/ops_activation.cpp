// Elementwise activations and the two softmaxes.
#include "autograd/op_support.h"

namespace costeff {

// dx = dy (1 - y^2)
static void tanh_backward(const Record& r, Backward& b) {
  const Slot dx = b.slot(0);
  if (!dx) return;
  const auto [y] = r.saved<1>(b.dy().device());
  run(y, COSTEFF_KERNEL(tanh_backward), y.numel(), y, b.dy(), dx);
}
const Op kTanh("tanh", "y = tanh x", tanh_backward);

Variable tanh(const Variable& x) {
  Tensor y = empty_like(x.value());
  run(y, COSTEFF_KERNEL(tanh), y.numel(), x.value(), y);
  Details details{.saved = {{"y", y}}};
  return record(kTanh, {&x}, std::move(y), std::move(details));
}

static Tensor gelu_of(const Tensor& x, const Tensor& bias) {
  Tensor y = empty_like(x);
  run(y, COSTEFF_KERNEL(bias_gelu), rows_of(y), x, bias, y);
  return y;
}

static void gelu_of_backward(const Tensor& x, const Tensor& bias, const Tensor& dy, const Slot& dx,
                             const Slot& dbias) {
  compute(dy, [&]<class T>(const Kernels<T>& k) {
    k.bias_gelu_backward({.rows = dy.shape().rows(),
                          .cols = dy.shape().cols(),
                          .x = x.data<T>(),
                          .bias = data_if<T>(bias),
                          .dy = dy.data<T>(),
                          .dx = dx,
                          .dbias = dbias});
  });
}

// dx = dy (Phi(x) + x phi(x))
static void gelu_backward(const Record& r, Backward& b) {
  const auto [x] = r.saved<1>(b.dy().device());
  if (const Slot dx = b.slot(0)) gelu_of_backward(x, {}, b.dy(), dx, {});
}
const Op kGelu("gelu", "y = x Phi(x)", gelu_backward);

Variable gelu(const Variable& x) {
  return record(kGelu, {&x}, gelu_of(x.value(), {}), {.saved = {{"x", x.value()}}});
}

// with s = x + bias: dx = dy gelu'(s), dbias = sum over rows of dx
static void bias_gelu_backward(const Record& r, Backward& b) {
  const auto [x, bias] = r.saved<2>();  // [rows, cols], [cols]
  Slot dx = b.slot(0);
  const Slot dbias = b.slot(1);
  if (!dx && !dbias) return;
  if (!dx) dx = {empty_like(b.dy())};
  gelu_of_backward(x, bias, b.dy(), dx, dbias);
}
const Op kBiasGelu("bias_gelu", "y = gelu(x + bias)", bias_gelu_backward);

Variable bias_gelu(const Variable& x, const Variable& bias) {
  require(x.shape().rank() >= 1 && bias.shape() == Shape{x.shape().cols()}, kBiasGelu,
          "the bias must have the row's length", {&x, &bias});
  return record(kBiasGelu, {&x, &bias}, gelu_of(x.value(), bias.value()),
                {.saved = {{"x", x.value()}, {"bias", bias.value()}}});
}

// dx = y (dy - sum(dy y))
static void softmax_backward(const Record& r, Backward& b) {
  const Slot dx = b.slot(0);
  if (!dx) return;
  const auto [y] = r.saved<1>(b.dy().device());
  run(y, COSTEFF_KERNEL(softmax_backward), rows_of(y), y, b.dy(), dx);
}
const Op kSoftmax("softmax", "y = e^x / sum e^x", softmax_backward);

Variable softmax(const Variable& x) {
  Tensor y = empty_like(x.value());
  run(y, COSTEFF_KERNEL(softmax), rows_of(y), x.value(), y);
  Details details{.saved = {{"y", y}}};
  return record(kSoftmax, {&x}, std::move(y), std::move(details));
}

// dx = dy - e^y sum(dy)
static void log_softmax_backward(const Record& r, Backward& b) {
  const Slot dx = b.slot(0);
  if (!dx) return;
  const auto [y] = r.saved<1>(b.dy().device());
  run(y, COSTEFF_KERNEL(log_softmax_backward), rows_of(y), y, b.dy(), dx);
}
const Op kLogSoftmax("log_softmax", "y = x - log sum e^x", log_softmax_backward);

Variable log_softmax(const Variable& x) {
  Tensor y = empty_like(x.value());
  run(y, COSTEFF_KERNEL(log_softmax), rows_of(y), x.value(), y);
  Details details{.saved = {{"y", y}}};
  return record(kLogSoftmax, {&x}, std::move(y), std::move(details));
}

}  // namespace costeff
