// What a mistyped word most likely meant.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace costeff {

// Letters to insert, leave out, replace or swap with their neighbour to make one word the other (optimal
// string alignment).
std::size_t edit_distance(std::string_view a, std::string_view b);

// The candidate with the smallest distance, the first of several; empty without candidates.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace costeff
