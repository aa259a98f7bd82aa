// costeff audit: who moved this weight, what equalisation did, and whether the Taylor score tells the truth.
#include <array>

#include "data/nearest.h"
#include "tensor/error.h"
#include "tools/cli/commands.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

struct Audit {
  const char* name;
  const char* summary;
  int (*run)(const Invocation& invocation);
};

constexpr auto kAudits = std::to_array<Audit>({
    {"gradients", "which loss moves which layer, and what equalisation, clipping and Adam leave of it",
     run_audit_gradients},
    {"importance", "scores of heads and neurons beside what their removal really costs",
     run_audit_importance},
    {"path", "the way from a loss to a weight, record by record", run_audit_path},
    {"run", "a training run's log: shares of exits, conflicts and clipping over time", run_audit_run},
});

std::string help() {
  std::string text =
      "Audits a model's gradients, its importance scores, or a run.\n\nUsage: costeff audit AUDIT "
      "[options]\n\nAudits:\n";
  for (const Audit& audit : kAudits) text += fmt::format("  {:<11} {}\n", audit.name, audit.summary);
  return text + "\ncosteff audit AUDIT --help lists an audit's options.\n";
}

}  // namespace

int run_audit(const Invocation& invocation) {
  const std::string name = invocation.arguments.empty() ? "" : invocation.arguments[0];
  if (name.empty()) fail_usage("which audit? (costeff audit --help lists them)");
  if (name == "--help" || name == "-h") {
    write_output(help());
    return 0;
  }
  std::vector<std::string> names;
  for (const Audit& audit : kAudits) {
    if (name == audit.name)
      return audit.run({invocation.program, {invocation.arguments.begin() + 1, invocation.arguments.end()}});
    names.emplace_back(audit.name);
  }
  fail_usage("unknown audit \"{}\"; the nearest is {} (costeff audit --help lists all)", name,
             nearest(name, names));
}

}  // namespace costeff
