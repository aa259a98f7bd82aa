// The 16-bit floats, all 65,536 of them, against the definition of a binary float.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "nn/safetensors.h"
#include "tensor/dtype.h"

namespace costeff {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

// The value of a binary float of 16 bits by the definition: sign · 2^(e - bias) · 1.fraction.
double value_of(unsigned bits, int exponent_bits) {
  const int fraction_bits = 15 - exponent_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>((bits & 0x7fffu) >> fraction_bits);
  const int fraction = static_cast<int>(bits) & ((1 << fraction_bits) - 1);
  const double sign = bits & 0x8000u ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) return fraction == 0 ? sign * infinity : std::nan("");
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
  return sign * std::ldexp((1 << fraction_bits) + fraction, exponent - bias - fraction_bits);
}

// Equal bit for bit, except that one NaN is as good as another.
bool same(double a, double b) {
  return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

TEST(HalfTest, EveryHalfHasItsValueAndComesBack) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float x = f16_to_f32(static_cast<std::uint16_t>(bits));
    ASSERT_TRUE(same(x, value_of(bits, 5))) << bits;
    const unsigned back = f32_to_f16(x);
    if (std::isnan(x)) {
      ASSERT_EQ(back, bits | 0x0200u) << "sign and payload stay, quiet";
    } else {
      ASSERT_EQ(back, bits);
    }
  }
}

TEST(HalfTest, EveryBfloatHasItsValueAndComesBack) {
  for (unsigned bits = 0; bits < 65536; ++bits) {
    const float x = to_f32(bf16{static_cast<std::uint16_t>(bits)});
    ASSERT_TRUE(same(x, value_of(bits, 8))) << bits;
    ASSERT_EQ(to_bf16(x).bits, std::isnan(x) ? bits | 0x0040u : bits);
  }
}

// Between neighbours a < b: below the middle goes to a, above to b, the middle to the even one.
TEST(HalfTest, RoundsToNearestTiesToEven) {
  for (unsigned bits = 0; bits < 0x7c00u; ++bits) {
    const double a = value_of(bits, 5);
    const double b = bits + 1 == 0x7c00u ? 65536.0 : value_of(bits + 1, 5);
    const auto middle = static_cast<float>((a + b) / 2);
    ASSERT_EQ(middle, (a + b) / 2) << "exact in f32";
    const unsigned even = bits % 2 == 0 ? bits : bits + 1;
    ASSERT_EQ(f32_to_f16(middle), even) << bits;
    ASSERT_EQ(f32_to_f16(-middle), even | 0x8000u) << bits;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), bits);
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 1e9f)), bits + 1);
  }
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::max()), 0x7c00u);
  EXPECT_EQ(f32_to_f16(-std::numeric_limits<float>::infinity()), 0xfc00u);
  EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::denorm_min()), 0u);
}

TEST(HalfTest, BfloatRoundsToNearestTiesToEven) {
  for (unsigned bits = 0; bits < 0x7f80u; ++bits) {
    // The middle between two neighbours is the f32 whose lower half is 0x8000.
    const auto middle = std::bit_cast<float>((bits << 16) | 0x8000u);
    ASSERT_EQ(to_bf16(middle).bits, bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(to_bf16(std::nextafter(middle, 0.0f)).bits, bits);
    ASSERT_EQ(to_bf16(std::bit_cast<float>((bits << 16) | 0x8001u)).bits, bits + 1);
  }
}

}  // namespace
}  // namespace costeff
