#include "costeff/train/value.h"

namespace costeff {

bool NumberRange::holds(double x) const {
  const bool low = above ? x > least : x >= least, high = below ? x < most : x <= most;
  return x == also || (std::isfinite(x) && low && high);
}

std::string NumberRange::text() const {
  std::string text;
  if (std::isfinite(least) && std::isfinite(most)) {
    text = fmt::format("from {} to {}{}", least, below ? "below " : "", most);
  } else if (std::isfinite(least)) {
    text = fmt::format("{} {}", above ? "above" : "at least", least);
  }
  return std::isnan(also) ? text : fmt::format("{}, or {}", text, also);
}

}  // namespace costeff
