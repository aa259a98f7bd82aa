#include "tests/autograd/gradient_cases.h"

#include <fmt/format.h>

#include <numeric>

namespace costeff::testing {
namespace {

using Inputs = std::span<const Variable>;

// Odd sizes, one row, one column, one element, and one that is large enough for every kernel's vector loop
// and for more than one thread.
const Shape kShapes[] = {{3, 5}, {1, 7}, {6, 1}, {1, 1}, {17, 35}};
const Shape kLarge{130, 67};
constexpr Dropout kDropout{0.3, {5, 3, 2}};

class Cases {
 public:
  // Inputs are made up, one for each shape.
  void add(const std::string& op, Function function, std::initializer_list<Shape> shapes,
           const std::string& what = "", std::int64_t max_entries = 0) {
    GradientCase c{op, what, std::move(function), {}, max_entries};
    for (const Shape& shape : shapes) {
      c.inputs.push_back(random_tensor(shape, stream_++));
      c.what += c.what.empty() ? "" : " ";
      c.what += to_string(shape);
    }
    list_.push_back(std::move(c));
  }
  // One elementwise or row-wise input, in all the shapes.
  void add_unary(const std::string& op, const Function& function) {
    for (const Shape& shape : kShapes) add(op, function, {shape});
    add(op, function, {Shape{}});
    add(op, function, {{2, 3, 4}});
    add(op, function, {kLarge}, "", 40);
  }
  std::vector<GradientCase> take() { return std::move(list_); }

