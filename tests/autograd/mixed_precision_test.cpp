// Products of numbers rounded to bf16, against f64 arithmetic on numbers rounded here by other means. Where
// attention rounds within, kernel_attention_test.cpp holds it closer.
#include <cmath>

#include "tests/autograd/support.h"
#include "tests/mock/mock.h"

namespace costeff {
namespace {

using namespace testing;

// To 8 significant bits, ties to even: what a bf16 holds.
Tensor eight_bits(const Tensor& x) {
  Tensor y = x.to(DType::f64).clone();
  for (double& v : y.span<double>()) {
    int exponent = 0;
    const double mantissa = std::frexp(v, &exponent);
    v = std::ldexp(std::nearbyint(std::ldexp(mantissa, 8)), exponent - 8);
  }
  return y;
}

constexpr std::int64_t kRows = 70, kIn = 37, kOut = 19;

struct Product {
  Tensor x = random_tensor({kRows, kIn}, 1, DType::f32);
  Tensor w = random_tensor({kOut, kIn}, 2, DType::f32);
  Tensor b = random_tensor({kOut}, 3, DType::f32);
  Tensor dy = random_tensor({kRows, kOut}, 4, DType::f32);
};

TEST(MixedPrecision, RoundsWhatItMultipliesForwardAndBackward) {
  const Product p;
  Tape mixed, exact;
  const Variable x = mixed.leaf(p.x, "x"), w = mixed.leaf(p.w, "w"), b = mixed.leaf(p.b, "b");
  const Variable y = linear(x, w, b, Precision::bf16);
  const Variable rx = exact.leaf(eight_bits(p.x), "x"), rw = exact.leaf(eight_bits(p.w), "w");
  const Variable expected = linear(rx, rw);
  const Tensor with_bias = add(expected, Variable(Tensor::zeros({kRows, kOut}, DType::f64))).value();
  for (std::int64_t r = 0; r < kRows; ++r) {
    for (std::int64_t o = 0; o < kOut; ++o) with_bias.host<double>()[r * kOut + o] += p.b.at(o);
  }
  expect_close(y.value(), with_bias, 1e-6, "y");
  EXPECT_GT(relative_error(y.value(), linear(Variable(p.x), Variable(p.w), Variable(p.b)).value()), 1e-4);

  const Root root{y, p.dy}, rounded_root{expected, eight_bits(p.dy)};
  const Gradients g = mixed.backward(std::span(&root, 1));
  const Gradients e = exact.backward(std::span(&rounded_root, 1));
  expect_close(g.of(x), e.of(rx), 1e-6, "dx");
  expect_close(g.of(w), e.of(rw), 1e-6, "dw");
  Tensor sums = Tensor::zeros({kOut}, DType::f64);
  for (std::int64_t i = 0; i < p.dy.numel(); ++i) sums.host<double>()[i % kOut] += p.dy.at(i);
  expect_close(g.of(b), sums, 1e-6, "db is summed up from what was not rounded");
}

TEST(MixedPrecision, WithoutABiasAndWithASecondReader) {
  const Product p;
  Tape tape;
  const Variable x = tape.leaf(p.x, "x"), w = tape.leaf(p.w, "w");
  const Variable y = linear(x, w, Precision::bf16);
  expect_close(y.value(), linear(Variable(eight_bits(p.x)), Variable(eight_bits(p.w))).value(), 1e-6);
  const Root once[] = {{y, p.dy}};
  const Tensor dx = tape.backward(once).of(x).clone();
  const Variable sum_of_both = add(y, linear(x, w, Precision::bf16));
  const Root twice[] = {{sum_of_both, p.dy}};
  const Tensor both = tape.backward(twice).of(x);
  for (std::int64_t i = 0; i < dx.numel(); ++i) EXPECT_NEAR(both.at(i), 2 * dx.at(i), 1e-5);
}

TEST(MixedPrecision, KeepsHalfTheBytesForTheBackward) {
  const Product p;
  Tape mixed, full;
  linear(mixed.leaf(p.x, "x"), mixed.leaf(p.w, "w"), Precision::bf16);
  linear(full.leaf(p.x, "x"), full.leaf(p.w, "w"));
  EXPECT_EQ(mixed.records()[0].saved(0).dtype(), DType::bf16);
  EXPECT_EQ(2 * mixed.saved_bytes(), full.saved_bytes());
  EXPECT_EQ(mixed.flops(), full.flops());
}

TEST(MixedPrecision, GivesTheSameBitsOnADevice) {
  mock::install();
  const Product p;
  const auto f = [](std::span<const Variable> in) { return linear(in[0], in[1], in[2], Precision::bf16); };
  const Tensor here[] = {p.x, p.w, p.b};
  const Tensor there[] = {p.x.to(mock::kMock), p.w.to(mock::kMock), p.b.to(mock::kMock)};
  const Outcome a = run(f, here), b = run(f, there);
  expect_equal(b.value, a.value);
  for (std::size_t i = 0; i < 3; ++i) expect_equal(b.gradients[i], a.gradients[i]);
}

constexpr Dropout kDropout{0.35, {9, 4, 6}};

struct Packed {
  LayoutPtr layout = layout_of({0, 9, 10, 24});
  Tensor qkv = random_tensor({24, 3 * 20}, 1, DType::f32);
  Tensor dy = random_tensor({24, 20}, 2, DType::f32);
};

TEST(MixedPrecision, AttentionRoundsWhatItMultiplies) {
  const Packed p;
  for (const Dropout& dropout : {Dropout{}, kDropout}) {
    Tape mixed, exact;
    const Variable x = mixed.leaf(p.qkv, "qkv"), rx = exact.leaf(eight_bits(p.qkv), "qkv");
    const Variable y = attention(x, 2, dropout, p.layout, Precision::bf16),
                   expected = attention(rx, 2, dropout, p.layout);
    // dropout(P) is rounded too: 1 part in 512 of each number that is summed up.
    expect_close(y.value(), expected.value(), 2e-3, "y");
    EXPECT_GT(relative_error(y.value(), expected.value()), 1e-5);
    const Root root{y, p.dy}, rounded_root{expected, eight_bits(p.dy)};
    expect_close(mixed.backward(std::span(&root, 1)).of(x),
                 exact.backward(std::span(&rounded_root, 1)).of(rx), 4e-3, "dqkv");
    expect_equal(attention(Variable(p.qkv), 2, dropout, p.layout, Precision::bf16).value(), y.value());
  }
}

TEST(MixedPrecision, AttentionKeepsNoProbabilities) {
  const LayoutPtr layout = layout_of({0, 200});
  const Tensor qkv = random_tensor({200, 3 * 32}, 1, DType::f32);
  Tape mixed, full;
  attention(mixed.leaf(qkv, "qkv"), 4, {}, layout, Precision::bf16);
  attention(full.leaf(qkv, "qkv"), 4, {}, layout);
  EXPECT_EQ(full.saved_bytes(), 4 * (200 * 96 + 4 * 200 * 200));
  EXPECT_EQ(mixed.saved_bytes(), 2 * 200 * 96 + 4 * 200 * 4);
  EXPECT_EQ(mixed.flops(), full.flops());
}

TEST(MixedPrecision, AttentionGivesTheSameBitsOnADevice) {
  mock::install();
  const Packed p;
  const auto f = [&](std::span<const Variable> in) {
    return attention(in[0], 2, kDropout, p.layout, Precision::bf16);
  };
  const Tensor here[] = {p.qkv}, there[] = {p.qkv.to(mock::kMock)};
  const Outcome a = run(f, here), b = run(f, there);
  expect_equal(b.value, a.value);
  expect_equal(b.gradients[0], a.gradients[0]);
}

TEST(MixedPrecision, IsOfF32) {
  const Variable x(random_tensor({3, 4}, 1)), w(random_tensor({2, 4}, 2));
  const std::string message = error_of([&] { linear(x, w, Precision::bf16); });
  EXPECT_NE(message.find("linear: products of bf16 are of f32 tensors"), std::string::npos) << message;
  const Variable qkv(random_tensor({24, 60}, 3));
  const std::string refused = error_of([&] { attention(qkv, 2, {}, Packed().layout, Precision::bf16); });
  EXPECT_NE(refused.find("attention: products of bf16 are of f32 tensors"), std::string::npos) << refused;
}

}  // namespace
}  // namespace costeff
