// What users call the precision of a forward pass (tensor/dtype.h).
#pragma once

#include "tensor/choice.h"
#include "tensor/dtype.h"

namespace costeff {

constexpr auto names_of(Precision) {
  return std::to_array<Name<Precision>>({{Precision::full, "f32"}, {Precision::bf16, "bf16"}});
}

}  // namespace costeff
