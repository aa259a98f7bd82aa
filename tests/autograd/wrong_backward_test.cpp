// The checker must be able to fail. Each family has an operation here whose backward is written twice, once
// right and once with the mistake that its family invites: the first must pass, the second must be rejected.
#include <gtest/gtest.h>

#include <limits>
#include <numbers>

#include "autograd/gradient_check.h"
#include "autograd/op_support.h"
#include "tests/autograd/support.h"

namespace costeff {
namespace {

using namespace testing;

using Inputs = std::span<const Variable>;

double phi(double x) {
  return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
}
double cumulative_phi(double x) {
  return 0.5 * (1 + std::erf(x / std::numbers::sqrt2));
}

// Adds to entry i of an input's gradient, which these rules zero first.
double* zeroed(const Slot& slot) {
  if (!slot.accumulate) slot.tensor.fill(0);
  return slot.data<double>();
}

template <Op::Rule right, Op::Rule wrong>
void expect_told_apart(const std::string& mistake, const std::function<Variable(const Op&, Inputs)>& function,
                       const std::vector<Tensor>& inputs) {
  static const Op right_op("planted", "", right, Op::Listing::hidden);
  static const Op wrong_op("planted", "", wrong, Op::Listing::hidden);
  const auto check = [&](const Op& op) {
    return check_gradient([&](Inputs x) { return function(op, x); }, inputs);
  };
  const GradientCheck good = check(right_op);
  EXPECT_TRUE(good.passes(1e-7)) << mistake << ": the right rule: " << good.describe();
  const GradientCheck bad = check(wrong_op);
  EXPECT_FALSE(bad.passes(1e-7)) << mistake << ": passed: " << bad.describe();
  EXPECT_GT(bad.worst, 1e-3) << mistake << ": " << bad.describe();
}

// ---- arithmetic: a sum hands on half
template <bool kRight>
void add_rule(const Record& /*r*/, Backward& b) {
  for (std::size_t input = 0; input < 2; ++input) {
    double* d = zeroed(b.slot(input));
    const double factor = kRight || input == 0 ? 1 : 0.5;
    for (std::int64_t i = 0; i < b.dy().numel(); ++i) d[i] += factor * b.dy().at(i);
  }
}

TEST(WrongBackward, Arithmetic) {
  expect_told_apart<add_rule<true>, add_rule<false>>(
      "add hands on half",
      [](const Op& op, Inputs x) {
        return record(op, {&x[0], &x[1]}, add(detach(x[0]), detach(x[1])).value(), {});
      },
      {random_tensor({3, 4}, 1), random_tensor({3, 4}, 2)});
}

// ---- matrix products: y = a b of square matrices, da = dy b for dy b^T
template <bool kRight>
void matmul_rule(const Record& r, Backward& back) {
  const std::int64_t n = back.dy().shape()[0];
  const Tensor& b = r.saved(0);
  double* da = zeroed(back.slot(0));
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t k = 0; k < n; ++k) {
        da[i * n + j] += back.dy().at(i * n + k) * b.at(kRight ? j * n + k : k * n + j);
      }
    }
  }
}

TEST(WrongBackward, Linear) {
  const Tensor b = random_tensor({4, 4}, 3);
  expect_told_apart<matmul_rule<true>, matmul_rule<false>>(
      "matmul does not transpose",
      [&](const Op& op, Inputs x) {
        return record(op, {&x[0]}, matmul(detach(x[0]), Variable(b)).value(), {.saved = {{"b", b}}});
      },
      {random_tensor({4, 4}, 4)});
}

// ---- activations: the derivative of GELU without its 1/sqrt(2), softmax without the mean
template <bool kRight>
void gelu_rule(const Record& r, Backward& b) {
  double* dx = zeroed(b.slot(0));
  for (std::int64_t i = 0; i < b.dy().numel(); ++i) {
    const double x = r.saved(0).at(i);
    const double slope = x * phi(x) * (kRight ? 1 : std::numbers::sqrt2);
    dx[i] += b.dy().at(i) * (cumulative_phi(x) + slope);
  }
}

template <bool kRight>
void softmax_rule(const Record& r, Backward& b) {
  double* dx = zeroed(b.slot(0));
  const std::int64_t cols = b.dy().shape().cols();
  for (std::int64_t row = 0; row < b.dy().shape().rows(); ++row) {
    double mean = 0;
    for (std::int64_t i = row * cols; i < (row + 1) * cols; ++i) mean += r.saved(0).at(i) * b.dy().at(i);
    for (std::int64_t i = row * cols; i < (row + 1) * cols; ++i) {
      dx[i] += r.saved(0).at(i) * (b.dy().at(i) - (kRight ? mean : 0));
    }
  }
}

