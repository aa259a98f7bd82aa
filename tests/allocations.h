// How often this program took memory from the heap.
#pragma once

#include <cstddef>

namespace costeff::testing {

std::size_t allocation_count();

}  // namespace costeff::testing
