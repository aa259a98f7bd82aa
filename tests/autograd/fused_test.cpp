// A fused operation is the composition of plain ones: value and gradient of every input, in f64 and f32.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/autograd/support.h"

namespace costeff {
namespace {

using namespace testing;

using Inputs = std::span<const Variable>;
constexpr Dropout kDropout{0.35, {9, 4, 6}};

// Every row of [rows, n] is `bias`, by plain operations.
Variable bias_rows(const Variable& bias, std::int64_t rows) {
  return gather_rows(reshape(bias, {1, bias.shape()[0]}), Tensor::zeros({rows}, DType::i32));
}

class Fused : public ::testing::TestWithParam<DType> {
 protected:
  double tolerance() const { return GetParam() == DType::f64 ? 1e-12 : 1e-5; }
  Tensor input(const Shape& shape) { return random_tensor(shape, stream_++, GetParam()); }

 private:
  std::uint32_t stream_ = 100;
};

INSTANTIATE_TEST_SUITE_P(DTypes, Fused, ::testing::Values(DType::f64, DType::f32),
                         [](const auto& instance) { return std::string(name_of(instance.param)); });

const Shape kShapes[] = {{5, 7}, {1, 33}, {9, 1}, {150, 70}};

TEST_P(Fused, LinearWithBias) {
  for (const Shape& shape : kShapes) {
    const auto plain = [](Inputs x) {
      return add(matmul(x[0], x[1], true), bias_rows(x[2], x[0].shape()[0]));
    };
    expect_same([](Inputs x) { return linear(x[0], x[1], x[2]); }, plain,
                {input(shape), input({11, shape[1]}), input({11})}, tolerance());
  }
}

TEST_P(Fused, BiasGelu) {
  for (const Shape& shape : kShapes) {
    const auto plain = [](Inputs x) { return gelu(add(x[0], bias_rows(x[1], x[0].shape()[0]))); };
    expect_same([](Inputs x) { return bias_gelu(x[0], x[1]); }, plain, {input(shape), input({shape[1]})},
                tolerance());
  }
}

TEST_P(Fused, BiasDropoutResidualLayerNorm) {
  for (const Shape& shape : kShapes) {
    for (const Dropout& d : {Dropout{}, kDropout}) {
      const auto fused = [&](Inputs x) {
        return bias_dropout_residual_layer_norm(x[0], x[1], d, x[2], x[3], x[4], 0.1);
      };
      const auto plain = [&](Inputs x) {
        const Variable biased = add(x[0], bias_rows(x[1], x[0].shape()[0]));
        return layer_norm(add(dropout(biased, d), x[2]), x[3], x[4], 0.1);
      };
      const Shape row{shape[1]};
      expect_same(fused, plain, {input(shape), input(row), input(shape), input(row), input(row)},
                  tolerance());
    }
  }
}

TEST_P(Fused, LogSoftmaxAndCrossEntropy) {
  const Tensor labels = indices({2, 0, 1, 1});
  const auto plain = [&](Inputs x) {
    const Tensor one_hot = Tensor::zeros({4, 3}, x[0].dtype());
    for (std::int64_t row = 0; row < 4; ++row)
      one_hot.slice(row, row + 1)
          .reshape({3, 1})
          .slice(labels.data<std::int32_t>()[row], labels.data<std::int32_t>()[row] + 1)
          .fill(-0.25);
    return sum(multiply(log_softmax(x[0]), Variable(one_hot)));
  };
  expect_same([&](Inputs x) { return cross_entropy(x[0], labels); }, plain, {input({4, 3})}, tolerance());

  const Tensor teacher = input({4, 3});
  const auto soft = [&](Inputs x) {
    const Variable target = softmax(scale(Variable(teacher), 1 / 2.5));
    return scale(sum(multiply(log_softmax(scale(x[0], 1 / 2.5)), target)), -0.25);
  };
  expect_same([&](Inputs x) { return soft_cross_entropy(x[0], teacher, 2.5); }, soft, {input({4, 3})},
              tolerance());
}

TEST_P(Fused, MeanSquaredError) {
  const auto plain = [](Inputs x) {
    const Variable difference = add(x[0], scale(x[1], -1));
    return mean(multiply(difference, difference));
  };
  expect_same([](Inputs x) { return mean_squared_error(x[0], x[1]); }, plain, {input({6, 5}), input({6, 5})},
              tolerance());
}

TEST_P(Fused, SequenceMean) {
  const LayoutPtr layout = layout_of({0, 3, 4, 9}, {2, 1, 5});
  const auto plain = [&](Inputs x) {
    const Tensor weights = Tensor::zeros({3, 9}, x[0].dtype());
    for (std::int64_t s = 0; s < 3; ++s) {
      const std::int64_t begin = 9 * s + layout->offset(s);
      weights.reshape({27})
          .slice(begin, begin + layout->length(s))
          .fill(1.0 / static_cast<double>(layout->length(s)));
    }
    return matmul(Variable(weights), x[0]);
  };
  expect_same([&](Inputs x) { return sequence_mean(x[0], layout); }, plain, {input({9, 5})}, tolerance());
}

// One linear of stacked weights against three.
TEST_P(Fused, QueryKeyAndValueInOneLinear) {
  const std::int64_t n = 6;
  const LayoutPtr layout = layout_of({0, 2, 7});
  const auto stacked = [&](Inputs x) {
    const Variable weight = concat_rows(x.subspan(1, 3));
    const Variable biases[] = {reshape(x[4], {1, n}), reshape(x[5], {1, n}), reshape(x[6], {1, n})};
    return attention(linear(x[0], weight, reshape(concat_rows(biases), {3 * n})), 2, kDropout, layout);
  };
  const auto separate = [&](Inputs x) {
    // Rows t of the three outputs become one row q k v.
    std::vector<Variable> parts;
    for (std::size_t i = 0; i < 3; ++i) parts.push_back(linear(x[0], x[1 + i], x[4 + i]));
    std::vector<std::int32_t> order;
    for (std::int32_t t = 0; t < 7; ++t) order.insert(order.end(), {t, 7 + t, 14 + t});
    const Variable rows = gather_rows(concat_rows(parts), Tensor::from<std::int32_t>(order, {21}));
    return attention(reshape(rows, {7, 3 * n}), 2, kDropout, layout);
  };
  expect_same(
      stacked, separate,
      {input({7, 4}), input({n, 4}), input({n, 4}), input({n, 4}), input({n}), input({n}), input({n})},
      tolerance());
}

// ---- attention from plain operations

struct AttentionForm {
  std::int64_t heads;
  std::int64_t head_dim;
  Dropout dropout;
  LayoutPtr layout;
};

// The rows `part` (0 q, 1 k, 2 v) of one head, tokens begin .. begin + n, of qkv as [tokens * 3 * heads, d].
Variable head_rows(const Variable& qkv, const AttentionForm& form, int part, std::int64_t head,
                   std::int64_t begin, std::int64_t n) {
  std::vector<std::int32_t> index;
  for (std::int64_t t = begin; t < begin + n; ++t)
    index.push_back(static_cast<std::int32_t>((t * 3 + part) * form.heads + head));
  return gather_rows(qkv, Tensor::from<std::int32_t>(index, {n}));
}

// The mask over the probabilities [rows, keys] of a head whose first element is the first_pair-th of all.
Variable mask_of(const AttentionForm& form, std::int64_t first_pair, std::int64_t rows, std::int64_t keys,
                 DType dtype) {
  const std::int64_t all = form.heads * form.layout->pairs();
  const Tensor drawn = dropout(Variable(Tensor::full({all, 1}, 1, dtype)), form.dropout).value();
  const Tensor mask = Tensor::empty({rows, keys}, dtype);
  for (std::int64_t i = 0; i < rows; ++i) {
    const std::int64_t begin = first_pair + i * rows;
    mask.slice(i, i + 1).copy_from(drawn.slice(begin, begin + keys).reshape({1, keys}));
  }
  return Variable(mask);
}

Variable composed_attention(const Variable& x, const AttentionForm& form) {
  const Layout& layout = *form.layout;
  const Variable qkv = reshape(x, {layout.tokens() * 3 * form.heads, form.head_dim});
  Variable out;
  std::vector<std::int32_t> place(static_cast<std::size_t>(layout.tokens() * form.heads));
  std::int32_t row = 0;
  for (std::int64_t s = 0; s < layout.sequences(); ++s) {
    const std::int64_t begin = layout.offset(s);
    const std::int64_t n = layout.offset(s + 1) - begin;
    const std::int64_t keys = layout.length(s);
    for (std::int64_t head = 0; head < form.heads; ++head) {
      const Variable q = head_rows(qkv, form, 0, head, begin, n);
      const Variable k = head_rows(qkv, form, 1, head, begin, keys);
      const Variable v = head_rows(qkv, form, 2, head, begin, keys);
      const Variable scores = scale(matmul(q, k, true), 1 / std::sqrt(static_cast<double>(form.head_dim)));
      const std::int64_t first_pair = form.heads * layout.view().pairs[s] + head * n * n;
      const Variable kept = multiply(softmax(scores), mask_of(form, first_pair, n, keys, x.dtype()));
      const Variable parts[] = {out, matmul(kept, v)};
      out = row == 0 ? parts[1] : concat_rows(parts);
      for (std::int64_t t = begin; t < begin + n; ++t)
        place[static_cast<std::size_t>(t * form.heads + head)] = row++;
    }
  }
  const Variable ordered =
      gather_rows(out, Tensor::from<std::int32_t>(place, {layout.tokens() * form.heads}));
  return reshape(ordered, {layout.tokens(), form.heads * form.head_dim});
}

TEST_P(Fused, Attention) {
  for (const LayoutPtr& layout :
       {layout_of({0, 1}), layout_of({0, 3, 4, 9}), layout_of({0, 4, 8, 12}, {4, 1, 3}),
        layout_of({0, 67, 80, 210}, {60, 13, 129})}) {
    for (const auto& [heads, dim] : {std::pair{1, 1}, {2, 5}, {3, 8}, {2, 33}}) {
      for (const Dropout& d : {Dropout{}, kDropout}) {
        const AttentionForm form{heads, dim, d, layout};
        SCOPED_TRACE(fmt::format("{} tokens, {} heads of {}, p {}", layout->tokens(), heads, dim, d.p));
        expect_same([&](Inputs x) { return attention(x[0], form.heads, form.dropout, form.layout); },
                    [&](Inputs x) { return composed_attention(x[0], form); },
                    {input({layout->tokens(), 3 * heads * dim})}, tolerance());
      }
    }
  }
}

// Without a gradient to come, the probabilities are not kept; the output must be the same.
TEST_P(Fused, AttentionOfAConstantIsThatOfAVariable) {
  const LayoutPtr layout = layout_of({0, 5, 80}, {5, 71});
  const Tensor qkv = input({80, 18});
  Tape tape;
  const Variable kept = attention(tape.leaf(qkv, "qkv"), 2, kDropout, layout);
  expect_equal(attention(Variable(qkv), 2, kDropout, layout).value(), kept.value());
}

}  // namespace
}  // namespace costeff
