// Shapes, indices and layouts that do not fit are errors that name the operation, never crashes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/autograd/support.h"

namespace costeff {
namespace {

using namespace testing;
using ::testing::AllOf;
using ::testing::HasSubstr;

Variable of(const Shape& shape, DType dtype = DType::f64) {
  return Variable(random_tensor(shape, 1, dtype));
}

void expect_refused(const std::string& op, const std::function<Variable()>& action,
                    const std::string& detail = "") {
  EXPECT_THAT(error_of([&] { action(); }), AllOf(HasSubstr(op), HasSubstr(detail)));
}

TEST(Refusal, Arithmetic) {
  expect_refused(
      "add",
      [] {
        return add(of({2, 3}), of({3, 2}));
      },
      "[2, 3]");
  expect_refused("add", [] { return add(of({2, 3}), of({6})); });
  expect_refused(
      "add",
      [] {
        return add(of({2, 3}), of({2, 3}, DType::f32));
      },
      "f32 [2, 3]");
  expect_refused(
      "multiply",
      [] {
        return multiply(of({2, 3}), of({2}));
      },
      "[2, 3]");
  expect_refused("multiply", [] { return multiply(of({2}), of({2}, DType::f32)); });
  expect_refused("mean", [] { return mean(of({0, 3})); });
  expect_refused(
      "reshape",
      [] {
        return reshape(of({2, 3}), {7});
      },
      "[2, 3]");
  for (const double p : {-0.1, 1.0, 1.5, std::numeric_limits<double>::quiet_NaN()})
    expect_refused("dropout", [=] { return dropout(of({2, 3}), {p, {}}); });
}

TEST(Refusal, MatrixProducts) {
  expect_refused(
      "matmul",
      [] {
        return matmul(of({2, 3}), of({2, 3}));
      },
      "[2, 3]");
  expect_refused("matmul", [] { return matmul(of({2, 3}), of({3, 2}), true); });
  expect_refused("matmul", [] { return matmul(of({2, 3}), of({3})); });
  expect_refused("matmul", [] { return matmul(of({}), of({})); });
  expect_refused("matmul", [] { return matmul(of({2, 2, 3}), of({3, 3, 2})); });
  expect_refused("matmul", [] { return matmul(of({1, 2, 2, 3}), of({1, 2, 3, 2})); });
  expect_refused("matmul", [] { return matmul(of({2, 3}), of({3, 2}, DType::f32)); });
  expect_refused(
      "linear",
      [] {
        return linear(of({2, 3}), of({3, 2}));
      },
      "[2, 3]");
  expect_refused("linear", [] { return linear(of({3}), of({2, 3})); });
  expect_refused("linear", [] { return linear(of({2, 2, 3}), of({2, 3})); });
  expect_refused("linear", [] { return linear(of({2, 3}), of({4, 3}), of({3})); });
  expect_refused("linear", [] { return linear(of({2, 3}), of({4, 3}), of({1, 4})); });
}

TEST(Refusal, RowsOfNumbers) {
  expect_refused(
      "bias_gelu",
      [] {
        return bias_gelu(of({2, 3}), of({2}));
      },
      "[2, 3]");
  expect_refused("bias_gelu", [] { return bias_gelu(of({}), of({1})); });
  expect_refused(
      "layer_norm",
      [] {
        return layer_norm(of({2, 3}), of({2}), of({3}), 1e-5);
      },
      "[2, 3]");
  expect_refused("layer_norm", [] { return layer_norm(of({2, 3}), of({3}), of({1, 3}), 1e-5); });
  const auto fused = [](const Shape& bias, const Shape& residual, const Shape& gamma, double p = 0) {
    return bias_dropout_residual_layer_norm(of({2, 3}), of(bias), {p, {}}, of(residual), of(gamma), of({3}),
                                            1e-5);
  };
  const std::string name = "bias_dropout_residual_layer_norm";
  expect_refused(name, [&] { return fused({2}, {2, 3}, {3}); });
  expect_refused(name, [&] { return fused({3}, {3, 2}, {3}); });
  expect_refused(name, [&] { return fused({3}, {2, 3}, {2}); });
  expect_refused(
      name,
      [&] {
        return fused({3}, {2, 3}, {3}, 1.0);
      },
      "p must be in [0, 1)");
}

TEST(Refusal, Indices) {
  expect_refused(
      "embedding",
      [] {
        return embedding(of({4, 3}), indices({0, 4}));
      },
      "index 4");
  expect_refused(
      "embedding",
      [] {
        return embedding(of({4, 3}), indices({-1}));
      },
      "index -1");
  expect_refused("embedding", [] { return embedding(of({4}), indices({0})); });
  expect_refused("embedding", [] { return embedding(of({4, 3}), random_tensor({2}, 1)); });
  expect_refused("embedding", [] { return embedding(of({4, 3}), indices({0, 1}).reshape({1, 2})); });
  expect_refused(
      "gather_rows",
      [] {
        return gather_rows(of({4, 3}), indices({4}));
      },
      "index 4");
  expect_refused("gather_rows", [] { return gather_rows(of({2, 2, 3}), indices({0})); });
  expect_refused("concat_rows", [] { return concat_rows({}); });
  expect_refused("concat_rows", [] { return concat_rows(std::vector{of({2, 3}), of({2, 4})}); });
  expect_refused("concat_rows", [] { return concat_rows(std::vector{of({2, 3}), of({2, 3}, DType::f32)}); });
  const auto embeddings = [](const Shape& x, const Shape& a, const Tensor& ia, const Shape& b,
                             const Tensor& ib) { return add_embeddings(of(x), of(a), ia, of(b), ib); };
  const std::string name = "add_embeddings";
  const Tensor ids = indices({0, 1});
  expect_refused(name, [&] { return embeddings({2, 3}, {4, 2}, ids, {4, 3}, ids); });
  expect_refused(name, [&] { return embeddings({2, 3}, {4, 3}, indices({0}), {4, 3}, ids); });
  expect_refused(
      name,
      [&] {
        return embeddings({2, 3}, {4, 3}, indices({0, 4}), {4, 3}, ids);
      },
      "index 4");
  expect_refused(
      name,
      [&] {
        return embeddings({2, 3}, {4, 3}, ids, {1, 3}, ids);
      },
      "index 1");
  expect_refused(name, [&] { return embeddings({2, 3}, {3}, ids, {4, 3}, ids); });
  expect_refused(name, [&] { return embeddings({2, 3}, {4, 3}, ids, {3}, ids); });
  error_of([&] { embeddings({2, 3}, {4, 3}, random_tensor({2}, 1), {4, 3}, ids); });
}

TEST(Refusal, Sequences) {
  const LayoutPtr layout = layout_of({0, 2, 5});
  expect_refused(
      "attention",
      [&] {
        return attention(of({4, 12}), 2, {}, layout);
      },
      "[4, 12]");
  expect_refused("attention", [&] { return attention(of({5, 13}), 2, {}, layout); });
  expect_refused("attention", [&] { return attention(of({5, 12}), 0, {}, layout); });
  expect_refused("attention", [&] { return attention(of({5, 12}), -2, {}, layout); });
  expect_refused("attention", [&] { return attention(of({5, 0}), 2, {}, layout); });
  expect_refused("attention", [&] { return attention(of({60}), 2, {}, layout); });
  expect_refused(
      "attention",
      [&] {
        return attention(of({5, 12}), 2, {1.0, {}}, layout);
      },
      "[0, 1)");
  expect_refused(
      "sequence_mean",
      [&] {
        return sequence_mean(of({4, 3}), layout);
      },
      "[4, 3]");
  expect_refused("sequence_mean", [&] { return sequence_mean(of({5}), layout); });
  expect_refused(
      "gather_rows",
      [&] {
        return first_rows(of({1, 3}), layout);
      },
      "a row for each token");
}

TEST(Refusal, Losses) {
  expect_refused(
      "cross_entropy",
      [] {
        return cross_entropy(of({2, 3}), indices({0}));
      },
      "[2, 3]");
  expect_refused(
      "cross_entropy",
      [] {
        return cross_entropy(of({2, 3}), indices({0, 3}));
      },
      "label 3");
  expect_refused(
      "cross_entropy",
      [] {
        return cross_entropy(of({2, 3}), indices({-1, 0}));
      },
      "label -1");
  expect_refused("cross_entropy", [] { return cross_entropy(of({3}), indices({0})); });
  expect_refused("cross_entropy", [] { return cross_entropy(of({0, 3}), indices({})); });
  expect_refused("cross_entropy", [] { return cross_entropy(of({1, 3}), random_tensor({1}, 1)); });
  expect_refused("soft_cross_entropy", [] {
    return soft_cross_entropy(of({2, 3}), random_tensor({3, 2}, 1), 1);
  });
  for (const double t : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN()})
    expect_refused("soft_cross_entropy", [=] {
      return soft_cross_entropy(of({2, 3}), random_tensor({2, 3}, 1), t);
    });
  expect_refused("soft_cross_entropy", [] {
    return soft_cross_entropy(of({0, 3}), Tensor::zeros({0, 3}, DType::f64), 1);
  });
  expect_refused(
      "mean_squared_error",
      [] {
        return mean_squared_error(of({2, 3}), of({3, 2}));
      },
      "[2, 3]");
  expect_refused("mean_squared_error", [] { return mean_squared_error(of({0}), of({0})); });
  expect_refused("weighted_squared_error", [] {
    return weighted_squared_error(of({2, 3}), of({2, 3}), random_tensor({3}, 1));
  });
}

TEST(Refusal, DTypesThatKernelsDoNotComputeIn) {
  const Variable ids(indices({1, 2}));
  EXPECT_THAT(error_of([&] { tanh(ids); }), HasSubstr("i32"));
  EXPECT_THAT(error_of([&] { add(ids, ids); }), HasSubstr("i32"));
}

TEST(Refusal, Layouts) {
  EXPECT_THAT(error_of([] { layout_of({}); }), HasSubstr("at least one sequence"));
  EXPECT_THAT(error_of([] { layout_of({0}); }), HasSubstr("at least one sequence"));
  EXPECT_THAT(error_of([] { layout_of({1, 3}); }), HasSubstr("start at 0"));
  EXPECT_THAT(error_of([] { layout_of({0, 3, 3}); }), HasSubstr("sequence 1"));
  EXPECT_THAT(error_of([] { layout_of({0, 3, 2}); }), HasSubstr("sequence 1"));
  EXPECT_THAT(error_of([] { layout_of({0, 3, 5}, {3}); }), HasSubstr("1 lengths for 2 sequences"));
  EXPECT_THAT(error_of([] { layout_of({0, 3, 5}, {3, 0}); }), HasSubstr("sequence 1"));
  EXPECT_THAT(error_of([] { layout_of({0, 3, 5}, {4, 2}); }), HasSubstr("sequence 0"));
  const LayoutPtr layout = layout_of({0, 3, 8}, {2, 5});
  EXPECT_EQ(layout->sequences(), 2);
  EXPECT_EQ(layout->tokens(), 8);
  EXPECT_EQ(layout->pairs(), 9 + 25);
  EXPECT_EQ(layout->length(0), 2);
  EXPECT_EQ(layout->view().longest, 5);
}

}  // namespace
}  // namespace costeff
