#include "autograd/gradient_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tensor/error.h"
#include "tensor/philox.h"

namespace costeff {
namespace {

// Entries of either sign with a magnitude in [1/4, 1): none is small enough to hide an error.
Tensor asymmetric_cotangent(const Shape& shape) {
  constexpr std::array<std::uint32_t, 2> key = {0x9E3779B9u, 0x243F6A88u};
  Tensor cotangent = Tensor::empty(shape, DType::f64);
  std::uint32_t i = 0;
  for (double& c : cotangent.span<double>()) {
    const auto random = philox4x32({i++, 0, 0, 0}, key);
    const double magnitude = 0.25 + 0.75 * std::ldexp(random[0], -32);
    c = (random[1] & 1u) != 0 ? magnitude : -magnitude;
  }
  return cotangent;
}

// The function as differences see it: its inputs are constants, so nothing is recorded.
class Probe {
 public:
  Probe(const Differentiable& function, std::span<const Tensor> inputs, Tensor cotangent)
      : function_(function), cotangent_(std::move(cotangent)) {
    for (const Tensor& x : inputs) inputs_.push_back(x.clone());
  }

  double derivative(std::size_t input, std::int64_t entry, double step) const {
    double& x = inputs_[input].host<double>()[entry];
    const double h = step * std::max(1.0, std::abs(x));
    double d[] = {difference(x, h), difference(x, h / 2), difference(x, h / 4)};
    d[0] = (4 * d[1] - d[0]) / 3;
    d[1] = (4 * d[2] - d[1]) / 3;
    return (16 * d[1] - d[0]) / 15;
  }

 private:
  Tensor evaluate() const {
    const std::vector<Variable> constants(inputs_.begin(), inputs_.end());
    return function_(constants).value();
  }

  // (F(x + h) - F(x - h)) / 2h. The outputs are subtracted before they are summed: what the input does not
  // move cancels exactly.
  double difference(double& x, double h) const {
    const double old = x;
    const double above = old + h;
    const double below = old - h;
    x = above;
    const Tensor y_above = evaluate().clone();
    x = below;
    const Tensor y_below = evaluate().clone();
    x = old;
    double sum = 0;
    for (std::int64_t i = 0; i < cotangent_.numel(); ++i) {
      sum += cotangent_.host<double>()[i] * (y_above.host<double>()[i] - y_below.host<double>()[i]);
    }
    return sum / (above - below);
  }

  const Differentiable& function_;
  std::vector<Tensor> inputs_;
  Tensor cotangent_;
};

// All entries, or `limit` of them: one from each of `limit` equal stretches, at a pseudo-random place.
std::vector<std::int64_t> entries_of(std::int64_t numel, std::int64_t limit) {
  std::vector<std::int64_t> entries;
  const std::int64_t count = limit > 0 ? std::min(limit, numel) : numel;
  for (std::int64_t k = 0; k < count; ++k) {
    const std::int64_t begin = k * numel / count;
    const std::int64_t width = (k + 1) * numel / count - begin;
    const auto random = philox4x32({static_cast<std::uint32_t>(k), 0, 0, 0}, {1, 2});
    entries.push_back(begin + static_cast<std::int64_t>(random[0]) % width);
  }
  return entries;
}

}  // namespace

Derivative differentiate(const std::function<double(double)>& function, double x, double step) {
  constexpr std::size_t kLeast = 4, kMost = 10;  // steps
  Derivative best{0, std::numeric_limits<double>::infinity()};
  std::vector<double> before;  // D of the step before, and its extrapolations
  for (std::size_t k = 0; k < kMost; ++k) {
    const double h = std::ldexp(step, -static_cast<int>(k));
    const double above = x + h, below = x - h;
    std::vector<double> row = {(function(above) - function(below)) / (above - below)};
    row.reserve(k + 1);
    for (std::size_t i = 1; i <= k; ++i) {
      const double power = std::ldexp(1.0, 2 * static_cast<int>(i));  // the error's next term falls so much
      row.push_back((power * row[i - 1] - before[i - 1]) / (power - 1));
      const double error = std::max(std::abs(row[i] - row[i - 1]), std::abs(row[i] - before[i - 1]));
      if (error <= best.error) best = {row[i], error};
    }
    // Rounding has taken over.
    if (k + 1 >= kLeast && std::abs(row[k] - before[k - 1]) >= 2 * best.error) break;
    before = std::move(row);
  }
  return best;
}

std::string GradientCheck::describe() const {
  if (compared == 0) return "gradient check: nothing to compare";
  return fmt::format(
      "gradient check: relative error {:.3g} (against {:.6g}) at entry {} of input {}: backward {:.12g}, "
      "differences {:.12g}; the worst of {} entries",
      worst, scale, entry, input, analytic, numeric, compared);
}

GradientCheck check_gradient(const Differentiable& function, std::span<const Tensor> inputs,
                             const GradientCheckOptions& options) {
  Tape tape;
  std::vector<Variable> leaves;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].dtype() != DType::f64) {
      fail("gradient check: input {} is {}, differences need f64", i, costeff::describe(inputs[i]));
    }
    leaves.push_back(tape.leaf(inputs[i], fmt::format("input.{}", i)));
  }
  const Variable output = function(leaves);
  if (output.dtype() != DType::f64) {
    fail("gradient check: the output is {}, differences need f64", costeff::describe(output.value()));
  }
  const Root root[] = {{output, asymmetric_cotangent(output.shape())}};
  const Gradients gradients = tape.backward(root);
  const Probe probe(function, inputs, root[0].cotangent);

  GradientCheck result;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Tensor gradient = gradients.of(leaves[i]);  // undefined where nothing came: zero
    const std::vector<std::int64_t> entries = entries_of(inputs[i].numel(), options.max_entries);
    std::vector<double> analytic;
    std::vector<double> numeric;
    double scale = options.floor;
    for (const std::int64_t entry : entries) {
      analytic.push_back(gradient.defined() ? gradient.host<double>()[entry] : 0);
      numeric.push_back(probe.derivative(i, entry, options.step));
      for (const double g : {analytic.back(), numeric.back()}) {
        if (std::isfinite(g)) scale = std::max(scale, std::abs(g));
      }
    }
    for (std::size_t k = 0; k < entries.size(); ++k) {
      double error = std::abs(analytic[k] - numeric[k]) / scale;
      if (!std::isfinite(error)) error = std::numeric_limits<double>::infinity();
      if (result.compared++ == 0 || error > result.worst) {
        result = {error, i, entries[k], analytic[k], numeric[k], scale, result.compared};
      }
    }
  }
  return result;
}

}  // namespace costeff
