// The families of CPU kernels, in the namespace of one instruction set.
#pragma once

#include "tensor/families.h"
#include "tensor/kernels.h"

#define COSTEFF_BACKEND COSTEFF_ISA

namespace costeff::COSTEFF_ISA {
COSTEFF_BACKEND_FAMILIES
}  // namespace costeff::COSTEFF_ISA
