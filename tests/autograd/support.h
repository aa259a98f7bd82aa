// What the tests of this room share: made-up numbers, comparisons, expected errors.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "autograd/ops.h"
#include "tensor/error.h"

namespace costeff::testing {

// Pseudo-random numbers in (-2, 2), denser around 0; another `stream`, other numbers. All are exact in f32.
inline Tensor random_tensor(const Shape& shape, std::uint32_t stream, DType dtype = DType::f64) {
  Tensor t = Tensor::empty(shape, DType::f64);
  std::uint32_t i = 0;
  for (double& x : t.span<double>()) {
    const auto bits = philox4x32({i++, stream, 0, 0}, {7, 11});
    x = static_cast<float>(std::ldexp(bits[0], -31) + std::ldexp(bits[1], -31) - 2);
  }
  return t.to(dtype);
}

inline Tensor indices(std::initializer_list<std::int32_t> values) {
  return Tensor::from<std::int32_t>(std::span(values.begin(), values.size()),
                                    {static_cast<std::int64_t>(values.size())});
}

inline LayoutPtr layout_of(std::initializer_list<std::int32_t> offsets,
                           std::initializer_list<std::int32_t> lengths = {}) {
  return make_layout(std::span(offsets.begin(), offsets.size()), std::span(lengths.begin(), lengths.size()));
}

inline std::vector<double> values_of(const Tensor& t) {
  const Tensor wide = t.to(kCpu).to(DType::f64);
  return {wide.host<double>(), wide.host<double>() + wide.numel()};
}

// The largest difference, against the largest entry of `expected`; infinite for NaN and unequal shapes.
inline double relative_error(const Tensor& actual, const Tensor& expected) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (!actual.defined() || !expected.defined() || !(actual.shape() == expected.shape())) return kInfinity;
  const std::vector<double> a = values_of(actual);
  const std::vector<double> e = values_of(expected);
  double scale = 0;
  double error = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(e[i])) return kInfinity;
    scale = std::max(scale, std::abs(e[i]));
    error = std::max(error, std::abs(a[i] - e[i]));
  }
  return error == 0 ? 0 : error / scale;
}

inline void expect_equal(const Tensor& actual, const Tensor& expected, const std::string& what = "") {
  ASSERT_TRUE(actual.defined() && expected.defined()) << what;
  EXPECT_EQ(actual.shape(), expected.shape()) << what;
  EXPECT_EQ(values_of(actual), values_of(expected)) << what;
}

inline void expect_close(const Tensor& actual, const Tensor& expected, double tolerance,
                         const std::string& what = "") {
  EXPECT_LE(relative_error(actual, expected), tolerance) << what;
}

// The message of the Error that the action throws; fails if it throws none.
inline std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

using Function = std::function<Variable(std::span<const Variable>)>;

// The value of a function and the gradient of each input, from a fixed cotangent without symmetry.
struct Outcome {
  Tensor value;
  std::vector<Tensor> gradients;
};

inline Outcome run(const Function& function, std::span<const Tensor> inputs) {
  Tape tape;
  std::vector<Variable> leaves;
  for (const Tensor& input : inputs)
    leaves.push_back(tape.leaf(input, "input." + std::to_string(leaves.size())));
  const Variable y = function(leaves);
  const Root roots[] = {{y, random_tensor(y.shape(), 999, y.dtype())}};
  const Gradients gradients = tape.backward(roots);
  Outcome outcome{y.value(), {}};
  for (const Variable& leaf : leaves) outcome.gradients.push_back(gradients.of(leaf));
  return outcome;
}

inline void expect_same(const Function& actual, const Function& expected, const std::vector<Tensor>& inputs,
                        double tolerance) {
  const Outcome a = run(actual, inputs);
  const Outcome e = run(expected, inputs);
  expect_close(a.value, e.value, tolerance, "value");
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    expect_close(a.gradients[i], e.gradients[i], tolerance, "gradient of input " + std::to_string(i));
  }
}

}  // namespace costeff::testing
