// costeff audit: who moved this weight, what equalisation did, and whether the Taylor score tells the truth.
#include <array>

#include "tools/cli/dispatcher.h"

namespace costeff {
namespace {

constexpr auto kAudits = std::to_array<Command>({
    {"gradients", "which loss moves which layer, and what equalisation, clipping and Adam leave of it",
     run_audit_gradients},
    {"importance", "scores of heads and neurons beside what their removal really costs",
     run_audit_importance},
    {"path", "the way from a loss to a weight, record by record", run_audit_path},
    {"run", "a training run's log: shares of exits, conflicts and clipping over time", run_audit_run},
});

}  // namespace

int run_audit(const Invocation& invocation) {
  return Dispatcher{.called = "costeff audit",
                    .what = "audit",
                    .about = "Audits a model's gradients, its importance scores, or a run.",
                    .commands = kAudits}
      .run(invocation);
}

}  // namespace costeff
