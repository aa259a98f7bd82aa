// Functions whose gradients are checked: at least one for each operation, by name.
#pragma once

#include <string>
#include <vector>

#include "tests/autograd/support.h"

namespace costeff::testing {

struct GradientCase {
  std::string op;
  std::string what;
  Function function;
  std::vector<Tensor> inputs;
  std::int64_t max_entries = 0;  // 0: all
};

std::vector<GradientCase> gradient_cases();

}  // namespace costeff::testing
