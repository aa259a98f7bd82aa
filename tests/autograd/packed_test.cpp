// A packed batch is a padded batch without its padding, and what stands in the padding never matters.
#include <gtest/gtest.h>

#include "tests/autograd/support.h"

namespace costeff {
namespace {

using namespace testing;

using Inputs = std::span<const Variable>;

constexpr std::int64_t kHidden = 12;
constexpr std::int64_t kWide = 20;
const std::int32_t kLengths[] = {3, 1, 7, 4};
constexpr std::int64_t kTokens = 15;
constexpr std::int64_t kPadTo = 8;
constexpr std::int64_t kPadded = 4 * kPadTo;

LayoutPtr packed_layout() {
  return layout_of({0, 3, 4, 11, 15});
}
LayoutPtr padded_layout() {
  return make_layout(std::vector<std::int32_t>{0, 8, 16, 24, 32}, kLengths);
}

// The row of the padded batch where each packed row stands.
std::vector<std::int64_t> places() {
  std::vector<std::int64_t> rows;
  for (std::int64_t s = 0; s < 4; ++s) {
    for (std::int64_t t = 0; t < kLengths[s]; ++t) rows.push_back(s * kPadTo + t);
  }
  return rows;
}

Tensor pad(const Tensor& packed, double filler) {
  Tensor padded = Tensor::full(packed.shape().with_front(kPadded), filler, packed.dtype());
  const std::vector<std::int64_t> rows = places();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto from = static_cast<std::int64_t>(i);
    padded.slice(rows[i], rows[i] + 1).copy_from(packed.slice(from, from + 1));
  }
  return padded;
}

Tensor real_rows(const Tensor& padded) {
  Tensor packed = Tensor::empty(padded.shape().with_front(kTokens), padded.dtype());
  const std::vector<std::int64_t> rows = places();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto to = static_cast<std::int64_t>(i);
    packed.slice(to, to + 1).copy_from(padded.slice(rows[i], rows[i] + 1));
  }
  return packed;
}

// A transformer layer, as BERT's, on x[0]; x[1] on are its parameters.
Variable layer(Inputs x, const LayoutPtr& layout) {
  const Variable context = attention(linear(x[0], x[1], x[2]), 3, {}, layout);
  const Variable middle =
      bias_dropout_residual_layer_norm(linear(context, x[3]), x[4], {}, x[0], x[5], x[6], 1e-5);
  const Variable wide = bias_gelu(linear(middle, x[7]), x[8]);
  return bias_dropout_residual_layer_norm(linear(wide, x[9]), x[10], {}, middle, x[11], x[12], 1e-5);
}

// Its parameters, after `x`.
std::vector<Tensor> layer_inputs(const Tensor& x) {
  std::vector<Tensor> inputs = {x};
  const Shape shapes[] = {
      {3 * kHidden, kHidden}, {3 * kHidden}, {kHidden, kHidden}, {kHidden}, {kHidden}, {kHidden},
      {kWide, kHidden},       {kWide},       {kHidden, kWide},   {kHidden}, {kHidden}, {kHidden}};
  std::uint32_t stream = 200;
  for (const Shape& shape : shapes) inputs.push_back(random_tensor(shape, stream++, x.dtype()));
  return inputs;
}

// Two layers' worth of mixing, then a loss that reads real rows alone.
Function loss_of_mean(const LayoutPtr& layout) {
  return [layout](Inputs x) {
    std::vector<Variable> again(x.begin(), x.end());
    again[0] = layer(x, layout);
    return cross_entropy(sequence_mean(layer(again, layout), layout), indices({4, 0, 11, 7}));
  };
}

// A loss at each sequence's [CLS].
Function loss_of_first(const LayoutPtr& layout) {
  return [layout](Inputs x) {
    return cross_entropy(first_rows(layer(x, layout), layout), indices({1, 2, 3, 4}));
  };
}

class PackedBatch : public ::testing::TestWithParam<DType> {};

INSTANTIATE_TEST_SUITE_P(DTypes, PackedBatch, ::testing::Values(DType::f64, DType::f32),
                         [](const auto& instance) { return std::string(name_of(instance.param)); });

