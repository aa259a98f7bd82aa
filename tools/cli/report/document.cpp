// The document of a run: what came out, how training went, what was removed.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/cli/pages/text.h"
#include "tools/cli/progress.h"
#include "tools/cli/report/figures.h"
#include "tools/cli/report/report.h"

namespace costeff {
namespace {

std::string joined(const std::vector<std::string>& items, const char* between) {
  return fmt::format("{}", fmt::join(items, between));
}

// ---- what came out

std::string stage_headline(const ReportData& data, const StageReport& stage) {
  const std::string task = data.task.empty() ? "" : fmt::format(" on {}", data.task);
  const EvaluationLine* best = nullptr;
  const auto score = [](const EvaluationLine& line) { return line.dev.exits.back().score(); };
  for (const EvaluationLine& line : stage.dev) {
    if (!std::isnan(score(line)) && (best == nullptr || score(line) > score(*best))) best = &line;
  }
  const std::string so_far =
      best != nullptr       ? fmt::format("{} {} on dev at step {}", metric_name(data.metric),
                                          score_text(data.metric, score(*best)), best->step)
      : stage.steps.empty() ? "no step yet"
                            : fmt::format("step {}, not evaluated yet", stage.steps.back().step);
  return fmt::format("{}{}: {}", stage.title, task, so_far);
}

std::string unfinished_headline(const ReportData& data) {
  std::vector<std::string> done, parts;
  std::string now;
  for (const StageReport& stage : data.stages) {
    if (stage.finished) done.push_back(stage.name);
    if (!stage.finished && stage.begun && now.empty())
      now = fmt::format("{} at step {}", stage.name, stage.steps.empty() ? 0 : stage.steps.back().step);
  }
  if (!done.empty()) parts.push_back(joined(done, ", ") + " done");
  if (!now.empty()) parts.push_back(now);
  return parts.empty() ? "A run that has not begun" : "A run that has not ended: " + joined(parts, ", ");
}

// "1/8" of the fine-tuned model's, where there is one to compare with.
std::string compared(const ReportData& data, const ModelRecord& model,
                     double (*value)(const ModelRecord& model)) {
  const ModelRecord* tuned = data.find(ModelRole::fine_tuned);
  if (tuned == nullptr || tuned->role == model.role || !(value(model) > 0) || !(value(*tuned) > 0)) return "";
  return ratio_text(value(model), value(*tuned));
}

double parameters_of(const ModelRecord& model) {
  return static_cast<double>(model.parameters);
}
double flops_of(const ModelRecord& model) {
  return model.flops;
}

std::string headline(const ReportData& data) {
  if (data.single) return stage_headline(data, data.stages[0]);
  const ModelRecord* model = data.product();
  std::vector<std::string> parts;
  if (model != nullptr) {
    const std::string parameters = compared(data, *model, parameters_of);
    const std::string flops = compared(data, *model, flops_of);
    if (!parameters.empty()) parts.push_back(parameters + " of the parameters");
    if (!flops.empty()) parts.push_back(flops + " of the FLOPs");
    if (model->share) {
      parts.push_back(fmt::format("{} of the fine-tuned model’s {}", percent_text(*model->share),
                                  metric_name(data.metric)));
    }
  }
  return parts.empty() ? unfinished_headline(data) : joined(parts, ", ");
}

std::vector<std::string> facts(const ReportData& data) {
  std::vector<std::string> out;
  if (const ModelRecord* model = data.find(ModelRole::early_exit)) {
    out.push_back(fmt::format("threshold {:.3g}", *model->threshold));
    out.push_back(fmt::format("exit {:.1f} on average", model->average_exit));
  }
  double seconds = 0;
  for (const StageReport& stage : data.stages) seconds += stage.seconds.value_or(0);
  if (seconds > 0) out.push_back(fmt::format("trained in {}", duration_text(seconds)));
  const Json environment = data.config.is_object() ? data.config.value("environment", Json()) : Json();
  for (const auto& [key, value] : environment.items()) {
    if (key == "threads") out.push_back(fmt::format("{} threads", value.dump()));
    if (key == "processor" && value.is_string()) out.push_back(value.get<std::string>());
  }
  return out;
}

Section models_section(const ReportData& data) {
  const std::string metric = metric_name(data.metric);
  Table table = table_of(
      "models", "", {"model", "parameters", "FLOPs", metric, "share", "average exit", "sentences/s"}, kPage);
  table.caption = words("report.models_caption", named("metric", metric));
  for (const ModelRecord& m : data.results ? data.results->models : std::vector<ModelRecord>()) {
    const Cell score =
        std::isnan(m.score) ? number(m.score) : Cell(m.score, score_text(data.metric, m.score));
    table.add({m.name, number(parameters_of(m), "count"), number(m.flops, "count"), score,
               number(m.share.value_or(std::nan("")), "percent"), number(m.average_exit, ".1f"),
               number(m.sequences_per_second, ".0f")});
    Row& row = table.rows.back();
    row.chosen = data.product() != nullptr && m.role == data.product()->role;
    row.cells[1].below = {compared(data, m, parameters_of)};
    row.cells[2].below = {compared(data, m, flops_of)};
    row.cells[2].below.push_back(count_text(m.flops_padded) + " at 128 tokens");
  }
  Section section{.id = "models", .prose = prose("report.models")};
  if (!table.rows.empty()) section.tables = {std::move(table)};
  return section;
}

// ---- settings

void add_settings(const std::string& prefix, const Json& json, Table& table) {
  if (json.is_object() && !json.empty()) {
    for (const auto& [key, value] : json.items())
      add_settings(prefix.empty() ? key : fmt::format("{}.{}", prefix, key), value, table);
    return;
  }
  table.add({prefix, json.is_string() ? json.get<std::string>() : json.dump()});
}

Section settings_section(const ReportData& data) {
  Section section{.id = "settings", .prose = prose("report.settings")};
  const auto add = [&](const std::string& of, const Json& config) {
    if (!config.is_object()) return;
    Table table = table_of("settings", "Settings of " + of, {"setting", "value"}, kPage);
    table.folded = true;
    table.style = "settings";
    add_settings("", config, table);
    section.tables.push_back(std::move(table));
  };
  add(data.single ? "the stage" : "the run", data.config);
  for (const StageReport& stage : data.stages) {
    if (!data.single) add(stage.name, stage.config);
  }
  return section;
}

Section reproduce(const ReportData& data) {
  std::string commands;
  if (!data.config.is_null() && (!data.single || data.stages[0].name != "training")) {
    commands =
        fmt::format("costeff {} --config {} --out NEW-RUN\n", data.single ? data.stages[0].name : "run",
                    shell_quoted(fmt::format("{}/config.json", data.path)));
  }
  return reproduce_section(fmt::format("{}costeff report {}", commands, shell_quoted(data.path)),
                           words("report.reproduce"));
}

}  // namespace

Document report_document(const ReportData& data) {
  Document document{
      .kicker = data.task.empty() ? data.method : fmt::format("{} on {}", data.method, data.task),
      .headline = headline(data),
      .made_by = "costeff report",
      .facts = facts(data),
      .absences = data.absent};
  const auto add = [&](const char* id, std::vector<Figure> figures) {
    document.sections.push_back(
        {.id = id, .prose = prose(fmt::format("report.{}", id)), .figures = std::move(figures)});
  };
  document.sections.push_back(models_section(data));
  if (!data.single)
    add("worth", {score_flops_figure(data), score_exits_figure(data), exit_histogram_figure(data)});
  std::vector<Figure> training;
  for (const StageReport& stage : data.stages) training.push_back(training_figure(data, stage));
  add("training", std::move(training));
  if (data.rounds() != nullptr)
    add("removed", {widths_figure(data), heads_figure(data), neurons_figure(data)});
  if (!data.single) add("time_section", {time_figure(data)});
  document.sections.push_back(settings_section(data));
  document.sections.push_back(reproduce(data));
  return document;
}

}  // namespace costeff
