// What a tape records, refuses, watches and names.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "autograd/op_support.h"
#include "tensor/allocator.h"
#include "tests/autograd/support.h"

namespace costeff {
namespace {

using namespace testing;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Variable forward_only(const Variable& x) {
  static const Op op("forward_only", "y = x", nullptr, Op::Listing::hidden);
  return record(op, {&x}, x.value(), {});
}

constexpr Symbol kSoft{"soft"};

TEST(Tape, RefusesAnOperationWithoutABackward) {
  Tape tape;
  const Variable x = tape.leaf(random_tensor({2, 3}, 1), "x");
  const Scope outer(&tape, "encoder");
  const Scope inner(&tape, "pooler");
  EXPECT_THAT(error_of([&] { forward_only(tanh(x)); }),
              AllOf(HasSubstr("forward_only"), HasSubstr("'encoder.pooler'"), HasSubstr("no backward")));
  EXPECT_EQ(tape.records().size(), 1u) << "the refused operation left a record";
}

TEST(Tape, AcceptsAnOperationWithoutABackwardWhereNoGradientIsWanted) {
  Tape tape;
  const Variable x = tape.leaf(random_tensor({2, 3}, 1), "x");
  const Variable data = tape.leaf(random_tensor({2, 3}, 2), "data", false);
  EXPECT_EQ(forward_only(detach(x)).tape(), nullptr);
  const Variable y = forward_only(data);
  EXPECT_EQ(tape.records().size(), 1u);
  expect_equal(tape.backward(sum(multiply(x, y))).of(x), data.value());
}

TEST(Tape, HiddenOperationsAreNotListed) {
  forward_only(Variable(random_tensor({1}, 1)));
  for (const Op* op : all_ops()) EXPECT_NE(op->name, "forward_only");
}

TEST(Tape, EveryListedOperationHasAFormulaAndABackward) {
  for (const Op* op : all_ops()) {
    EXPECT_FALSE(op->formula.empty()) << op->name;
    EXPECT_NE(op->backward, nullptr) << op->name;
  }
}

TEST(Tape, ConstantsAloneRecordNothing) {
  const Variable x(random_tensor({2, 3}, 1));
  EXPECT_EQ(gelu(add(x, x)).tape(), nullptr);
}

TEST(Tape, RecordsHaveThePathAndTagsOfTheirScope) {
  Tape tape;
  const Variable x = tape.leaf(random_tensor({2, 3}, 1), "x");
  tanh(x);
  {
    const Scope layer(&tape, "encoder.layer.3", {.layer = 4});
    tanh(x);
    {
      const Scope part(&tape, "attention");
      tanh(x);
      const Scope exit(&tape, "exit", {.layer = 4, .exit = 4, .loss = &kSoft});
      tanh(x);
    }
    tanh(x);
  }
  tanh(x);
  std::vector<std::string> paths;
  std::vector<int> layers;
  for (const Record& r : tape.records()) {
    paths.push_back(tape.path(r.path));
    layers.push_back(r.tags.layer);
  }
  EXPECT_THAT(paths, ElementsAre("", "encoder.layer.3", "encoder.layer.3.attention",
                                 "encoder.layer.3.attention.exit", "encoder.layer.3", ""));
  EXPECT_THAT(layers, ElementsAre(-1, 4, 4, 4, 4, -1));
  EXPECT_EQ(tape.records()[3].tags.exit, 4);
  EXPECT_EQ(tape.records()[3].tags.loss, &kSoft);
  EXPECT_EQ(tape.records()[4].tags.exit, -1);
  const Scope without_a_tape(nullptr, "nowhere");
}

TEST(Tape, ClearForgetsRecordsAndKeepsNamesAndHooks) {
  Tape tape;
  int calls = 0;
  tape.on_record([&](const Tape&, const Record&, const Tensor&) { ++calls; });
  tanh(tape.leaf(random_tensor({2, 3}, 1), "x"));
  tape.clear();
  EXPECT_TRUE(tape.records().empty());
  EXPECT_TRUE(tape.nodes().empty());
  const Variable x = tape.leaf(random_tensor({2, 3}, 1), "x");
  const Variable y = tanh(x);
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(tape.path(tape.node(x.node()).path), "x");
  EXPECT_TRUE(tape.backward(y).of(x).defined());
}

TEST(Tape, HooksSeeEveryRecordInOrderInBothPasses) {
  Tape tape;
  std::vector<std::string> forward;
  std::vector<std::string> backward;
  std::vector<Tensor> gradients;
  tape.on_record([&](const Tape& t, const Record& r, const Tensor& output) {
    forward.emplace_back(r.op->name);
    EXPECT_EQ(output.shape(), t.node(r.output).shape);
  });
  tape.on_backward([&](const Tape&, const Record& r, const Tensor& dy) {
    backward.emplace_back(r.op->name);
    gradients.push_back(dy.clone());
  });
  const Variable x = tape.leaf(random_tensor({2, 3}, 1), "x");
  const Variable h = tanh(x);
  gelu(h);  // no root reads it: no gradient passes
  const Variable y = sum(scale(h, 2));
  tape.backward(y);
  EXPECT_THAT(forward, ElementsAre("tanh", "gelu", "scale", "sum"));
  EXPECT_THAT(backward, ElementsAre("sum", "scale", "tanh"));
  expect_equal(gradients[0], Tensor::scalar(1, DType::f64));
  expect_equal(gradients[1], Tensor::full({2, 3}, 1, DType::f64));
  expect_equal(gradients[2], Tensor::full({2, 3}, 2, DType::f64));
}

TEST(Tape, CountsFlopsAndSavedBytes) {
  Tape tape;
  const LayoutPtr layout = layout_of({0, 2, 7, 10}, {2, 4, 3});
  const Variable x = tape.leaf(random_tensor({10, 8}, 1, DType::f32), "x");
  const Variable w = tape.leaf(random_tensor({24, 8}, 2, DType::f32), "w");
  const Variable b = tape.leaf(random_tensor({24}, 3, DType::f32), "b");
  attention(linear(x, w, b), 2, {}, layout);
  add(x, x);
  const auto records = tape.records();
  EXPECT_EQ(records[0].details.flops, 2.0 * 10 * 8 * 24);
  // Two products of n x n x 4 for each of 2 heads in sequences of 2, 5 and 3 rows.
  EXPECT_EQ(records[1].details.flops, 2 * 2.0 * (4 + 25 + 9) * 4 * 2);
  EXPECT_EQ(records[2].details.flops, 0);
  EXPECT_EQ(tape.flops(), records[0].details.flops + records[1].details.flops);
  ASSERT_EQ(records[1].details.saved.size(), 2u);
  EXPECT_EQ(records[1].details.saved[1].name, "probabilities");
  EXPECT_EQ(records[1].saved(1).bytes(), 2u * 38 * 4);
  EXPECT_TRUE(records[2].details.saved.empty()) << "a sum needs nothing for its backward";
  const std::size_t expected = (10 * 8 + 24 * 8) * 4 + (10 * 24 + 2 * 38) * 4;
  EXPECT_EQ(tape.saved_bytes(), expected);

  Tape products;
  const Variable a = products.leaf(random_tensor({3, 4, 5}, 4), "a");
  matmul(a, Variable(random_tensor({3, 5, 6}, 5)));
  EXPECT_EQ(products.flops(), 2.0 * 3 * 4 * 5 * 6);
}

TEST(Tape, AttentionKeepsItsProbabilitiesOnlyForABackward) {
  Tape tape;
  const LayoutPtr layout = layout_of({0, 4});
  const Variable data = tape.leaf(random_tensor({4, 6}, 1), "data", false);
  attention(data, 2, {}, layout);
  EXPECT_EQ(tape.saved_bytes(), 0u);
}

TEST(Tape, NormalisationKeepsItsStatisticsOnlyForABackward) {
  Tape tape;
  const Variable data = tape.leaf(random_tensor({4, 6}, 1), "data", false);
  const Variable row(random_tensor({6}, 2));
  layer_norm(data, row, row, 1e-5);
  bias_dropout_residual_layer_norm(data, row, {}, data, row, row, 1e-5);
  EXPECT_EQ(tape.saved_bytes(), 0u);
  const Variable gamma = tape.leaf(random_tensor({6}, 3), "gamma");
  layer_norm(data, gamma, row, 1e-5);
  constexpr std::size_t kOne = (4 * 6 + 4 + 6) * sizeof(double);
  EXPECT_EQ(tape.saved_bytes(), kOne);
  bias_dropout_residual_layer_norm(data, row, {}, data, gamma, row, 1e-5);
  EXPECT_EQ(tape.saved_bytes(), 2 * kOne);

  const Tensor large = random_tensor({400, 600}, 4);
  const Variable one(Tensor::full({600}, 1, DType::f64));
  reset_allocator_peak(kCpu);
  const std::size_t before = allocator_stats(kCpu).in_use;
  layer_norm(large, one, one, 1e-5);
  EXPECT_LT(allocator_stats(kCpu).peak - before, 2 * large.bytes()) << "without a tape there is y alone";
}

// ---- check_finite

TEST(CheckFinite, NamesTheFirstBadOutput) {
  Tape tape;
  tape.check_finite = true;
  const Variable x = tape.leaf(Tensor::full({2, 3}, -3e20, DType::f32), "x");
  const Variable w = tape.leaf(Tensor::full({2, 3}, 5e20, DType::f32), "w");
  const Scope scope(&tape, "encoder.layer.7.output", {.layer = 8, .exit = 2});
  const std::string message = error_of([&] { tanh(multiply(x, w)); });
  EXPECT_THAT(message, AllOf(HasSubstr("multiply"), HasSubstr("'encoder.layer.7.output'"),
                             HasSubstr("output [2, 3]"), HasSubstr("6 values"), HasSubstr("not finite")));
  EXPECT_THAT(message, AllOf(HasSubstr("layer 8"), HasSubstr("exit 2")));
  EXPECT_THAT(message,
              AllOf(HasSubstr("'x' [2, 3] from -3e+20 to -3e+20"), HasSubstr("'w' [2, 3] from 5e+20")));
  EXPECT_THAT(message, Not(HasSubstr("tanh")));
}

TEST(CheckFinite, NamesTheFirstBadGradient) {
  Tape tape;
  tape.check_finite = true;
  const Variable x = tape.leaf(Tensor::full({2}, 1, DType::f64), "x");
  const Scope scope(&tape, "block");
  const Variable h = scale(x, 1e-300);
  const Variable wide = gradient_rescale(h, kInfinity);
  const std::string message = error_of([&] { tape.backward(sum(wide)); });
  EXPECT_THAT(message, AllOf(HasSubstr("gradient_rescale"), HasSubstr("'block'"), HasSubstr("gradient"),
                             HasSubstr("2 values"), HasSubstr("from 1e-300 to 1e-300")));
}

TEST(CheckFinite, SeesABadGradientThatReachesALeafAlone) {
  Tape tape;
  tape.check_finite = true;
  const Variable x = tape.leaf(Tensor::full({2, 2}, 1e-20, DType::f32), "x");
  const Variable w = tape.leaf(Tensor::full({2, 2}, 1e20, DType::f32), "w");
  const Variable y = multiply(x, w);
  const Root root[] = {{y, Tensor::full({2, 2}, 1e20, DType::f32)}};
  EXPECT_THAT(error_of([&] { tape.backward(root); }),
              AllOf(HasSubstr("multiply"), HasSubstr("gradient of 'x' [2, 2]"), HasSubstr("4 values")));
}

TEST(CheckFinite, SeesABadCotangent) {
  Tape tape;
  const Variable x = tape.leaf(random_tensor({2}, 1), "x");
  const Variable y = scale(x, 2);
  tape.check_finite = true;  // only now: the values of the forward are not there to be described
  const Root root[] = {{y, Tensor::full({2}, std::numeric_limits<double>::quiet_NaN(), DType::f64)}};
  EXPECT_THAT(error_of([&] { tape.backward(root); }), AllOf(HasSubstr("scale"), HasSubstr("'x' [2]")));
}

TEST(CheckFinite, IsSilentOtherwise) {
  Tape tape;
  tape.check_finite = true;
  const Variable x = tape.leaf(random_tensor({2, 3}, 1), "x");
  const Variable y = sum(multiply(gelu(x), Variable(random_tensor({2, 3}, 2))));
  EXPECT_TRUE(tape.backward(y).of(x).defined());
  tape.check_finite = false;
  const Variable nan = scale(x, kInfinity);
  EXPECT_FALSE(std::isfinite(nan.value().at(0))) << "off: nothing is checked";
}

}  // namespace
}  // namespace costeff