TEST_P(PackedBatch, EqualsThePaddedBatchsRealRows) {
  const double tolerance = GetParam() == DType::f64 ? 1e-12 : 1e-5;
  const Tensor x = random_tensor({kTokens, kHidden}, 1, GetParam());
  for (const auto& loss : {loss_of_mean, loss_of_first}) {
    const Outcome packed = run(loss(packed_layout()), layer_inputs(x));
    const Outcome padded = run(loss(padded_layout()), layer_inputs(pad(x, 0)));
    expect_close(padded.value, packed.value, tolerance, "loss");
    expect_close(real_rows(padded.gradients[0]), packed.gradients[0], tolerance, "gradient of x");
    for (std::size_t i = 1; i < packed.gradients.size(); ++i) {
      expect_close(padded.gradients[i], packed.gradients[i], tolerance, "gradient of " + std::to_string(i));
    }
  }
}

TEST_P(PackedBatch, WhatStandsInThePaddingNeverMatters) {
  const Tensor x = random_tensor({kTokens, kHidden}, 1, GetParam());
  for (const auto& loss : {loss_of_mean, loss_of_first}) {
    const Outcome zeros = run(loss(padded_layout()), layer_inputs(pad(x, 0)));
    const Outcome junk = run(loss(padded_layout()), layer_inputs(pad(x, 1e3)));
    expect_equal(junk.value, zeros.value, "loss");
    expect_equal(real_rows(junk.gradients[0]), real_rows(zeros.gradients[0]), "gradient of x");
    for (std::size_t i = 1; i < zeros.gradients.size(); ++i) {
      expect_close(junk.gradients[i], zeros.gradients[i], GetParam() == DType::f64 ? 1e-12 : 1e-5,
                   "gradient of " + std::to_string(i));
    }
  }
}

TEST_P(PackedBatch, ALayersRealRowsDoNotSeeThePadding) {
  const Tensor x = random_tensor({kTokens, kHidden}, 1, GetParam());
  const auto hidden = [&](const Tensor& rows, const LayoutPtr& layout) {
    const std::vector<Tensor> inputs = layer_inputs(rows);
    return layer(std::vector<Variable>(inputs.begin(), inputs.end()), layout).value();
  };
  const Tensor zeros = real_rows(hidden(pad(x, 0), padded_layout()));
  expect_equal(real_rows(hidden(pad(x, 1e3), padded_layout())), zeros);
  expect_close(hidden(x, packed_layout()), zeros, GetParam() == DType::f64 ? 1e-13 : 1e-6);
}

// No gradient leaves through the padding.
TEST_P(PackedBatch, PaddingRowsGetZeroGradient) {
  const Tensor x = random_tensor({kTokens, kHidden}, 1, GetParam());
  const Tensor gradient = run(loss_of_mean(padded_layout()), layer_inputs(pad(x, 7))).gradients[0];
  double padding = 0;
  for (std::int64_t row = 0; row < kPadded; ++row) {
    if (row % kPadTo < kLengths[row / kPadTo]) continue;
    for (std::int64_t c = 0; c < kHidden; ++c) padding += std::abs(gradient.at(row * kHidden + c));
  }
  EXPECT_EQ(padding, 0);
}

// Sequences of a batch do not see each other.
TEST_P(PackedBatch, ASequenceAloneIsThatSequenceInTheBatch) {
  const Tensor x = random_tensor({kTokens, kHidden}, 1, GetParam());
  const auto attend = [](const Tensor& rows, const LayoutPtr& layout) {
    const std::vector<Tensor> inputs = layer_inputs(rows);
    return layer(std::vector<Variable>(inputs.begin(), inputs.end()), layout).value();
  };
  const Tensor all = attend(x, packed_layout());
  const Tensor alone = attend(x.slice(4, 11).clone(), layout_of({0, 7}));
  // Few rows have a product of their own, which sums in another order.
  expect_close(alone, all.slice(4, 11), GetParam() == DType::f64 ? 1e-13 : 5e-6);
}

}  // namespace
}  // namespace costeff
