// Every operation's backward against finite differences.
#include "autograd/gradient_check.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "tests/autograd/gradient_cases.h"

namespace costeff {
namespace {

using namespace testing;

std::set<std::string> listed_ops() {
  std::set<std::string> names;
  for (const Op* op : all_ops()) names.emplace(op->name);
  EXPECT_EQ(names.size(), all_ops().size()) << "two operations have one name";
  return names;
}

TEST(GradientCheck, EveryOperationHasACaseAndEveryCaseAnOperation) {
  const std::set<std::string> ops = listed_ops();
  std::set<std::string> cases;
  for (const GradientCase& c : gradient_cases()) cases.insert(c.op);
  for (const std::string& op : ops) EXPECT_TRUE(cases.contains(op)) << op << " has no gradient case";
  for (const std::string& op : cases) EXPECT_TRUE(ops.contains(op)) << op << " is no operation";
}

// Whether a case of an operation really records it.
TEST(GradientCheck, EveryCaseRecordsItsOperation) {
  for (const GradientCase& c : gradient_cases()) {
    Tape tape;
    std::vector<Variable> leaves;
    for (const Tensor& input : c.inputs) leaves.push_back(tape.leaf(input, "x"));
    c.function(leaves);
    const bool recorded = std::any_of(tape.records().begin(), tape.records().end(),
                                      [&](const Record& r) { return r.op->name == c.op; });
    EXPECT_TRUE(recorded) << c.op << ": " << c.what;
  }
}

class GradientCheckOf : public ::testing::TestWithParam<std::string> {};

TEST_P(GradientCheckOf, AgreesWithFiniteDifferences) {
  int checked = 0;
  for (const GradientCase& c : gradient_cases()) {
    if (c.op != GetParam()) continue;
    const GradientCheck check = check_gradient(c.function, c.inputs, {.max_entries = c.max_entries});
    EXPECT_TRUE(check.passes(1e-7)) << c.op << ", " << c.what << ": " << check.describe();
    ++checked;
  }
  EXPECT_GT(checked, 0);
}

INSTANTIATE_TEST_SUITE_P(Ops, GradientCheckOf, ::testing::ValuesIn(listed_ops()),
                         [](const auto& instance) { return instance.param; });

TEST(GradientCheck, ChecksASampleOfManyEntries) {
  int evaluations = 0;
  const auto square = [&](std::span<const Variable> x) {
    ++evaluations;
    return multiply(x[0], x[0]);
  };
  const Tensor inputs[] = {random_tensor({1000}, 1)};
  const GradientCheck check = check_gradient(square, inputs, {.max_entries = 7});
  EXPECT_TRUE(check.passes(1e-9)) << check.describe();
  EXPECT_EQ(check.compared, 7);
  EXPECT_EQ(evaluations, 1 + 7 * 6);
}

TEST(GradientCheck, LeavesItsInputsAsTheyWere) {
  const Tensor inputs[] = {random_tensor({4, 3}, 1), random_tensor({4, 3}, 2)};
  const Tensor before = inputs[0].clone();
  check_gradient([](std::span<const Variable> x) { return multiply(x[0], x[1]); }, inputs);
  expect_equal(inputs[0], before);
}

TEST(GradientCheck, WantsF64) {
  const auto twice = [](std::span<const Variable> x) { return scale(x[0], 2); };
  const Tensor inputs[] = {random_tensor({3}, 1, DType::f32)};
  const std::string message = error_of([&] { check_gradient(twice, inputs); });
  EXPECT_NE(message.find("input 0 is f32 [3]"), std::string::npos) << message;
}

TEST(GradientCheck, NothingComparedIsNoPass) {
  const auto twice = [](std::span<const Variable> x) { return scale(x[0], 2); };
  const Tensor inputs[] = {Tensor::empty({0, 3}, DType::f64)};
  const GradientCheck check = check_gradient(twice, inputs);
  EXPECT_FALSE(check.passes(1));
  EXPECT_EQ(check.describe(), "gradient check: nothing to compare");
}

TEST(Differentiate, FindsItsStep) {
  const auto slope = [](double scale, double x, double step) {
    return differentiate([=](double t) { return std::sin(t / scale); }, x, step);
  };
  for (const double scale : {0.1, 1.0, 30.0}) {
    for (const double step : {0.03, 0.3}) {
      const Derivative d = slope(scale, 0.7, step);
      EXPECT_NEAR(d.value, std::cos(0.7 / scale) / scale, 1e-10 / scale) << scale << " " << step;
      EXPECT_LT(d.error, 1e-8 / scale);
    }
  }
}

TEST(Differentiate, SaysHowFarItCanBeTrusted) {
  int evaluations = 0;
  const auto constant = [&](double) {
    ++evaluations;
    return 3.0;
  };
  EXPECT_EQ(differentiate(constant, 1, 0.1).value, 0);
  EXPECT_EQ(differentiate(constant, 1, 0.1).error, 0);
  EXPECT_EQ(evaluations, 2 * 2 * 4);
  const Derivative rough =
      differentiate([](double x) { return std::cos(x) + 1e-6 * std::sin(1e9 * x); }, 1, 0.1);
  EXPECT_GT(rough.error, 1e-8);
  const Derivative none = differentiate([](double) { return std::nan(""); }, 1, 0.1);
  EXPECT_TRUE(std::isinf(none.error));
}

}  // namespace
}  // namespace costeff
