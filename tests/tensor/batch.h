// A packed or padded batch for tests of kernels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "tensor/kernels.h"

namespace costeff::testing {

struct Batch {
  std::vector<std::int32_t> offsets{0}, lengths;
  std::vector<std::int64_t> pairs{0};
  std::int64_t longest = 0;

  Batch(std::initializer_list<std::int32_t> real, std::int32_t padding = 0) {
    for (const std::int32_t n : real) {
      const std::int32_t rows = n + padding;
      lengths.push_back(n);
      offsets.push_back(offsets.back() + rows);
      pairs.push_back(pairs.back() + static_cast<std::int64_t>(rows) * rows);
      longest = std::max<std::int64_t>(longest, rows);
    }
  }
  Sequences view() const {
    return {static_cast<std::int64_t>(lengths.size()), offsets.data(), lengths.data(), pairs.data(), longest};
  }
  std::int64_t tokens() const { return offsets.back(); }
};

}  // namespace costeff::testing
