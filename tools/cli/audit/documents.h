// The documents of the audits: what each found, with its findings as values.
#pragma once

#include <string>
#include <vector>

#include "costeff/audit/gradients.h"
#include "costeff/audit/identities.h"
#include "costeff/audit/importance.h"
#include "costeff/audit/run_log.h"
#include "tools/cli/pages/document.h"

namespace costeff {

struct GradientReport {
  audit::GradientAudit audit;
  audit::Identities identities;
  std::string model, task, loss;  // what was audited, in words
  std::string memory;             // what filled Adam's m and v: "20 other batches, weights held fixed"
};
Document gradient_document(const GradientReport& report);

struct ImportanceReport {
  std::string model;    // folder
  std::string teacher;  // empty: none
  std::string data;
  std::int64_t sentences = 0;
  std::int64_t first_exit = 1;
  std::int64_t layers = 0;
  audit::ImportanceAudit audit;
};
Document importance_document(const ImportanceReport& report);

// One run, or two side by side.
Document run_document(const std::vector<audit::RunLog>& runs);

}  // namespace costeff
