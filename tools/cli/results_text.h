// The results of runs as a table for the terminal.
#pragma once

#include <string>
#include <vector>

#include "costeff/train/run_records.h"

namespace costeff {

// The models beside each other. Of several runs of one method and task, each number is the mean over runs,
// and of the score the standard deviation stands beside it. Throws UsageError for runs that cannot be
// compared.
std::string results_text(const std::vector<Results>& runs);

}  // namespace costeff
