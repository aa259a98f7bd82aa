// The pictures of an importance audit's page.
#pragma once

#include "tools/cli/audit/importance.h"
#include "tools/cli/pages/gnuplot.h"

namespace costeff {

// The paper's score of each removed unit against |true change|, on logarithmic axes.
Figure score_scatter(const ImportanceReport& report, const audit::UnitsAudit& units);
// What the gate's derivative predicts against the true change, with their signs.
Figure signed_scatter(const ImportanceReport& report, const audit::UnitsAudit& units);
// Mean Spearman within a layer of each definition and source, with the least and the most of a layer.
Figure spearman_bars(const ImportanceReport& report, const audit::UnitsAudit& units);
// The change of the loss over the number of heads that are removed together.
Figure cumulative_figure(const ImportanceReport& report);
// All that the report has something to show for, drawn.
std::vector<Figure> importance_figures(const ImportanceReport& report);

}  // namespace costeff
