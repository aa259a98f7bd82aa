// The HTML page of a report: one file that needs no other and no network.
#pragma once

#include <string>
#include <vector>

#include "tools/cli/pages/gnuplot.h"
#include "tools/cli/report/data.h"

namespace costeff {

struct FigureGroup {
  std::string heading;
  std::vector<Figure> figures;
};

// In one sentence, what came out: "1/8 of the parameters, 1/19 of the FLOPs, 94.6 % of the fine-tuned model's
// accuracy".
std::string headline(const ReportData& data);

std::string report_page(const ReportData& data, const std::vector<FigureGroup>& groups);

}  // namespace costeff
