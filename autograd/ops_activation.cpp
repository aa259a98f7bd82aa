// Elementwise activations and the two softmaxes.
#include "autograd/op_support.h"

namespace costeff {
namespace {

// dx = dy (1 - y^2)
void tanh_backward(const Record& r, Backward& b) {
  const Slot dx = b.slot(0);
  if (!dx) return;
  const Tensor y = r.saved(0).to(b.dy().device());
  compute(b.dy(), [&]<class T>(const Kernels<T>& k) {
    k.tanh_backward(b.dy().numel(), y.data<T>(), b.dy().data<T>(), dx.beta<T>(), dx.data<T>());
  });
}
const Op kTanh("tanh", "y = tanh x", tanh_backward);

// dx = dy (Phi(x) + x phi(x))
void gelu_backward(const Record& r, Backward& b) {
  const Slot dx = b.slot(0);
  if (!dx) return;
  const Tensor x = r.saved(0).to(b.dy().device());
  compute(b.dy(), [&]<class T>(const Kernels<T>& k) {
    k.bias_gelu_backward(b.dy().shape().rows(), b.dy().shape().cols(), x.data<T>(), nullptr, b.dy().data<T>(),
                         dx.beta<T>(), dx.data<T>(), T(0), nullptr);
  });
}
const Op kGelu("gelu", "y = x Phi(x)", gelu_backward);

// with s = x + bias: dx = dy gelu'(s), dbias = sum over rows of dx
void bias_gelu_backward(const Record& r, Backward& b) {
  Slot dx = b.slot(0);
  const Slot dbias = b.slot(1);
  if (!dx && !dbias) return;
  // The kernel's two outputs must not be one buffer, as they are where x is its own bias.
  const Slot both = dx && dbias && dx.tensor.raw() == dbias.tensor.raw() ? dx : Slot{};
  if (!dx || both) dx = {empty_like(b.dy()), false};
  compute(b.dy(), [&]<class T>(const Kernels<T>& k) {
    k.bias_gelu_backward(b.dy().shape().rows(), b.dy().shape().cols(), r.saved(0).data<T>(),
                         r.saved(1).data<T>(), b.dy().data<T>(), dx.beta<T>(), dx.data<T>(),
                         both ? both.beta<T>() : dbias.beta<T>(), dbias.data<T>());
    if (both) k.scale(b.dy().numel(), T(1), dx.data<T>(), T(1), both.data<T>());
  });
}
const Op kBiasGelu("bias_gelu", "y = gelu(x + bias)", bias_gelu_backward);

// dx = y (dy - sum(dy y))
void softmax_backward(const Record& r, Backward& b) {
  const Slot dx = b.slot(0);
  if (!dx) return;
  const Tensor y = r.saved(0).to(b.dy().device());
  compute(b.dy(), [&]<class T>(const Kernels<T>& k) {
    k.softmax_backward(b.dy().shape().rows(), b.dy().shape().cols(), y.data<T>(), b.dy().data<T>(),
                       dx.beta<T>(), dx.data<T>());
  });
}
const Op kSoftmax("softmax", "y = e^x / sum e^x", softmax_backward);

// dx = dy - e^y sum(dy)
void log_softmax_backward(const Record& r, Backward& b) {
  const Slot dx = b.slot(0);
  if (!dx) return;
  const Tensor y = r.saved(0).to(b.dy().device());
  compute(b.dy(), [&]<class T>(const Kernels<T>& k) {
    k.log_softmax_backward(b.dy().shape().rows(), b.dy().shape().cols(), y.data<T>(), b.dy().data<T>(),
                           dx.beta<T>(), dx.data<T>());
  });
}
const Op kLogSoftmax("log_softmax", "y = x - log sum e^x", log_softmax_backward);

}  // namespace

Variable tanh(const Variable& x) {
  Tensor y = empty_like(x.value());
  compute(y, [&]<class T>(const Kernels<T>& k) { k.tanh(y.numel(), x.value().data<T>(), y.data<T>()); });
  Details details{.saved = {{"y", y}}};
  return record(kTanh, {&x}, std::move(y), std::move(details));
}

Variable gelu(const Variable& x) {
  Tensor y = empty_like(x.value());
  compute(y, [&]<class T>(const Kernels<T>& k) {
    k.bias_gelu(y.shape().rows(), y.shape().cols(), x.value().data<T>(), nullptr, y.data<T>());
  });
  return record(kGelu, {&x}, std::move(y), {.saved = {{"x", x.value()}}});
}

Variable bias_gelu(const Variable& x, const Variable& bias) {
  require(x.shape().rank() >= 1 && bias.shape() == Shape{x.shape().cols()}, kBiasGelu,
          "the bias must have the row's length", {&x, &bias});
  Tensor y = empty_like(x.value());
  compute(y, [&]<class T>(const Kernels<T>& k) {
    k.bias_gelu(y.shape().rows(), y.shape().cols(), x.value().data<T>(), bias.value().data<T>(), y.data<T>());
  });
  return record(kBiasGelu, {&x, &bias}, std::move(y), {.saved = {{"x", x.value()}, {"bias", bias.value()}}});
}

Variable softmax(const Variable& x) {
  Tensor y = empty_like(x.value());
  compute(y, [&]<class T>(const Kernels<T>& k) {
    k.softmax(y.shape().rows(), y.shape().cols(), x.value().data<T>(), y.data<T>());
  });
  Details details{.saved = {{"y", y}}};
  return record(kSoftmax, {&x}, std::move(y), std::move(details));
}

Variable log_softmax(const Variable& x) {
  Tensor y = empty_like(x.value());
  compute(y, [&]<class T>(const Kernels<T>& k) {
    k.log_softmax(y.shape().rows(), y.shape().cols(), x.value().data<T>(), y.data<T>());
  });
  Details details{.saved = {{"y", y}}};
  return record(kLogSoftmax, {&x}, std::move(y), std::move(details));
}

}  // namespace costeff
