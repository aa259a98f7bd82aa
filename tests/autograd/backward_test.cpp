// How gradients flow where a value has several readers, and who owns them.
#include <gtest/gtest.h>

#include "tests/autograd/support.h"

namespace costeff {
namespace {

using namespace testing;

const Shape kShape{3, 5};

TEST(Backward, AValueWithTwoReadersGetsBothGradientsOnce) {
  Tape tape;
  const Variable a = tape.leaf(random_tensor(kShape, 1), "a");
  const Variable b = tape.leaf(random_tensor(kShape, 2), "b");
  const Variable y = add(add(a, b), a);
  const Root root[] = {{y, random_tensor(kShape, 3)}};
  const Gradients g = tape.backward(root);
  expect_equal(g.of(a), scale(Variable(root[0].cotangent), 2).value());
  expect_equal(g.of(b), root[0].cotangent);
}

// h feeds the next layer and an exit: h + tanh(h), and sum(h h) beside it.
TEST(Backward, AResidualWithASecondReaderGetsTheSumOfAllThree) {
  Tape tape;
  const Variable x = tape.leaf(random_tensor(kShape, 1), "x");
  const Variable h = scale(x, 1);
  const Variable layer = add(h, tanh(h));
  const Variable exit = sum(multiply(h, h));
  const Tensor c = random_tensor(kShape, 2);
  const Root roots[] = {{layer, c}, {exit, Tensor::scalar(0.5, DType::f64)}};
  const Tensor gradient = tape.backward(roots).of(x);
  for (std::int64_t i = 0; i < c.numel(); ++i) {
    const double v = x.value().at(i);
    const double t = std::tanh(v);
    EXPECT_NEAR(gradient.at(i), c.at(i) * (1 + 1 - t * t) + 0.5 * 2 * v, 1e-14);
  }
}

TEST(Backward, DiamondsOfDiamonds) {
  Tape tape;
  const Variable x = tape.leaf(random_tensor(kShape, 1), "x");
  Variable y = x;
  for (int i = 0; i < 20; ++i) y = add(y, y);
  expect_equal(tape.backward(y).of(x), Tensor::full(kShape, 1 << 20, DType::f64));
}

TEST(Backward, OneVariableAsBothInputsOfAnOperation) {
  Tape tape;
  const Variable a = tape.leaf(random_tensor({4, 4}, 1), "a");
  const Tensor square = tape.backward(sum(multiply(a, a))).of(a);
  expect_equal(square, scale(Variable(a.value()), 2).value());

  // sum(c (a a)): c a^T + a^T c
  const Root root[] = {{matmul(a, a), random_tensor({4, 4}, 2)}};
  const Tensor product = tape.backward(root).of(a);
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      double expected = 0;
      for (int k = 0; k < 4; ++k) {
        expected += root[0].cotangent.at(4 * i + k) * a.value().at(4 * j + k);
        expected += a.value().at(4 * k + i) * root[0].cotangent.at(4 * k + j);
      }
      EXPECT_NEAR(product.at(4 * i + j), expected, 1e-13);
    }
  }
}

TEST(Backward, ManyPassesOverOneForwardGiveTheSame) {
  Tape tape;
  const Variable a = tape.leaf(random_tensor(kShape, 1), "a");
  const Variable w = tape.leaf(random_tensor({4, 5}, 2), "w");
  const Variable y = mean(gelu(linear(add(a, tanh(a)), w)));
  const Gradients first = tape.backward(y);
  const Tensor first_a = first.of(a).clone();
  for (int pass = 0; pass < 3; ++pass) {
    const Gradients again = tape.backward(y);
    expect_equal(again.of(a), first_a);
    expect_equal(again.of(w), first.of(w));
    EXPECT_FALSE(again.of(a).shares_storage(first.of(a)));
  }
  expect_equal(first.of(a), first_a, "a later pass changed what an earlier one returned");
}

TEST(Backward, TwoRootsAtOnceAreTheSumOfTheirPasses) {
  Tape tape;
  const Variable a = tape.leaf(random_tensor(kShape, 1), "a");
  const Variable h = tanh(a);
  const Variable y = multiply(h, a);
  const Root roots[] = {{h, random_tensor(kShape, 2)}, {y, random_tensor(kShape, 3)}};
  const Tensor both = tape.backward(roots).of(a);
  const Tensor one = tape.backward(std::span(roots, 1)).of(a);
  const Tensor other = tape.backward(std::span(roots + 1, 1)).of(a);
  expect_close(both, add(Variable(one), Variable(other)).value(), 1e-15);
}

TEST(Backward, OneRootNamedTwiceCountsTwice) {
  Tape tape;
  const Variable a = tape.leaf(random_tensor(kShape, 1), "a");
  const Variable y = scale(a, 3);
  const Root roots[] = {{y, {}}, {y, {}}, {a, {}}};
  expect_equal(tape.backward(roots).of(a), Tensor::full(kShape, 7, DType::f64));
}

