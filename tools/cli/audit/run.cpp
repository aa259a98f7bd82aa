// costeff audit run: what a training run's log says of clipping, and of who moved what.
#include <cmath>

#include "tools/cli/audit/faults.h"
#include "tools/cli/audit/options.h"
#include "tools/cli/audit/run_page.h"
#include "tools/cli/commands.h"
#include "tools/cli/options.h"
#include "tools/cli/pages/gnuplot.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

using audit::RunLog;

std::string run_text(const RunLog& run) {
  std::string out = fmt::format("{} ({}, {} equalisation): {} steps\n", run.path, run.stage,
                                run.equalised ? "with" : "without", run.steps.size());
  for (const std::string& line : run_findings(run)) out += fmt::format("  {}\n", line);
  return out + faults_text(run.faults);
}

Json run_json(const RunLog& run) {
  Json audits = Json::array();
  for (const audit::LoggedAudit& p : run.audits) {
    Json shares = Json::object();
    for (std::size_t j = 0; j < p.roots.size(); ++j) shares[p.roots[j]] = p.shares[j];
    Json point{{"step", p.step}, {"shares", shares}, {"share_gap", p.share_gap}, {"norm", p.norm}};
    point["conflict"] = Json();
    if (!std::isnan(p.cosine))
      point["conflict"] = {{"cosine", p.cosine}, {"between", p.conflict}, {"where", p.where}};
    audits.push_back(std::move(point));
  }
  return {{"run", run.path},
          {"stage", run.stage},
          {"equalised", run.equalised},
          {"steps", run.steps.size()},
          {"clipped_share", clipped_share(run)},
          {"audits", audits},
          {"faults", faults_json(run.faults)}};
}

}  // namespace

int run_audit_run(const Invocation& invocation) {
  std::string folder, beside, json, html;
  Options options(
      "costeff audit run RUN [--beside RUN] [options]",
      "What a stage's log says of its gradients: how often they were clipped, and, of a run with\n"
      "--audit-every N, each exit's share in them and which exits pulled against each other. Exit code\n"
      "1 if the log contradicts itself.");
  options.positional("RUN", &folder);
  options.group("Compared with");
  options.add("beside", "RUN", &beside, "another run, as one without equalisation, to lay beside it");
  options.group("Output");
  options.add("json", "FILE", &json, "every number, as JSON");
  options.add("html", "FILE", &html, "a page with pictures, in one file (needs gnuplot)");
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  require_writable({json, html});
  if (!html.empty()) require_gnuplot();
  std::vector<RunLog> runs = {audit::read_run_log(folder)};
  if (!beside.empty()) runs.push_back(audit::read_run_log(beside));
  std::string text;
  Json all = Json::array();
  bool faults = false;
  for (const RunLog& run : runs) {
    text += run_text(run);
    all.push_back(run_json(run));
    faults = faults || !run.faults.empty();
  }
  write_output(text);
  if (!json.empty()) write_audit_json(json, all);
  if (!html.empty()) write_audit_file(html, run_audit_page(runs));
  return faults ? 1 : 0;
}

}  // namespace costeff
