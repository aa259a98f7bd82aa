// What an audit of training logs found, in words and as a page.
#pragma once

#include <string>
#include <vector>

#include "costeff/audit/run_log.h"

namespace costeff {

// What there is to say, a line each.
std::vector<std::string> run_findings(const audit::RunLog& run);
// One run, or two side by side. Throws Error when gnuplot is not installed.
std::string run_audit_page(const std::vector<audit::RunLog>& runs);

}  // namespace costeff
