// What the numbers of a gradient audit mean.
#pragma once

#include <string>
#include <vector>

#include "tools/cli/audit/documents.h"

namespace costeff {

// How far equalisation changes Adam's update at most, over layers, where it is said to do so "hardly" and "a
// little": in length, as |ratio - 1|, and in direction, as the least cosine.
struct Change {
  double length, cosine;
};
inline constexpr Change kHardly{0.1, 0.95}, kLittle{0.3, 0.9};

// The answers to three questions: about Eq. 3, Adam, and conflicts of exits.
std::vector<Findings> gradient_findings(const GradientReport& report);
std::string gradient_headline(const std::vector<Findings>& findings);

std::string layer_name(std::int64_t layer);  // "embeddings", "layer 3"

}  // namespace costeff