TEST(WrongBackward, Activation) {
  expect_told_apart<gelu_rule<true>, gelu_rule<false>>(
      "gelu lacks 1/sqrt(2)",
      [](const Op& op, Inputs x) {
        return record(op, {&x[0]}, gelu(detach(x[0])).value(), {.saved = {{"x", x[0].value().clone()}}});
      },
      {random_tensor({3, 5}, 5)});
  expect_told_apart<softmax_rule<true>, softmax_rule<false>>(
      "softmax lacks the mean",
      [](const Op& op, Inputs x) {
        const Tensor y = softmax(detach(x[0])).value();
        return record(op, {&x[0]}, y, {.saved = {{"y", y}}});
      },
      {random_tensor({3, 5}, 6)});
}

// ---- normalisation: layer norm without the term along xhat
template <bool kRight>
void layer_norm_rule(const Record& r, Backward& b) {
  double* dx = zeroed(b.slot(0));
  const std::int64_t n = b.dy().shape().cols();
  for (std::int64_t row = 0; row < b.dy().shape().rows(); ++row) {
    const double* x = r.saved(0).data<double>() + row * n;
    const double* dy = b.dy().data<double>() + row * n;
    double mean = 0;
    double variance = 0;
    for (std::int64_t i = 0; i < n; ++i) mean += x[i] / static_cast<double>(n);
    for (std::int64_t i = 0; i < n; ++i) variance += (x[i] - mean) * (x[i] - mean) / static_cast<double>(n);
    const double rstd = 1 / std::sqrt(variance + 0.01);
    double mean_dy = 0;
    double along = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      mean_dy += dy[i] / static_cast<double>(n);
      along += dy[i] * (x[i] - mean) * rstd / static_cast<double>(n);
    }
    for (std::int64_t i = 0; i < n; ++i) {
      dx[row * n + i] += rstd * (dy[i] - mean_dy - (kRight ? (x[i] - mean) * rstd * along : 0));
    }
  }
}

TEST(WrongBackward, Norm) {
  expect_told_apart<layer_norm_rule<true>, layer_norm_rule<false>>(
      "layer norm lacks the term along xhat",
      [](const Op& op, Inputs x) {
        const Variable ones(Tensor::full({7}, 1, DType::f64));
        const Variable zeros(Tensor::zeros({7}, DType::f64));
        return record(op, {&x[0]}, layer_norm(detach(x[0]), ones, zeros, 0.01).value(),
                      {.saved = {{"x", x[0].value().clone()}}});
      },
      {random_tensor({3, 7}, 7)});
}

// ---- rows: of a row that was gathered twice, only the last gradient counts
template <bool kRight>
void gather_rule(const Record& r, Backward& b) {
  double* dx = zeroed(b.slot(0));
  const std::int64_t n = b.dy().shape().cols();
  for (std::int64_t i = 0; i < b.dy().numel(); ++i) {
    double& entry = dx[r.saved(0).data<std::int32_t>()[i / n] * n + i % n];
    entry = (kRight ? entry : 0) + b.dy().at(i);
  }
}

TEST(WrongBackward, Rows) {
  const Tensor index = indices({2, 0, 2});
  expect_told_apart<gather_rule<true>, gather_rule<false>>(
      "a row gathered twice keeps one gradient",
      [&](const Op& op, Inputs x) {
        return record(op, {&x[0]}, gather_rows(detach(x[0]), index).value(), {.saved = {{"index", index}}});
      },
      {random_tensor({4, 3}, 8)});
}

// ---- attention: one head of one sequence, dK without its 1/sqrt(d)
template <bool kRight>
void attention_rule(const Record& r, Backward& b) {
  const std::int64_t n = b.dy().shape()[0];
  const std::int64_t d = b.dy().shape()[1];
  const double* qkv = r.saved(0).data<double>();
  const double* p = r.saved(1).data<double>();  // [n, n]
  const double* dy = b.dy().data<double>();
  double* dqkv = zeroed(b.slot(0));
  const double root = std::sqrt(static_cast<double>(d));
  for (std::int64_t i = 0; i < n; ++i) {
    std::vector<double> dp(static_cast<std::size_t>(n), 0.0);
    double mean = 0;
    for (std::int64_t j = 0; j < n; ++j) {
      double& entry = dp[static_cast<std::size_t>(j)];
      for (std::int64_t c = 0; c < d; ++c) entry += dy[i * d + c] * qkv[j * 3 * d + 2 * d + c];
      mean += entry * p[i * n + j];
    }
    for (std::int64_t j = 0; j < n; ++j) {
      const double ds = p[i * n + j] * (dp[static_cast<std::size_t>(j)] - mean);
      for (std::int64_t c = 0; c < d; ++c) {
        dqkv[i * 3 * d + c] += ds * qkv[j * 3 * d + d + c] / root;
        dqkv[j * 3 * d + d + c] += ds * qkv[i * 3 * d + c] / (kRight ? root : 1);
        dqkv[j * 3 * d + 2 * d + c] += p[i * n + j] * dy[i * d + c];
      }
    }
  }
}

