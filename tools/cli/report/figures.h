// The pictures of a report. A figure without what it needs has `missing` set, and no script.
#pragma once

#include "tools/cli/pages/chart.h"
#include "tools/cli/report/data.h"

namespace costeff {

// Scores, exits and costs.
Figure score_flops_figure(const ReportData& data);
Figure score_exits_figure(const ReportData& data);
Figure exit_histogram_figure(const ReportData& data);
Figure time_figure(const ReportData& data);
// Loss and dev scores of a stage.
Figure training_figure(const ReportData& data, const StageReport& stage);
// What slenderising removed.
Figure widths_figure(const ReportData& data);
Figure heads_figure(const ReportData& data);
Figure neurons_figure(const ReportData& data);

}  // namespace costeff
