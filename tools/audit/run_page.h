// What an audit of training logs found, in words and as a page.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace costeff {

struct AuditedStep {
  double step = 0;
  double clip_scale = 1;
  double gradient_norm = 0;  // before clipping
};

// A step that --audit-every looked at.
struct AuditPoint {
  double step = 0;
  std::vector<std::string> roots;
  std::vector<double> shares;  // of each root in the joint gradient of all layers
  double cosine = std::numeric_limits<double>::quiet_NaN();  // the smallest of two exits', in any layer
  std::string conflict, where;                               // of which exits, in which layer
  double norm_gap = 0;                                       // |norm of the audit / norm of the step - 1|
};

struct AuditedRun {
  std::string path, stage;
  bool equalised = true;
  std::int64_t accumulate = 1;
  std::vector<AuditedStep> steps;
  std::vector<AuditPoint> audits;
};

double clipped_share(const AuditedRun& run);  // of its steps
// What there is to say, a line each.
std::vector<std::string> run_findings(const AuditedRun& run);
// One run, or two side by side. Throws Error when gnuplot is not installed.
std::string run_audit_page(const std::vector<AuditedRun>& runs);

}  // namespace costeff
