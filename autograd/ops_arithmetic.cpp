// Sums, products, scalings. None saves more than its formula needs: a sum saves nothing.
#include "autograd/op_support.h"

namespace costeff {
namespace {

// d = s * dy into the slot of an input. (Of a reshape one of the two may be a scalar, which is on the host.)
void pass_scaled(Backward& b, std::size_t input, double s) {
  const Slot slot = b.slot(input);
  if (!slot) return;
  const Tensor dy = b.dy().to(slot.tensor.device());
  compute(dy, [&]<class T>(const Kernels<T>& k) {
    k.scale(dy.numel(), static_cast<T>(s), dy.data<T>(), slot.beta<T>(), slot.data<T>());
  });
}

// da = dy, db = dy: each input has an adjoint of its own.
void add_backward(const Record& /*r*/, Backward& b) {
  pass_scaled(b, 0, 1);
  pass_scaled(b, 1, 1);
}
const Op kAdd("add", "y = a + b", add_backward);

// da = dy b, db = dy a
void multiply_backward(const Record& r, Backward& b) {
  for (std::size_t i = 0; i < 2; ++i) {
    const Slot slot = b.slot(i);
    if (!slot) continue;
    const Tensor other = r.saved(1 - i).to(b.dy().device());
    compute(b.dy(), [&]<class T>(const Kernels<T>& k) {
      k.multiply(b.dy().numel(), b.dy().data<T>(), other.data<T>(), slot.beta<T>(), slot.data<T>());
    });
  }
}
const Op kMultiply("multiply", "y = a b", multiply_backward);

// dx = factor dy
void scale_backward(const Record& r, Backward& b) {
  pass_scaled(b, 0, r.attribute(0));
}
const Op kScale("scale", "y = factor x", scale_backward);

// dx = factor dy, though y = x
void gradient_rescale_backward(const Record& r, Backward& b) {
  pass_scaled(b, 0, b.rescale() ? r.attribute(0) : 1);
}
const Op kGradientRescale("gradient_rescale", "y = x, dx = factor dy", gradient_rescale_backward);

// dx = dy in every element, over n for the mean
void spread_backward(const Record& r, Backward& b) {
  const Slot slot = b.slot(0);
  if (!slot) return;
  const Tensor spread =
      Tensor::full(slot.tensor.shape(), b.dy().item() * r.attribute(0), b.dy().dtype(), slot.tensor.device());
  compute(spread, [&]<class T>(const Kernels<T>& k) {
    k.scale(spread.numel(), T(1), spread.data<T>(), slot.beta<T>(), slot.data<T>());
  });
}
const Op kSum("sum", "y = sum x", spread_backward);
const Op kMean("mean", "y = sum x / n", spread_backward);

// dx = mask dy / (1 - p): the same kernel draws the same mask
void dropout_backward(const Record& r, Backward& b) {
  const Slot slot = b.slot(0);
  if (!slot) return;
  compute(b.dy(), [&]<class T>(const Kernels<T>& k) {
    k.dropout(b.dy().numel(), r.details.dropout, b.dy().data<T>(), slot.beta<T>(), slot.data<T>());
  });
}
const Op kDropout("dropout", "y = x mask / (1 - p)", dropout_backward);

const Op kReshape("reshape", "y = x in another shape",
                  [](const Record& /*r*/, Backward& b) { pass_scaled(b, 0, 1); });

Variable reduce(const Op& op, const Variable& x, double factor) {
  Tensor y = empty_like(x.value(), {});
  compute(y, [&]<class T>(const Kernels<T>& k) {
    k.sum(x.value().numel(), x.value().data<T>(), y.data<T>());
    k.scale(1, static_cast<T>(factor), y.data<T>(), T(0), y.data<T>());
  });
  return record(op, {&x}, std::move(y), {.attributes = {{"factor", factor}}});
}

}  // namespace

Variable add(const Variable& a, const Variable& b) {
  require(a.shape() == b.shape(), kAdd, "unequal shapes", {&a, &b});
  Tensor y = empty_like(a.value());
  compute(y, [&]<class T>(const Kernels<T>& k) {
    k.add(y.numel(), a.value().data<T>(), b.value().data<T>(), y.data<T>());
  });
  return record(kAdd, {&a, &b}, std::move(y), {});
}

Variable multiply(const Variable& a, const Variable& b) {
  require(a.shape() == b.shape(), kMultiply, "unequal shapes", {&a, &b});
  Tensor y = empty_like(a.value());
  compute(y, [&]<class T>(const Kernels<T>& k) {
    k.multiply(y.numel(), a.value().data<T>(), b.value().data<T>(), T(0), y.data<T>());
  });
  return record(kMultiply, {&a, &b}, std::move(y), {.saved = {{"a", a.value()}, {"b", b.value()}}});
}

Variable scale(const Variable& x, double factor) {
  Tensor y = empty_like(x.value());
  compute(y, [&]<class T>(const Kernels<T>& k) {
    k.scale(y.numel(), static_cast<T>(factor), x.value().data<T>(), T(0), y.data<T>());
  });
  return record(kScale, {&x}, std::move(y), {.attributes = {{"factor", factor}}});
}

Variable gradient_rescale(const Variable& x, double factor) {
  return record(kGradientRescale, {&x}, x.value(), {.attributes = {{"factor", factor}}});
}

Variable detach(const Variable& x) {
  return Variable(x.value());
}

Variable sum(const Variable& x) {
  return reduce(kSum, x, 1);
}

Variable mean(const Variable& x) {
  require(x.value().numel() > 0, kMean, "the mean of nothing", {&x});
  return reduce(kMean, x, 1 / static_cast<double>(x.value().numel()));
}

Variable dropout(const Variable& x, const Dropout& dropout) {
  require_probability(dropout, kDropout, {&x});
  if (dropout.p == 0) return x;
  Tensor y = empty_like(x.value());
  compute(y, [&]<class T>(const Kernels<T>& k) {
    k.dropout(y.numel(), dropout, x.value().data<T>(), T(0), y.data<T>());
  });
  return record(kDropout, {&x}, std::move(y), {.attributes = {{"p", dropout.p}}, .dropout = dropout});
}

Variable reshape(const Variable& x, const Shape& shape) {
  if (shape.numel() != x.shape().numel()) {
    fail("op {}: {} cannot have the shape {}", kReshape.name, describe(x.value()), to_string(shape));
  }
  return record(kReshape, {&x}, x.value().reshape(shape), {});
}

}  // namespace costeff