 private:
  std::vector<GradientCase> list_;
  std::uint32_t stream_ = 1;
};

void add_arithmetic(Cases& cases) {
  for (const Shape& shape : kShapes) {
    cases.add("add", [](Inputs x) { return add(x[0], x[1]); }, {shape, shape});
    cases.add("multiply", [](Inputs x) { return multiply(x[0], x[1]); }, {shape, shape});
    cases.add("mean_squared_error", [](Inputs x) { return mean_squared_error(x[0], x[1]); }, {shape, shape});
  }
  cases.add(
      "add", [](Inputs x) { return add(add(x[0], x[1]), x[0]); }, {{3, 3}, {3, 3}}, "(a + b) + a");
  cases.add(
      "multiply", [](Inputs x) { return multiply(x[0], x[0]); }, {{5, 3}}, "a a");
  cases.add(
      "mean_squared_error", [](Inputs x) { return mean_squared_error(x[0], tanh(x[0])); }, {{5, 3}},
      "of a value with itself");
  for (const Shape& shape : kShapes) {
    const Tensor weights = random_tensor({shape[0]}, 77);
    cases.add("weighted_squared_error",
              [=](Inputs x) { return weighted_squared_error(x[0], x[1], weights.to(x[0].value().device())); },
              {shape, shape});
  }
  cases.add(
      "mean_squared_error", [](Inputs x) { return mean_squared_error(sum(x[0]), x[1]); }, {{5, 3}, {}},
      "of numbers");
  cases.add_unary("scale", [](Inputs x) { return scale(x[0], -1.7); });
  // The gradient of a rescaled value is not the derivative, so two rescalings undo each other.
  cases.add_unary("gradient_rescale",
                  [](Inputs x) { return gradient_rescale(gradient_rescale(x[0], 4), 0.25); });
  cases.add_unary("sum", [](Inputs x) { return sum(multiply(x[0], x[0])); });
  cases.add_unary("mean", [](Inputs x) { return mean(multiply(x[0], x[0])); });
  cases.add_unary("dropout", [](Inputs x) { return dropout(x[0], kDropout); });
  cases.add("reshape", [](Inputs x) { return multiply(reshape(x[0], {4, 3}), x[1]); }, {{2, 6}, {4, 3}});
  cases.add("reshape", [](Inputs x) { return reshape(x[0], {3, 2, 2}); }, {{12}});
}

void add_linear(Cases& cases) {
  struct Sizes {
    std::int64_t m, k, n;
  };
  for (const auto [m, k, n] : {Sizes{3, 5, 7}, {1, 4, 3}, {5, 1, 2}, {4, 6, 1}, {1, 1, 1}, {19, 33, 21}}) {
    cases.add("matmul", [](Inputs x) { return matmul(x[0], x[1]); }, {{m, k}, {k, n}});
    cases.add(
        "matmul", [](Inputs x) { return matmul(x[0], x[1], true); }, {{m, k}, {n, k}}, "transposed");
    cases.add(
        "matmul", [](Inputs x) { return matmul(x[0], x[1]); }, {{3, m, k}, {3, k, n}}, "batch", 50);
    cases.add(
        "matmul", [](Inputs x) { return matmul(x[0], x[1], true); }, {{2, m, k}, {2, n, k}},
        "batch, transposed", 50);
    cases.add(
        "linear", [](Inputs x) { return linear(x[0], x[1]); }, {{m, k}, {n, k}}, "without bias");
    cases.add("linear", [](Inputs x) { return linear(x[0], x[1], x[2]); }, {{m, k}, {n, k}, {n}});
  }
  cases.add(
      "matmul", [](Inputs x) { return matmul(x[0], x[0]); }, {{4, 4}}, "a a");
  cases.add(
      "matmul", [](Inputs x) { return matmul(x[0], x[0], true); }, {{4, 3}}, "a a^T");
  cases.add(
      "matmul", [](Inputs x) { return matmul(x[0], x[0]); }, {{2, 3, 3}}, "a a, batch");
  cases.add(
      "linear", [](Inputs x) { return linear(x[0], x[0]); }, {{4, 3}}, "a a^T");
}

void add_activation(Cases& cases) {
  cases.add_unary("tanh", [](Inputs x) { return tanh(x[0]); });
  cases.add_unary("gelu", [](Inputs x) { return gelu(x[0]); });
  cases.add_unary("softmax", [](Inputs x) { return softmax(x[0]); });
  cases.add_unary("log_softmax", [](Inputs x) { return log_softmax(x[0]); });
  const auto fused = [](Inputs x) { return bias_gelu(x[0], x[1]); };
  for (const Shape& shape : kShapes) cases.add("bias_gelu", fused, {shape, {shape.cols()}});
  cases.add("bias_gelu", fused, {{2, 3, 4}, {4}});
  cases.add("bias_gelu", fused, {kLarge, {67}}, "", 40);
  cases.add(
      "bias_gelu", [](Inputs x) { return bias_gelu(x[0], x[0]); }, {{9}}, "of a row with itself");
}

void add_norm(Cases& cases) {
  for (const double epsilon : {1e-12, 0.1}) {
    const auto alone = [=](Inputs x) { return layer_norm(x[0], x[1], x[2], epsilon); };
    const std::string what = fmt::format("epsilon {}", epsilon);
    for (const Shape& shape : kShapes)
      cases.add("layer_norm", alone, {shape, {shape.cols()}, {shape.cols()}}, what);
    cases.add("layer_norm", alone, {{2, 3, 8}, {8}, {8}}, what);
    cases.add("layer_norm", alone, {kLarge, {67}, {67}}, what, 40);
  }
  cases.add(
      "layer_norm", [](Inputs x) { return layer_norm(x[0], x[1], x[1], 0.1); }, {{5, 9}, {9}},
      "gamma is beta");

  const std::string op = "bias_dropout_residual_layer_norm";
  for (const Dropout& d : {Dropout{}, kDropout}) {
    const auto fused = [=](Inputs x) {
      return bias_dropout_residual_layer_norm(x[0], x[1], d, x[2], x[3], x[4], 1e-2);
    };
    const std::string what = fmt::format("p {}", d.p);
    for (const Shape& shape : kShapes) {
      const Shape row{shape.cols()};
      cases.add(op, fused, {shape, row, shape, row, row}, what);
    }
    cases.add(op, fused, {kLarge, {67}, kLarge, {67}, {67}}, what, 40);
    const auto one = [=](Inputs x) {
      return bias_dropout_residual_layer_norm(x[0], x[1], d, x[0], x[2], x[3], 1e-2);
    };
    cases.add(op, one, {{5, 9}, {9}, {9}, {9}}, what + ", x is the residual");
    const auto unbiased = [=](Inputs x) {
      const Variable none(Tensor::zeros({9}, DType::f64, x[0].value().device()));
      return bias_dropout_residual_layer_norm(x[0], none, d, x[0], x[1], x[1], 1e-2);
    };
    cases.add(op, unbiased, {{5, 9}, {9}}, what + ", x is the residual, gamma is beta, the bias a constant");
    const auto read_before = [=](Inputs x) {
      const Variable y = bias_dropout_residual_layer_norm(x[0], x[1], d, x[2], x[3], x[4], 1e-2);
      return add(add(y, x[0]), multiply(x[2], tanh(y)));
    };
    cases.add(op, read_before, {{5, 9}, {9}, {5, 9}, {9}, {9}},
              what + ", x and the residual have other readers");
  }
}

void add_rows(Cases& cases) {
  for (const std::int64_t n : {1, 3, 21}) {
    cases.add("embedding", [](Inputs x) { return embedding(x[0], indices({4, 0, 4, 2, 4})); }, {{6, n}});
    cases.add("gather_rows", [](Inputs x) { return gather_rows(x[0], indices({1, 1, 0, 3})); }, {{4, n}});
    cases.add("concat_rows", [](Inputs x) { return concat_rows(x); }, {{2, n}, {1, n}, {4, n}});
    const Shape one{1, n};
    cases.add(
        "concat_rows", [](Inputs x) { return concat_rows(x); }, {one, one, one, one, one, one, one, {2, n}},
        "eight parts");
    cases.add("add_embeddings",
              [](Inputs x) {
                return add_embeddings(x[0], x[1], indices({0, 1, 2, 0}), x[2], indices({1, 1, 0, 1}));
              },
              {{4, n}, {5, n}, {2, n}});
    cases.add("sequence_mean",
              [](Inputs x) {
                return sequence_mean(x[0], layout_of({0, 1, 6, 8}));
              },
              {{8, n}});
    cases.add(
        "sequence_mean",
        [](Inputs x) {
          return sequence_mean(x[0], layout_of({0, 4, 8}, {1, 3}));
        },
        {{8, n}}, "padded");
  }
  cases.add(
      "embedding",
      [](Inputs x) {
        return add(embedding(x[0], indices({1, 3, 3})), embedding(x[0], indices({3, 0, 1})));
      },
      {{5, 4}}, "two readers");
  cases.add(
      "gather_rows",
      [](Inputs x) {
        return first_rows(x[0], layout_of({0, 2, 3, 7}));
      },
      {{7, 3}}, "first rows");
  cases.add(
      "concat_rows",
      [](Inputs x) {
        const Variable parts[] = {
            x[0], x[1], x[0], Variable(random_tensor({2, 3}, 50).to(x[0].value().device())), x[1], x[1]};
        return concat_rows(parts);
      },
      {{2, 3}, {1, 3}}, "parts named twice and a constant");
  cases.add(
      "add_embeddings",
      [](Inputs x) {
        return add_embeddings(x[0], x[0], indices({2, 1, 0}), x[0], indices({2, 2, 2}));
      },
      {{3, 4}}, "x is both tables");
}

void add_attention(Cases& cases) {
  struct Form {
    std::int64_t heads, head_dim;
  };
  const LayoutPtr layouts[] = {layout_of({0, 1}), layout_of({0, 3, 4, 9, 11}),
                               layout_of({0, 4, 8, 12}, {4, 1, 3})};
  for (const auto [heads, dim] : {Form{1, 1}, {2, 1}, {1, 5}, {3, 5}, {2, 8}, {2, 17}}) {
    for (const LayoutPtr& layout : layouts) {
      for (const Dropout& d : {Dropout{}, kDropout}) {
        const std::int64_t number = heads;
        cases.add(
            "attention", [=](Inputs x) { return attention(x[0], number, d, layout); },
            {{layout->tokens(), 3 * heads * dim}},
            fmt::format("{} heads of {}, {} sequences, p {}", heads, dim, layout->sequences(), d.p), 150);
      }
    }
  }
  const LayoutPtr longer = layout_of({0, 70, 200, 203}, {70, 97, 2});
  for (const Dropout& d : {Dropout{}, kDropout}) {
    cases.add(
        "attention", [=](Inputs x) { return attention(x[0], 2, d, longer); }, {{203, 36}},
        fmt::format("more rows than a block, p {}", d.p), 60);
  }
}

void add_losses(Cases& cases) {
  for (const Shape& shape : {Shape{5, 3}, {1, 2}, {4, 1}, {1, 1}, {33, 19}}) {
    std::vector<std::int32_t> labels(static_cast<std::size_t>(shape[0]));
    for (std::size_t i = 0; i < labels.size(); ++i)
      labels[i] = static_cast<std::int32_t>((7 * i + 1) % static_cast<std::size_t>(shape[1]));
    const Tensor hard = Tensor::from<std::int32_t>(labels, {shape[0]});
    const Tensor soft = random_tensor(shape, 70);
    cases.add("cross_entropy", [=](Inputs x) { return cross_entropy(x[0], hard); }, {shape});
    for (const double t : {1.0, 2.5}) {
      cases.add(
          "soft_cross_entropy",
          [=](Inputs x) { return soft_cross_entropy(x[0], soft.to(x[0].value().device()), t); }, {shape},
          fmt::format("T {}", t));
    }
  }
  cases.add(
      "cross_entropy",
      [](Inputs x) {
        const Variable loss = cross_entropy(x[0], indices({0, 2}));
        return add(scale(loss, 0.3),
                   soft_cross_entropy(x[0], random_tensor({2, 3}, 71).to(x[0].value().device()), 2));
      },
      {{2, 3}}, "two losses of one row of logits");
}

}  // namespace

std::vector<GradientCase> gradient_cases() {
  Cases cases;
  add_arithmetic(cases);
  add_linear(cases);
  add_activation(cases);
  add_norm(cases);
  add_rows(cases);
  add_attention(cases);
  add_losses(cases);
  return cases.take();
}

}  // namespace costeff::testing
