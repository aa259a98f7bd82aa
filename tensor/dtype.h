// Element types, and the 16-bit floats that exist in storage only.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tensor/inline.h"

namespace costeff {

enum class DType : std::uint8_t { f32, f64, bf16, i32 };

// How the products of linear layers and attention multiply: in their tensors' own dtype or, of f32 tensors,
// values rounded to bf16 with sums in f32 (Micikevicius et al., 2018, with bf16 for f16).
enum class Precision : std::uint8_t { full, bf16 };

// The upper half of an f32. Storage and conversion; arithmetic happens in f32.
struct bf16 {
  std::uint16_t bits = 0;
};

COSTEFF_INLINE constexpr float to_f32(bf16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}

// Rounds to nearest, ties to even; a NaN stays a (quiet) NaN.
COSTEFF_INLINE constexpr bf16 to_bf16(float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((u >> 16) | 0x40u)};
  return {static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

constexpr std::size_t size_of(DType t) {
  switch (t) {
    case DType::f64:
      return 8;
    case DType::bf16:
      return 2;
    case DType::f32:
    case DType::i32:
      break;
  }
  return 4;
}

constexpr std::string_view name_of(DType t) {
  switch (t) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::bf16:
      return "bf16";
    case DType::i32:
      break;
  }
  return "i32";
}

// DType of a C++ element type: dtype_of<float> == DType::f32.
template <class T>
extern const DType dtype_of;
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<double> = DType::f64;
template <>
inline constexpr DType dtype_of<bf16> = DType::bf16;
template <>
inline constexpr DType dtype_of<std::int32_t> = DType::i32;

}  // namespace costeff
