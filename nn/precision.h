// The precision of a forward pass.
#pragma once

#include <cstdint>

#include "tensor/choice.h"

namespace costeff {

// What linear layers and attention multiply: numbers of the parameters' dtype, or f32 ones rounded to bf16
// (autograd/ops_mixed_precision.cpp).
enum class Precision : std::uint8_t { full, bf16 };
constexpr auto names_of(Precision) {
  return std::to_array<Name<Precision>>({{Precision::full, "f32"}, {Precision::bf16, "bf16"}});
}

}  // namespace costeff
