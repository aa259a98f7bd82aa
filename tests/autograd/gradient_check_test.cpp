// Every operation's backward against finite differences.
#include "autograd/gradient_check.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/autograd/gradient_cases.h"

namespace costeff {
namespace {

using namespace testing;

std::set<std::string> listed_ops() {
  std::set<std::string> names;
  for (const Op* op : all_ops()) names.emplace(op->name);
  return names;
}

TEST(GradientCheck, EveryOperationHasACaseAndEveryCaseAnOperation) {
  const std::set<std::string> ops = listed_ops();
  EXPECT_EQ(ops.size(), all_ops().size()) << "two operations have one name";
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

}  // namespace
}  // namespace costeff
