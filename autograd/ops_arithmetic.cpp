// Sums, products, scalings. None saves more than its formula needs: a sum saves nothing.
#include "autograd/op_support.h"

namespace costeff {

// d = s * dy into the slot of an input. (Of a reshape one of the two may be a scalar, which is on the host.)
static void pass_scaled(Backward& b, std::size_t input, double s) {
  const Slot d = b.slot(input);
  if (!d) return;
  const Tensor dy = b.dy().to(d.tensor.device());
  run(dy, COSTEFF_KERNEL(scale), dy.numel(), s, dy, d);
}

// da = dy, db = dy
static void add_backward(const Record& /*r*/, Backward& b) {
  pass_scaled(b, 0, 1);
  pass_scaled(b, 1, 1);
}
const Op kAdd("add", "y = a + b", add_backward);

Variable add(const Variable& a, const Variable& b) {
  require(a.shape() == b.shape(), kAdd, "unequal shapes", {&a, &b});
  Tensor y = empty_like(a.value());
  run(y, COSTEFF_KERNEL(add), y.numel(), a.value(), b.value(), y);
  return record(kAdd, {&a, &b}, std::move(y), {});
}

// da = dy b, db = dy a
static void multiply_backward(const Record& r, Backward& back) {
  const auto [a, b] = r.saved<2>(back.dy().device());
  const Tensor& dy = back.dy();
  if (const Slot da = back.slot(0)) run(dy, COSTEFF_KERNEL(multiply), dy.numel(), dy, b, da);
  if (const Slot db = back.slot(1)) run(dy, COSTEFF_KERNEL(multiply), dy.numel(), dy, a, db);
}
const Op kMultiply("multiply", "y = a b", multiply_backward);

Variable multiply(const Variable& a, const Variable& b) {
  require(a.shape() == b.shape(), kMultiply, "unequal shapes", {&a, &b});
  Tensor y = empty_like(a.value());
  run(y, COSTEFF_KERNEL(multiply), y.numel(), a.value(), b.value(), Slot{y});
  return record(kMultiply, {&a, &b}, std::move(y), {.saved = {{"a", a.value()}, {"b", b.value()}}});
}

// dx = factor dy
static void scale_backward(const Record& r, Backward& b) {
  const auto [factor] = r.attributes<1>();
  pass_scaled(b, 0, factor);
}
const Op kScale("scale", "y = factor x", scale_backward);

Variable scale(const Variable& x, double factor) {
  Tensor y = empty_like(x.value());
  run(y, COSTEFF_KERNEL(scale), y.numel(), factor, x.value(), Slot{y});
  return record(kScale, {&x}, std::move(y), {.attributes = {{"factor", factor}}});
}

// dx = factor dy, though y = x
const Op kGradientRescale("gradient_rescale", "y = x, dx = factor dy", scale_backward);

Variable gradient_rescale(const Variable& x, double factor) {
  return record(kGradientRescale, {&x}, x.value(), {.attributes = {{"factor", factor}}});
}

Variable detach(const Variable& x) {
  return Variable(x.value());
}

// dx = factor dy in every element; factor is 1, or 1 / n for the mean
static void spread_backward(const Record& r, Backward& b) {
  const Slot dx = b.slot(0);
  if (!dx) return;
  const auto [factor] = r.attributes<1>();
  const Tensor spread =
      Tensor::full(dx.tensor.shape(), b.dy().item() * factor, b.dy().dtype(), dx.tensor.device());
  run(spread, COSTEFF_KERNEL(scale), spread.numel(), 1.0, spread, dx);
}
const Op kSum("sum", "y = sum x", spread_backward);
const Op kMean("mean", "y = sum x / n", spread_backward);

static Variable reduce(const Op& op, const Variable& x, double factor) {
  Tensor y = empty_like(x.value(), {});
  run(y, COSTEFF_KERNEL(sum), x.value().numel(), x.value(), y);
  run(y, COSTEFF_KERNEL(scale), std::int64_t{1}, factor, y, Slot{y});
  return record(op, {&x}, std::move(y), {.attributes = {{"factor", factor}}});
}

Variable sum(const Variable& x) {
  return reduce(kSum, x, 1);
}

Variable mean(const Variable& x) {
  require(x.value().numel() > 0, kMean, "the mean of nothing", {&x});
  return reduce(kMean, x, 1 / static_cast<double>(x.value().numel()));
}

// dx = mask dy / (1 - p): the same kernel draws the same mask
static void dropout_backward(const Record& r, Backward& b) {
  const Slot dx = b.slot(0);
  if (!dx) return;
  run(b.dy(), COSTEFF_KERNEL(dropout), b.dy().numel(), r.details.dropout, b.dy(), dx);
}
const Op kDropout("dropout", "y = x mask / (1 - p)", dropout_backward);

Variable dropout(const Variable& x, const Dropout& dropout) {
  require_probability(dropout, kDropout, {&x});
  if (dropout.p == 0) return x;
  Tensor y = empty_like(x.value());
  run(y, COSTEFF_KERNEL(dropout), y.numel(), dropout, x.value(), Slot{y});
  return record(kDropout, {&x}, std::move(y), {.attributes = {{"p", dropout.p}}, .dropout = dropout});
}

const Op kReshape("reshape", "y = x in another shape",
                  [](const Record& /*r*/, Backward& b) { pass_scaled(b, 0, 1); });

Variable reshape(const Variable& x, const Shape& shape) {
  if (shape.numel() != x.shape().numel()) {
    fail("op {}: {} cannot have the shape {}", kReshape.name, describe(x.value()), to_string(shape));
  }
  return record(kReshape, {&x}, x.value().reshape(shape), {});
}

}  // namespace costeff
