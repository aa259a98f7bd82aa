// The tables of an importance audit's page, as HTML.
#pragma once

#include "tools/cli/audit/importance.h"

namespace costeff {

std::string misjudged_table(const ImportanceReport& report);
// Layers by heads, the cells coloured: the true change; the ranks by score and by truth.
std::string change_heat_table(const ImportanceReport& report);
std::string rank_heat_table(const ImportanceReport& report);
// Each exit's own score against its own loss.
std::string exit_table(const ImportanceReport& report);
// Scores against one another: the share of kept units in common, and Spearman.
std::string matrix_table(const audit::UnitsAudit& units);
// Every comparison, folded.
std::string comparison_details(const ImportanceReport& report);

}  // namespace costeff
