// What a training run's log says of its gradients: clipping at every step, and at those that --audit-every
// looked at, which loss moved which layer (audit_step() writes it).
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "costeff/audit/identities.h"
#include "costeff/train/run_records.h"

namespace costeff::audit {

// A step that was looked at.
struct LoggedAudit {
  std::int64_t step = 0;
  std::vector<std::string> roots;
  // <g_j, g> / |g|^2 of each root, g of all layers and the embeddings together; exits' own weights are left
  // out.
  std::vector<double> shares;
  double cosine = std::numeric_limits<double>::quiet_NaN();  // the smallest of two exits', in any layer
  std::string conflict, where;                               // of which exits, in which layer
  // |sum of a layer's shares - 1| over sum |share|, or over 1 if that is less: the worst layer's
  double share_gap = 0;
  double norm = 0;  // |g| as the audit found it, of all parameters; nan where it was not finite
};

struct RunLog {
  std::string path, stage;
  bool equalised = true;
  std::int64_t accumulate = 1;
  std::vector<StepLine> steps;
  std::vector<LoggedAudit> audits;
  // Of a step that was looked at: shares do not add up to 1 (1e-4), the gradient is not finite, or it is not
  // the one that the step used (1e-5; with gradients accumulated over micro-batches it is another).
  std::vector<Fault> faults;
};

// Reads config.json and log.jsonl of a stage's run; a last line that is being written is left out. Throws
// Error when no such run is there, when it is a run of all stages, or when a line is not what training
// writes.
RunLog read_run_log(const std::string& folder);

double clipped_share(const RunLog& run);  // of its steps
// The mean over audits first..last-1 of a root's share, by its place in the last audit's roots; audits with
// other roots are left out. 0 if there are none.
double mean_share(const RunLog& run, std::size_t root, std::size_t first, std::size_t last);
// With the smallest cosine; null if no two exits were seen.
const LoggedAudit* worst_audit(const RunLog& run);

}  // namespace costeff::audit
