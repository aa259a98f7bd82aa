// The scalar functions that kernels are made of, against the C library in f64, and Philox against its
// published vectors.
#include "tests/support.h"
#include "tests/tensor/kernel_test.h"

namespace costeff::testing {
namespace {

TEST(KernelMath, PhiloxGivesThePublishedVectors) {
  using Words = std::array<std::uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(KernelMath, ExpIsAccurateToF32) {
  double worst = 0;
  for (float x = -87.2f; x < 88.6f; x += 0.00037f) {
    const double exact = std::exp(static_cast<double>(x));
    worst = worse(worst, std::abs(static_cast<double>(math::exp(x)) - exact) / exact);
  }
  EXPECT_LT(worst, 2e-7);
}

TEST(KernelMath, ExpOfExtremes) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(math::exp(0.0f), 1.0f);
  EXPECT_EQ(math::exp(-1000.0f), 0.0f);
  EXPECT_EQ(math::exp(-kInfinity), 0.0f);
  EXPECT_EQ(math::exp(1000.0f), kInfinity);
  EXPECT_EQ(math::exp(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(math::exp(std::numeric_limits<float>::quiet_NaN())));
}

TEST(KernelMath, ErfIsAccurateToF32) {
  double worst = 0;
  for (float x = -6; x < 6; x += 0.000037f) {
    worst = worse(worst, std::abs(static_cast<double>(math::erf(x)) - std::erf(static_cast<double>(x))));
  }
  EXPECT_LT(worst, 1.5e-7);
  EXPECT_EQ(math::erf(1e30f), 1.0f);
  EXPECT_EQ(math::erf(-std::numeric_limits<float>::infinity()), -1.0f);
  EXPECT_TRUE(std::isnan(math::erf(std::numeric_limits<float>::quiet_NaN())));
}

TEST(KernelMath, TanhIsAccurateToTheLastPlaces) {
  double worst = 0;
  for (float x = 1e-5f; x < 12; x *= 1.00005f) {
    const double exact = std::tanh(static_cast<double>(x));
    const float nearest = static_cast<float>(exact);
    const double place = static_cast<double>(nearest - std::nextafter(nearest, 0.0f));
    worst = worse(worst, std::abs(static_cast<double>(math::tanh(x)) - exact) / place);
    ASSERT_EQ(math::tanh(-x), -math::tanh(x)) << x;
  }
  EXPECT_LT(worst, 2.5);
}

TEST(KernelMath, TanhOfExtremes) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(math::tanh(0.0f), 0.0f);
  EXPECT_EQ(math::tanh(1e-40f), 1e-40f);
  EXPECT_EQ(math::tanh(1e30f), 1.0f);
  EXPECT_EQ(math::tanh(kInfinity), 1.0f);
  EXPECT_EQ(math::tanh(-kInfinity), -1.0f);
  EXPECT_TRUE(std::isnan(math::tanh(std::numeric_limits<float>::quiet_NaN())));
}

TEST(KernelMath, GeluAndItsDerivativeAreAccurateToF32) {
  double worst = 0, worst_derivative = 0;
  for (float x = -12; x < 12; x += 0.000083f) {
    const double z = static_cast<double>(x);
    const double cdf = 0.5 * std::erfc(-z / std::sqrt(2.0));
    const double density = std::exp(-z * z / 2) / std::sqrt(2 * M_PI);
    worst = worse(worst, std::abs(static_cast<double>(math::gelu(x)) - z * cdf) / std::max(1.0, std::abs(z)));
    worst_derivative = worse(worst_derivative,
                             std::abs(static_cast<double>(math::gelu_derivative(x)) - (cdf + z * density)));
  }
  EXPECT_LT(worst, 2e-7);
  EXPECT_LT(worst_derivative, 5e-7);
}

TEST(KernelMath, GeluDerivativeIsTheSlopeOfGelu) {
  for (double x = -8; x < 8; x += 0.0117) {
    const double h = 1e-5, slope = (math::gelu(x + h) - math::gelu(x - h)) / (2 * h);
    EXPECT_NEAR(math::gelu_derivative(x), slope, 1e-9) << x;
  }
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(math::gelu_derivative(infinity), 1.0);
  EXPECT_EQ(math::gelu_derivative(-infinity), 0.0);
}

}  // namespace
}  // namespace costeff::testing
