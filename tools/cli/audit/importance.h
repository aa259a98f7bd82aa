// What the numbers of an importance audit mean, and its pictures.
#pragma once

#include <string>
#include <vector>

#include "tools/cli/audit/documents.h"

namespace costeff {

std::string importance_headline(const ImportanceReport& report);
std::vector<Findings> importance_findings(const ImportanceReport& report);

// The paper's score of each removed unit against |true change|, on logarithmic axes.
Figure score_scatter(const ImportanceReport& report, const audit::UnitsAudit& units);
// What the gate's derivative predicts against the true change, with their signs.
Figure signed_scatter(const ImportanceReport& report, const audit::UnitsAudit& units);
// Mean Spearman within a layer of each definition and source, with the least and the most of a layer.
Figure spearman_bars(const ImportanceReport& report, const audit::UnitsAudit& units);
// The change of the loss over the number of heads that are removed together.
Figure cumulative_figure(const ImportanceReport& report);

const char* singular(const audit::UnitsAudit& units);  // "head"
const char* plural(const audit::UnitsAudit& units);    // "heads"
// "paper, labels, signed sum, equalised"
std::string name_of(const audit::Comparison& comparison);
const char* name_of(audit::Comparison::Layers layers);

}  // namespace costeff
