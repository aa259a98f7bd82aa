// The page of a run, for the commands that make one.
#pragma once

#include <string>

#include "tools/cli/pages/document.h"
#include "tools/cli/report/data.h"

namespace costeff {

Document report_document(const ReportData& data);

// Writes RUN/report.html, and its pictures as files into RUN/report; returns the page's path. Throws Error
// when there is no run, when gnuplot is not installed, or when something cannot be written: then what was
// there stays.
std::string write_report(const std::string& run);

}  // namespace costeff
