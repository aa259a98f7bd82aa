// costeff audit run: what a training run's log says of clipping, and of who moved what.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "costeff/audit/run_log.h"
#include "tools/cli/audit/documents.h"
#include "tools/cli/audit/options.h"
#include "tools/cli/commands.h"
#include "tools/cli/pages/chart.h"
#include "tools/cli/pages/text.h"

namespace costeff {
namespace {

using audit::LoggedAudit;
using audit::RunLog;

// Steps that a figure or a table has room for; more are taken together, or left out.
constexpr std::size_t kMostPoints = 200;

const char* way(const RunLog& run) {
  return run.equalised ? "with" : "without";
}

std::vector<Finding> findings_of(const RunLog& run) {
  const auto count = static_cast<double>(run.steps.size());
  double scale = 0, norm = 0;
  for (const StepLine& s : run.steps) {
    scale += s.clip_scale / count;
    norm += s.gradient_norm / count;
  }
  std::vector<Finding> found = {
      {"run.clipping", named("share", clipped_share(run), "scale", scale, "norm", norm)}};
  if (run.audits.empty()) {
    found.push_back({"run.not_audited"});
    return found;
  }
  if (const LoggedAudit* worst = worst_audit(run)) {
    const auto fighting = std::count_if(run.audits.begin(), run.audits.end(),
                                        [](const LoggedAudit& audit) { return audit.cosine < 0; });
    found.push_back(
        {"run.conflict", named("count", fighting, "audits", run.audits.size(), "between", worst->conflict,
                               "where", worst->where, "cosine", worst->cosine, "step", worst->step)});
  }
  return found;
}

Figure shares_figure(const RunLog& run, Figure figure) {
  figure.height = 380;
  const std::vector<std::string> roots =
      run.audits.empty() ? std::vector<std::string>() : run.audits.back().roots;
  Chart chart{.x = {.label = "step"}, .y = {.label = "share, %"}};
  std::vector<double> all = {0};
  for (std::size_t j = 0; j < roots.size(); ++j) {
    std::string rows;
    for (const LoggedAudit& audit : run.audits) {
      if (audit.roots != roots) continue;
      all.push_back(100 * audit.shares[j]);
      rows += point(static_cast<double>(audit.step), all.back());
    }
    chart.add(rows, fmt::format("with lines lw 2 lc rgb {}", ramp(j, roots.size())),
              plain_text(roots[j], 24));
  }
  chart.y.range = range_of(all, 0.05);
  chart.key_rows = static_cast<int>((roots.size() + 2) / 3);
  figure.height += 18 * chart.key_rows;
  if (!chart.empty()) figure.script = script(figure, chart);
  return figure;
}

Figure cosine_figure(const RunLog& run, Figure figure) {
  std::string rows;
  for (const LoggedAudit& audit : run.audits) {
    if (!std::isnan(audit.cosine)) rows += point(static_cast<double>(audit.step), audit.cosine);
  }
  if (rows.empty()) return figure;
  Chart chart{.x = {.label = "step"}, .y = {.label = "cosine", .range = AxisRange{-1, 1}}};
  chart.add(rows, "with lines lw 2 lc rgb accent");
  chart.add_formula("0 with lines lw 1 lc rgb rule");
  figure.script = script(figure, chart);
  return figure;
}

Figure clip_figure(const RunLog& run, Figure figure) {
  const std::size_t group = run.steps.size() / kMostPoints + 1;
  std::string rows;
  for (std::size_t i = 0; i < run.steps.size(); i += group) {
    const std::size_t end = std::min(i + group, run.steps.size());
    double clipped = 0;
    for (std::size_t k = i; k < end; ++k) clipped += run.steps[k].clip_scale < 1 ? 1 : 0;
    rows += point(static_cast<double>(run.steps[i].step), 100 * clipped / static_cast<double>(end - i));
  }
  Chart chart{.x = {.label = "step"}, .y = {.label = "steps clipped, %", .range = AxisRange{0, 105}}};
  chart.add(rows, "with boxes fs solid lc rgb wash");
  figure.script = script(figure, chart);
  return figure;
}

Table shares_table(const RunLog& run, std::size_t r) {
  Table table = table_of(fmt::format("shares_{}", r + 1), fmt::format("Shares in the gradient: {}", run.path),
                         {"loss", "first third of the audits", "last third"});
  const std::size_t n = run.audits.size(), third = (n + 2) / 3;
  for (std::size_t j = 0; n > 0 && j < run.audits.back().roots.size(); ++j) {
    table.add({run.audits.back().roots[j], number(mean_share(run, j, 0, third), "percent"),
               number(mean_share(run, j, n - third, n), "percent")});
  }
  return table;
}

// Every audited step; of many, some for readers and all for programs.
Table audits_table(const RunLog& run, std::size_t r) {
  Table table = table_of(fmt::format("audits_{}", r + 1),
                         fmt::format("Shares at each audited step: {}", run.path), {"step"}, kPage | kJson);
  table.heat = table.folded = true;
  if (run.audits.empty()) return table;
  for (const std::string& root : run.audits.back().roots) table.add_column(root);
  for (const char* column : {"cosine", "between", "where", "share gap"}) table.add_column(column);
  const std::size_t stride = run.audits.size() / kMostPoints + 1;
  for (std::size_t i = 0; i < run.audits.size(); ++i) {
    const LoggedAudit& audit = run.audits[i];
    if (audit.roots != run.audits.back().roots) continue;
    table.add({{audit.step, std::to_string(audit.step)}}, i % stride == 0 ? kEverywhere : kJson);
    std::vector<Cell>& cells = table.rows.back().cells;
    for (const double share : audit.shares) cells.push_back(share_cell(share));
    cells.insert(cells.end(),
                 {number(audit.cosine, ".2f"), audit.conflict, audit.where, number(audit.share_gap, ".1g")});
  }
  return table;
}

}  // namespace

Document run_document(const std::vector<RunLog>& runs) {
  Document document{.kicker = "COST-EFF audit of a training run", .made_by = "costeff audit run"};
  Section pictures{.id = "pictures", .prose = prose("run.pictures")};
  Section numbers{.id = "numbers", .prose = prose("run.numbers")};
  for (const RunLog& run : runs) {
    const Json about = named("run", run.path, "stage", run.stage, "way", way(run), "equalised", run.equalised,
                             "steps", run.steps.size(), "clipped_share", clipped_share(run));
    document.values["runs"].push_back(about);
    document.findings.push_back({words("run.about", about), findings_of(run)});
    for (const Note& note : notes_of(run.faults)) document.faults.push_back(note);
    const std::size_t r = numbers.tables.size() / 2;
    numbers.tables.insert(numbers.tables.end(), {shares_table(run, r), audits_table(run, r)});
  }
  for (const auto& [name, make] :
       {std::pair("shares", &shares_figure), {"cosine", &cosine_figure}, {"clip", &clip_figure}}) {
    for (std::size_t r = 0; r < runs.size(); ++r) {
      Figure figure =
          make(runs[r], figure_of(fmt::format("{}-{}", name, r + 1), fmt::format("run.{}", name)));
      if (figure.script.empty()) figure.missing = words("run.missing");
      if (runs.size() > 1) figure.heading += fmt::format(", {} equalisation", way(runs[r]));
      pictures.figures.push_back(std::move(figure));
    }
  }
  document.headline = words(document.faults.empty() ? "run.headline" : "run.wrong",
                            named("clipped", clipped_share(runs[0]), "steps", runs[0].steps.size()));
  document.sections = {std::move(pictures), std::move(numbers)};
  return document;
}

int run_audit_run(const Invocation& invocation) {
  std::string folder, beside;
  Outputs outputs;
  Options options(
      "costeff audit run RUN [--beside RUN] [options]",
      "What a stage's log says of its gradients: how often they were clipped, and, of a run with\n"
      "--audit-every N, each exit's share in them and which exits pulled against each other. Exit code\n"
      "1 if the log contradicts itself.");
  options.positional("RUN", &folder);
  options.group("Compared with");
  options.add("beside", "RUN", &beside, "another run, as one without equalisation, to lay beside it");
  options.group("Output");
  add_outputs(options, outputs);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  require_outputs(outputs);
  std::vector<RunLog> runs = {audit::read_run_log(folder)};
  if (!beside.empty()) runs.push_back(audit::read_run_log(beside));
  Document document = run_document(runs);
  document.sections.push_back(reproduce_section(command_of("costeff audit run", invocation)));
  return deliver(document, outputs);
}

}  // namespace costeff