TEST(Backward, CotangentsAreOnlyRead) {
  Tape tape;
  const Variable a = tape.leaf(random_tensor(kShape, 1), "a");
  const Variable y = add(a, a);
  const Tensor c = random_tensor(kShape, 2);
  const Tensor before = c.clone();
  const Root roots[] = {{y, c}, {y, c}, {a, c}};
  const Gradients g = tape.backward(roots, {.retain_all = true});
  expect_equal(c, before);
  EXPECT_FALSE(g.of(y).shares_storage(c));
  EXPECT_FALSE(g.of(a).shares_storage(c));
}

TEST(Backward, EveryGradientHasABufferOfItsOwn) {
  Tape tape;
  const Variable a = tape.leaf(random_tensor(kShape, 1), "a");
  const Variable b = tape.leaf(random_tensor(kShape, 2), "b");
  const Variable s = add(a, b);
  const Variable r = reshape(gradient_rescale(s, 1), {5, 3});
  const Gradients g = tape.backward(sum(r), {.retain_all = true});
  const Tensor all[] = {g.of(a), g.of(b), g.of(s), g.of(r)};
  for (const Tensor& x : all) {
    ASSERT_TRUE(x.defined());
    for (const Tensor& y : all) EXPECT_TRUE(&x == &y || !x.shares_storage(y));
  }
  g.of(a).fill(-7);
  expect_equal(g.of(b), Tensor::full(kShape, 1, DType::f64));
  expect_equal(g.of(s), Tensor::full(kShape, 1, DType::f64));
}

TEST(Backward, RetainsLeavesAndOnRequestEveryNode) {
  Tape tape;
  const Variable a = tape.leaf(random_tensor(kShape, 1), "a");
  const Variable unread = tape.leaf(random_tensor(kShape, 2), "unread");
  const Variable h = scale(a, 2);
  const Variable y = sum(h);
  const Gradients leaves = tape.backward(y);
  EXPECT_TRUE(leaves.of(a).defined());
  EXPECT_FALSE(leaves.of(h).defined());
  EXPECT_FALSE(leaves.of(unread).defined());
  EXPECT_FALSE(leaves.of(Variable(a.value())).defined()) << "a constant has no gradient";
  const Gradients all = tape.backward(y, {.retain_all = true});
  expect_equal(all.of(h), Tensor::full(kShape, 1, DType::f64));
  expect_equal(all.of(y), Tensor::scalar(1, DType::f64));
}

TEST(Backward, GradientRescaleActsOnTheGradientAlone) {
  Tape tape;
  const Variable a = tape.leaf(random_tensor(kShape, 1), "a");
  const Variable y = gradient_rescale(a, -0.25);
  expect_equal(y.value(), a.value());
  expect_equal(tape.backward(y).of(a), Tensor::full(kShape, -0.25, DType::f64));
  ASSERT_EQ(tape.records().size(), 1u) << "rescaling is a record";
  EXPECT_EQ(std::get<0>(tape.records()[0].attributes<1>()), -0.25);
}

TEST(Backward, DetachLetsNothingThrough) {
  Tape tape;
  const Variable a = tape.leaf(random_tensor(kShape, 1), "a");
  const Variable d = detach(tanh(a));
  EXPECT_EQ(d.tape(), nullptr);
  const Tensor gradient = tape.backward(sum(multiply(a, d))).of(a);
  expect_equal(gradient, d.value());
}

TEST(Backward, LeavesThatAskForNoGradientGetNone) {
  Tape tape;
  const Variable a = tape.leaf(random_tensor(kShape, 1), "a");
  const Variable fixed = tape.leaf(random_tensor(kShape, 2), "fixed", false);
  const Variable constant(random_tensor(kShape, 3));
  const Variable y = sum(multiply(multiply(a, fixed), constant));
  const Gradients g = tape.backward(y);
  expect_equal(g.of(a), multiply(Variable(fixed.value()), constant).value());
  EXPECT_FALSE(g.of(fixed).defined());
  EXPECT_EQ(tape.records()[1].inputs[1], kNoNode);
}

TEST(Backward, RootsThatCannotBeAreRefused) {
  Tape tape;
  Tape other;
  const Variable a = tape.leaf(random_tensor(kShape, 1), "a");
  const Variable fixed = tape.leaf(random_tensor(kShape, 2), "fixed", false);
  const Variable elsewhere = other.leaf(random_tensor(kShape, 3), "elsewhere");
  EXPECT_NE(error_of([&] { tape.backward(elsewhere); }).find("not on this tape"), std::string::npos);
  EXPECT_NE(error_of([&] { tape.backward(Variable(a.value())); }).find("not on this tape"),
            std::string::npos);
  EXPECT_NE(error_of([&] { tape.backward(scale(fixed, 2)); }).find("nothing that wants"), std::string::npos);
  EXPECT_NE(error_of([&] { add(a, elsewhere); }).find("two tapes"), std::string::npos);
  const Root shape[] = {{a, random_tensor({5, 3}, 1)}};
  EXPECT_NE(error_of([&] { tape.backward(shape); }).find("cotangent f64 [5, 3]"), std::string::npos);
  const Root dtype[] = {{a, random_tensor(kShape, 1, DType::f32)}};
  EXPECT_NE(error_of([&] { tape.backward(dtype); }).find("cotangent f32 [3, 5]"), std::string::npos);
}

}  // namespace
}  // namespace costeff
