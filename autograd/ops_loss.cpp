// Losses: scalars, means over rows.
#include "autograd/op_support.h"

namespace costeff {

// y = -mean over rows of target . log_softmax(z / T):  dz = (softmax(z / T) - target) dy / (T rows), for
// targets that sum to 1
static void cross_entropy_backward(const Record& r, Backward& b) {
  const Slot dz = b.slot(0);
  if (!dz) return;
  const auto [log_p, target] = r.saved<2>();  // [rows, classes]
  const auto [temperature] = r.attributes<1>();
  const double factor = b.dy().item() / (temperature * static_cast<double>(log_p.shape()[0]));
  run(log_p, COSTEFF_KERNEL(cross_entropy_backward), rows_of(log_p), log_p, target, factor, dz);
}
const Op kCrossEntropy("cross_entropy", "y = -mean log softmax(z)[label]", cross_entropy_backward);
const Op kSoftCrossEntropy("soft_cross_entropy", "y = -mean softmax(t / T) . log softmax(z / T)",
                           cross_entropy_backward);

// log_softmax(x / T)
static Tensor log_softmax_at(const Tensor& x, double temperature) {
  Tensor y = empty_like(x);
  run(x, COSTEFF_KERNEL(scale), x.numel(), 1 / temperature, x, Slot{y});
  run(x, COSTEFF_KERNEL(log_softmax), rows_of(x), y, y);
  return y;
}

static Variable against_target(const Op& op, const Variable& logits, const Tensor& target,
                               double temperature) {
  const Tensor log_p = log_softmax_at(logits.value(), temperature);
  Tensor y = empty_like(log_p, {});
  run(y, COSTEFF_KERNEL(cross_entropy), rows_of(log_p), log_p, target, y);
  return record(
      op, {&logits}, std::move(y),
      {.saved = {{"log_p", log_p}, {"target", target}}, .attributes = {{"temperature", temperature}}});
}

Variable cross_entropy(const Variable& logits, const Tensor& labels) {
  const Shape& shape = logits.shape();
  require(shape.rank() == 2 && shape[0] > 0 && labels.dtype() == DType::i32 && labels.numel() == shape[0],
          kCrossEntropy, "logits must be [rows, classes] with a label for each row", {&logits});
  const Tensor target = Tensor::zeros(shape, logits.dtype());
  dispatch(logits.dtype(), [&](auto element) {
    using T = decltype(element);
    for (std::int64_t row = 0; row < shape[0]; ++row) {
      const std::int32_t label = labels.host<std::int32_t>()[row];
      if (label < 0 || label >= shape[1])
        fail("op {}: label {} with {} classes", kCrossEntropy.name, label, shape[1]);
      target.host<T>()[row * shape[1] + label] = T(1);
    }
  });
  return against_target(kCrossEntropy, logits, target.to(logits.value().device()), 1);
}

Variable soft_cross_entropy(const Variable& logits, const Tensor& teacher, double temperature) {
  require(logits.shape().rank() == 2 && logits.shape()[0] > 0 && logits.shape() == teacher.shape() &&
              logits.dtype() == teacher.dtype(),
          kSoftCrossEntropy, "logits and teacher must be [rows, classes]", {&logits});
  require(temperature > 0, kSoftCrossEntropy, "the temperature must be positive", {&logits});
  require_one_device(kSoftCrossEntropy, logits.value(), teacher);
  const Tensor target = empty_like(teacher);
  run(target, COSTEFF_KERNEL(scale), teacher.numel(), 1 / temperature, teacher, Slot{target});
  run(target, COSTEFF_KERNEL(softmax), rows_of(target), target, target);
  return against_target(kSoftCrossEntropy, logits, target, temperature);
}

// y = scale * sum_r w_r |a_r - b_r|^2:  da = 2 scale w_r (a - b) dy, db = -da
static void squared_error_backward(const Record& r, Backward& back) {
  const auto [scale] = r.attributes<1>();
  const double factor = 2 * scale * back.dy().item();
  for (std::size_t i = 0; i < 2; ++i) {
    const Slot d = back.slot(i);
    if (!d) continue;
    const auto [a, b] = r.saved<2>(d.tensor.device());  // [rows, n]
    const Tensor weights = r.saved_if("weights");       // [rows], or none
    run(a, COSTEFF_KERNEL(squared_error_backward), rows_of(a), weights, i == 0 ? factor : -factor, a, b, d);
  }
}
const Op kSquaredError("mean_squared_error", "y = mean (a - b)^2", squared_error_backward);
const Op kWeightedSquaredError("weighted_squared_error", "y = sum_r w_r |a_r - b_r|^2",
                               squared_error_backward);

static Variable squared_error(const Op& op, const Variable& a, const Variable& b, const Tensor& weights,
                              double scale) {
  Tensor y = empty_like(a.value(), {});
  Details details{.saved = {{"a", a.value()}, {"b", b.value()}}, .attributes = {{"scale", scale}}};
  if (weights.defined()) details.saved.push_back({"weights", weights});
  run(y, COSTEFF_KERNEL(squared_error), rows_of(a.value()), weights, scale, a.value(), b.value(), y);
  return record(op, {&a, &b}, std::move(y), std::move(details));
}

Variable mean_squared_error(const Variable& a, const Variable& b) {
  require(a.shape() == b.shape() && a.value().numel() > 0, kSquaredError, "unequal shapes", {&a, &b});
  return squared_error(kSquaredError, a, b, {}, 1.0 / static_cast<double>(a.value().numel()));
}

Variable weighted_squared_error(const Variable& a, const Variable& b, const Tensor& weights) {
  require(a.shape() == b.shape() && a.shape().rank() == 2 && a.value().numel() > 0 &&
              weights.dtype() == a.dtype() && weights.shape() == Shape{a.shape()[0]},
          kWeightedSquaredError, "a and b must be [rows, n] with a weight for each row", {&a, &b});
  require_one_device(kWeightedSquaredError, a.value(), weights);
  return squared_error(kWeightedSquaredError, a, b, weights, 1);
}

}  // namespace costeff