TEST(WrongBackward, Attention) {
  const LayoutPtr layout = layout_of({0, 5});
  expect_told_apart<attention_rule<true>, attention_rule<false>>(
      "attention's dK lacks 1/sqrt(d)",
      [&](const Op& op, Inputs x) {
        Tape tape;
        const Variable y = attention(tape.leaf(x[0].value().clone(), "qkv"), 1, {}, layout);
        const Record& real = tape.records()[0];
        return record(op, {&x[0]}, y.value(),
                      {.saved = {{"qkv", real.saved(0)}, {"probabilities", real.saved(1)}}});
      },
      {random_tensor({5, 9}, 9)});
}

// ---- losses: the mean squared error without its 2
template <bool kRight>
void squared_error_rule(const Record& r, Backward& b) {
  double* da = zeroed(b.slot(0));
  const std::int64_t n = r.saved(0).numel();
  const double factor = (kRight ? 2 : 1) * b.dy().item() / static_cast<double>(n);
  for (std::int64_t i = 0; i < n; ++i) da[i] += factor * (r.saved(0).at(i) - r.saved(1).at(i));
}

TEST(WrongBackward, Loss) {
  const Tensor target = random_tensor({3, 4}, 10);
  expect_told_apart<squared_error_rule<true>, squared_error_rule<false>>(
      "the squared error lacks its 2",
      [&](const Op& op, Inputs x) {
        return record(op, {&x[0]}, mean_squared_error(detach(x[0]), Variable(target)).value(),
                      {.saved = {{"a", x[0].value().clone()}, {"b", target}}});
      },
      {random_tensor({3, 4}, 11)});
}

// ---- what a comparison must not fall for
template <int kFault>
void faulty_rule(const Record& /*r*/, Backward& b) {
  double* dx = zeroed(b.slot(0));
  for (std::int64_t i = 0; i < b.dy().numel(); ++i) dx[i] += 3 * b.dy().at(i);
  if (kFault == 1) dx[5] = std::numeric_limits<double>::quiet_NaN();
  if (kFault == 2) dx[5] = std::numeric_limits<double>::infinity();
  if (kFault == 3) dx[5] *= 1 + 1e-6;
  if (kFault == 4) std::fill_n(dx, b.dy().numel(), 0.0);
  if (kFault == 5) std::swap(dx[5], dx[6]);
  if (kFault == 6) std::fill_n(dx, b.dy().numel(), std::numeric_limits<double>::quiet_NaN());
}

template <int kFault>
GradientCheck check_of_fault() {
  static const Op op("triple", "", faulty_rule<kFault>, Op::Listing::hidden);
  const Tensor inputs[] = {random_tensor({3, 4}, 12)};
  return check_gradient([&](Inputs x) { return record(op, {&x[0]}, scale(detach(x[0]), 3).value(), {}); },
                        inputs);
}

TEST(WrongBackward, OneBadEntryIsEnough) {
  EXPECT_TRUE(check_of_fault<0>().passes(1e-7)) << check_of_fault<0>().describe();
  for (const GradientCheck& check : {check_of_fault<1>(), check_of_fault<2>()}) {
    EXPECT_FALSE(check.passes(1e300)) << check.describe();
    EXPECT_EQ(check.entry, 5);
    EXPECT_NE(check.describe().find("entry 5 of input 0"), std::string::npos) << check.describe();
  }
  const GradientCheck slight = check_of_fault<3>();
  EXPECT_FALSE(slight.passes(1e-7)) << slight.describe();
  EXPECT_LT(slight.worst, 2e-6) << slight.describe();
  EXPECT_FALSE(check_of_fault<4>().passes(0.5)) << "a gradient of zeros";
  EXPECT_FALSE(check_of_fault<5>().passes(1e-2)) << "two entries exchanged: the sum is right";
  EXPECT_FALSE(check_of_fault<6>().passes(1e300)) << "NaN everywhere";
}

TEST(WrongBackward, AnInputWithoutAGradientCountsAsZero) {
  const Tensor inputs[] = {random_tensor({3}, 13), random_tensor({3}, 14)};
  const GradientCheck check = check_gradient([](Inputs x) { return multiply(x[0], detach(x[1])); }, inputs);
  EXPECT_FALSE(check.passes(0.5)) << check.describe();
  EXPECT_EQ(check.input, 1u);
  EXPECT_EQ(check.analytic, 0);
}

TEST(WrongBackward, AFunctionThatIsNotFiniteFails) {
  const Tensor inputs[] = {random_tensor({3}, 15)};
  const Variable nan(Tensor::full({3}, std::numeric_limits<double>::quiet_NaN(), DType::f64));
  const GradientCheck check = check_gradient([&](Inputs x) { return multiply(x[0], nan); }, inputs);
  EXPECT_FALSE(check.passes(1e300)) << check.describe();
}

}  // namespace
}  // namespace costeff
