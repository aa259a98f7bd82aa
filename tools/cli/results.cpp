// costeff results: what came of runs, as a table or as JSON.
#include "tensor/error.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/results_text.h"
#include "tools/cli/streams.h"

namespace costeff {

int run_results(const Invocation& invocation) {
  bool json = false;
  std::vector<std::string> folders;
  Options options(
      "costeff results RUN... [options]",
      "Prints the models of finished runs of `costeff run` with their costs and scores; of several runs,\n"
      "as with several seeds, means and standard deviations.");
  options.group("Output");
  options.flag("json", &json, "the results of each run as JSON, a line a run");
  options.positionals("RUN", &folders);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  std::vector<Results> runs;
  for (const std::string& folder : folders) {
    if (!has_results(folder)) fail("{}: no finished run is there (no results.json)", folder);
    runs.push_back(read_results(folder));
  }
  if (json) {
    for (const Results& run : runs) write_output(to_json(run).dump() + "\n");
  } else {
    write_output(results_text(runs));
  }
  return 0;
}

}  // namespace costeff
