// Scores against true changes, and scores against one another.
#pragma once

#include "costeff/audit/importance.h"

namespace costeff::audit {

using ByLayer = std::vector<std::vector<double>>;

const ByLayer& of(const ImportanceScores& scores, Units units);
ByLayer absolute(ByLayer values);

// Fills what follows from the scores and from `removed`: comparisons, ratios, signs, the matrix.
void compare(const ImportanceAudit& audit, std::int64_t first_exit, UnitsAudit& units);

}  // namespace costeff::audit
