#include "tools/cli/audit/run_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/cli/audit/faults.h"
#include "tools/cli/pages/html_page.h"
#include "tools/cli/pages/svg.h"
#include "tools/cli/pages/text.h"
#include "tools/cli/report/figures.h"

namespace costeff {
namespace {

using audit::LoggedAudit;
using audit::LoggedStep;
using audit::RunLog;

// Steps that a figure has room for; more are taken together.
constexpr std::size_t kMostPoints = 200;

// Which of two runs' figures it is, in names of files and ids.
std::string id_of(const char* figure, std::size_t run) {
  return fmt::format("{}-{}", figure, run + 1);
}

Figure drawn(Figure figure, const Plot& plot, const std::string& axes, int key_rows) {
  figure.script =
      fmt::format("{}{}{}{}{}", plot.blocks(), edges(figure, 16, figure.height - below_plot(key_rows)), axes,
                  key_rows > 0 ? key_below(key_rows) : "unset key\n", plot.command());
  figure.svg = draw(figure);
  return figure;
}

Figure shares_figure(const RunLog& run, std::size_t number) {
  Figure figure{
      .name = id_of("shares", number),
      .heading = "Who moved the model",
      .read =
          "Each line is one loss’s share in the gradient of all layers and the embeddings (the exits’ "
          "own weights are left out) at the steps that were looked at; at each step the shares add "
          "up to 100 %.",
      .look = "A share is ⟨g_j, g⟩ / |g|²: a loss below 0 pulled against the sum of all.",
      .height = 380};
  if (run.audits.empty()) {
    figure.missing = "This run was not looked at: train with --audit-every N.";
    return figure;
  }
  const std::vector<std::string>& roots = run.audits.back().roots;
  Plot plot("share");
  std::vector<double> all = {0};
  for (std::size_t j = 0; j < roots.size(); ++j) {
    std::string rows;
    for (const LoggedAudit& p : run.audits) {
      if (p.roots != roots) continue;
      rows += fmt::format("{:.0f} {:.6g}\n", p.step, 100 * p.shares[j]);
      all.push_back(100 * p.shares[j]);
    }
    plot.add(rows, fmt::format("with lines lw 2 lc rgb {} title {}", ramp(j, roots.size()),
                               gnuplot_string(plain_text(roots[j], 24))));
  }
  const int rows = static_cast<int>((roots.size() + 2) / 3);
  figure.height += 18 * rows;
  return drawn(figure, plot,
               fmt::format("set yrange {}\n{}{}", range_text(range_of(all, 0.05)), x_label("step"),
                           y_label("share, %")),
               rows);
}

Figure cosine_figure(const RunLog& run, std::size_t number) {
  Figure figure{
      .name = id_of("cosine", number),
      .heading = "The least agreed pair of exits",
      .read =
          "At each step that was looked at, the smallest cosine of two exits’ gradients in any layer: 1 is "
          "the same direction, below 0 they pulled against each other.",
      .look = "It is ⟨g_a, g_b⟩ / (|g_a| |g_b|), which equalisation does not change within a layer."};
  std::string rows;
  for (const LoggedAudit& p : run.audits) {
    if (!std::isnan(p.cosine)) rows += fmt::format("{:.0f} {:.6g}\n", p.step, p.cosine);
  }
  if (rows.empty()) {
    figure.missing = "No step with two exits was looked at: train with --audit-every N.";
    return figure;
  }
  Plot plot("cosine");
  plot.add(rows, "with lines lw 2 lc rgb accent");
  plot.add("0 with lines lw 1 lc rgb rule");
  return drawn(figure, plot, fmt::format("set yrange [-1:1]\n{}{}", x_label("step"), y_label("cosine")), 0);
}

Figure clip_figure(const RunLog& run, std::size_t number) {
  Figure figure{
      .name = id_of("clip", number),
      .heading = "How often gradients were clipped",
      .read =
          "The share of steps, of some neighbours taken together, whose gradient was longer than the "
          "limit and was scaled down to it.",
      .look =
          "Clipping is the one place where equalisation changes the balance of layers for Adam: it scales "
          "by min(1, c/|g|), and |g| is smaller with equalisation."};
  Plot plot("clip");
  const std::size_t group = run.steps.size() / kMostPoints + 1;
  std::string rows;
  for (std::size_t i = 0; i < run.steps.size(); i += group) {
    const std::size_t end = std::min(i + group, run.steps.size());
    double clipped = 0;
    for (std::size_t k = i; k < end; ++k) clipped += run.steps[k].clip_scale < 1 ? 1 : 0;
    rows += fmt::format("{:.0f} {:.6g}\n", run.steps[i].step, 100 * clipped / static_cast<double>(end - i));
  }
  plot.add(rows, "with boxes fs solid lc rgb wash");
  return drawn(figure, plot,
               fmt::format("set yrange [0:105]\n{}{}", x_label("step"), y_label("steps clipped, %")), 0);
}

// Every step that was looked at, for those who want the numbers.
std::string points_table(const RunLog& run) {
  if (run.audits.empty()) return "";
  HeatTable table{.name = "Shares at each step that was looked at",
                  .corner = "Step",
                  .columns = run.audits.back().roots,
                  .rows = {},
                  .values = {},
                  .text = [](double x) { return fmt::format("{:.0f} %", 100 * x); },
                  .colour = [](double x) { return x; }};
  const std::size_t stride = run.audits.size() / kMostPoints + 1;
  for (std::size_t i = 0; i < run.audits.size(); i += stride) {
    if (run.audits[i].roots != table.columns) continue;
    table.rows.push_back(fmt::format("{:.0f}", run.audits[i].step));
    table.values.push_back(run.audits[i].shares);
  }
  return fmt::format("<details><summary>Shares as numbers: {}</summary>\n{}</details>\n",
                     escape_markup(run.path), heat_table(table));
}

std::string headline(const std::vector<RunLog>& runs) {
  if (std::any_of(runs.begin(), runs.end(), [](const RunLog& run) { return !run.faults.empty(); }))
    return "Something is wrong with what was logged of the gradients";
  return fmt::format("Gradients were clipped in {} of {} steps", percent_text(clipped_share(runs[0])),
                     runs[0].steps.size());
}

}  // namespace

std::vector<std::string> run_findings(const RunLog& run) {
  double scale = 0, norm = 0;
  for (const LoggedStep& s : run.steps) {
    scale += s.clip_scale;
    norm += s.gradient_norm;
  }
  const auto count = static_cast<double>(run.steps.size());
  std::vector<std::string> lines = {
      fmt::format("clipped in {} of the steps, by {:.3g} on average over all; mean gradient norm {:.3g}",
                  percent_text(clipped_share(run)), scale / count, norm / count)};
  if (run.audits.empty()) {
    lines.emplace_back("no step was looked at: train with --audit-every N for shares and conflicts");
    return lines;
  }
  const std::size_t n = run.audits.size(), third = (n + 2) / 3;
  std::string shares =
      "share in the gradient of all layers (exits' own weights left out), first third to last:";
  for (std::size_t j = 0; j < run.audits.back().roots.size(); ++j) {
    shares += fmt::format("{} {} {:.0f} to {:.0f} %", j == 0 ? "" : ",", run.audits.back().roots[j],
                          100 * mean_share(run, j, 0, third), 100 * mean_share(run, j, n - third, n));
  }
  lines.push_back(std::move(shares));
  const auto fighting =
      std::count_if(run.audits.begin(), run.audits.end(), [](const LoggedAudit& p) { return p.cosine < 0; });
  if (const LoggedAudit* worst = worst_audit(run)) {
    lines.push_back(
        fmt::format("two exits pulled against each other in some layer at {} of {} steps; worst: {} at {}, "
                    "cosine {:.2f}, step {:.0f}",
                    fighting, n, worst->conflict, worst->where, worst->cosine, worst->step));
  }
  return lines;
}

std::string run_audit_page(const std::vector<RunLog>& runs) {
  std::string body;
  for (const RunLog& run : runs) {
    std::string lines;
    for (const std::string& line : run_findings(run)) lines += fmt::format("<p>{}</p>", escape_markup(line));
    body +=
        fmt::format("<div class=\"answer\"><h3>{}, {} equalisation</h3>{}{}</div>\n", escape_markup(run.path),
                    run.equalised ? "with" : "without", lines, faults_html(run.faults));
  }
  body = html_section("summary", "In short", body);
  std::vector<std::string> figures;
  for (const auto& make : {shares_figure, cosine_figure, clip_figure}) {
    for (std::size_t r = 0; r < runs.size(); ++r) {
      Figure figure = make(runs[r], r);
      if (runs.size() > 1)
        figure.heading += runs[r].equalised ? ", with equalisation" : ", without equalisation";
      figures.push_back(figure_element(figure));
    }
  }
  body += html_section("pictures", "Over time",
                       fmt::format("<div class=\"figures\">\n{}</div>\n", fmt::join(figures, "")));
  std::string numbers;
  for (const RunLog& run : runs) numbers += points_table(run);
  if (!numbers.empty()) body += html_section("numbers", "Numbers", numbers);
  return html_page({.kicker = "COST-EFF audit of a training run",
                    .headline = headline(runs),
                    .facts = runs[0].path,
                    .notes = "",
                    .body = body,
                    .made_by = "costeff audit run"});
}

}  // namespace costeff
