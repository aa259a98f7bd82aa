#include "tools/cli/report/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "tools/cli/pages/html_page.h"
#include "tools/cli/pages/svg.h"
#include "tools/cli/pages/text.h"
#include "tools/cli/progress.h"

namespace costeff {
namespace {

std::string joined(const std::vector<std::string>& items, const char* between) {
  return fmt::format("{}", fmt::join(items, between));
}

// ---- what came out

const DevPoint* best_dev(const StageReport& stage) {
  const DevPoint* best = nullptr;
  for (const DevPoint& point : stage.dev) {
    if (point.score && (best == nullptr || *point.score > *best->score)) best = &point;
  }
  return best;
}

std::string stage_headline(const ReportData& data, const StageReport& stage) {
  const std::string task = data.task.empty() ? "" : fmt::format(" on {}", data.task);
  if (const DevPoint* best = best_dev(stage)) {
    return fmt::format("{}{}: {} {} on dev at step {:.0f}", stage.title(), task, metric_name(data.metric),
                       score_text(data.metric, *best->score), best->step);
  }
  if (!stage.losses.empty())
    return fmt::format("{}{}: step {:.0f}, not evaluated yet", stage.title(), task, stage.losses.back().step);
  return fmt::format("{}{}: no step yet", stage.title(), task);
}

std::string unfinished_headline(const ReportData& data) {
  std::vector<std::string> done;
  std::string now;
  for (const StageReport& stage : data.stages) {
    if (stage.finished) {
      done.push_back(stage.name);
    } else if (stage.begun && now.empty()) {
      now =
          fmt::format("{} at step {:.0f}", stage.name, stage.losses.empty() ? 0.0 : stage.losses.back().step);
    }
  }
  if (done.empty() && now.empty()) return "A run that has not begun";
  return fmt::format("A run that has not ended: {}{}{}",
                     done.empty() ? "" : fmt::format("{} done", joined(done, ", ")),
                     done.empty() || now.empty() ? "" : ", ", now);
}

// The facts that go with the headline, in one line.
std::string facts(const ReportData& data) {
  std::vector<std::string> items;
  if (const ModelReport* model = data.early_exit()) {
    items.push_back(fmt::format("threshold {:.3g}", *model->threshold));
    if (model->average_exit) items.push_back(fmt::format("exit {:.1f} on average", *model->average_exit));
  }
  double seconds = 0;
  for (const StageReport& stage : data.stages) seconds += stage.seconds.value_or(0);
  if (seconds > 0) items.push_back(fmt::format("trained in {}", duration_text(seconds)));
  const Json& config = data.config;
  if (config.is_object() && config.contains("environment") && config["environment"].is_object()) {
    const Json& environment = config["environment"];
    if (environment.contains("threads") && environment["threads"].is_number_integer())
      items.push_back(fmt::format("{} threads", environment["threads"].dump()));
    if (environment.contains("processor") && environment["processor"].is_string())
      items.push_back(environment["processor"].get<std::string>());
  }
  return joined(items, " · ");
}

// ---- the table of models

// A number, with others in small type below it.
std::string cell(const std::optional<double>& value, const std::function<std::string(double)>& text,
                 const std::vector<std::string>& below = {}) {
  if (!value) return "<td>–</td>";
  std::string small;
  for (const std::string& line : below) {
    if (!line.empty()) small += fmt::format("<small>{}</small>", escape_markup(line));
  }
  return fmt::format("<td>{}{}</td>", escape_markup(text(*value)), small);
}

// "1/8" below a number, where there is a fine-tuned model to compare with.
std::string compared(const ModelReport* with, const ModelReport& model,
                     std::optional<double> ModelReport::*value) {
  if (with == nullptr || with == &model || !(model.*value) || !(with->*value)) return "";
  if (*(model.*value) <= 0 || *(with->*value) <= 0) return "";
  return ratio_text(*(model.*value), *(with->*value));
}

std::string model_row(const ReportData& data, const ModelReport& model) {
  const ModelReport* tuned = data.fine_tuned();
  const auto fixed = [](double x) { return fmt::format("{:.1f}", x); };
  std::vector<std::string> below_flops = {compared(tuned, model, &ModelReport::flops)};
  if (model.flops_padded)
    below_flops.push_back(fmt::format("{} at 128 tokens", count_text(*model.flops_padded)));
  return fmt::format("<tr{}><th scope=\"row\">{}</th>{}{}{}{}{}{}</tr>\n",
                     &model == data.slender() ? " class=\"chosen\"" : "",
                     escape_markup(model.name.empty() ? "unnamed" : model.name),
                     cell(model.parameters, count_text, {compared(tuned, model, &ModelReport::parameters)}),
                     cell(model.flops, count_text, below_flops),
                     cell(model.score, [&](double x) { return score_text(data.metric, x); }),
                     cell(model.share, percent_text), cell(model.average_exit, fixed),
                     cell(model.sequences_per_second, [](double x) { return fmt::format("{:.0f}", x); }));
}

std::string model_table(const ReportData& data) {
  if (data.models.empty()) return "";
  std::string rows;
  for (const ModelReport& model : data.models) rows += model_row(data, model);
  const std::string metric = metric_name(data.metric);
  return fmt::format(
      "<section aria-labelledby=\"models\">\n<h2 id=\"models\">Models</h2>\n"
      "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-labelledby=\"models\">\n<table>\n"
      "<thead><tr><th scope=\"col\">Model</th><th scope=\"col\">Parameters</th><th scope=\"col\">FLOPs</th>"
      "<th scope=\"col\">{0}</th><th scope=\"col\">Share</th><th scope=\"col\">Average exit</th>"
      "<th scope=\"col\">Sentences/s</th></tr></thead>\n<tbody>\n{1}</tbody>\n</table>\n</div>\n"
      "<p class=\"small\">FLOPs are those of one sentence, on average over dev at its real lengths. Share is "
      "the part of "
      "the fine-tuned model’s {0} that was kept.</p>\n</section>\n",
      escape_markup(metric), rows);
}

// ---- figures

// The lead stands in a row of its own, its words beside it.
std::string figure_element(const Figure& figure, bool lead) {
  const std::string heading = escape_markup(figure.heading);
  if (!figure.missing.empty()) {
    return fmt::format("<figure>\n<h3>{}</h3>\n<p class=\"missing\">{}</p>\n</figure>\n", heading,
                       escape_markup(figure.missing));
  }
  return fmt::format("<figure{}>\n<h3>{}</h3>\n{}\n<figcaption>{} {}</figcaption>\n</figure>\n",
                     lead ? " class=\"lead\"" : "", heading, svg_element(figure), escape_markup(figure.read),
                     escape_markup(figure.look));
}

std::string group_section(const FigureGroup& group, std::size_t number) {
  std::string out = fmt::format(
      "<section aria-labelledby=\"group-{0}\">\n<h2 id=\"group-{0}\">{1}</h2>\n<div class=\"figures\">\n",
      number, escape_markup(group.heading));
  const bool odd = group.figures.size() > 1 && group.figures.size() % 2 == 1;
  for (const Figure& figure : group.figures)
    out += figure_element(figure, odd && &figure == &group.figures.front());
  return out + "</div>\n</section>\n";
}

// ---- settings

void add_settings(const std::string& prefix, const Json& json, std::string& rows) {
  if (json.is_object() && !json.empty()) {
    for (const auto& [key, value] : json.items())
      add_settings(prefix.empty() ? key : fmt::format("{}.{}", prefix, key), value, rows);
    return;
  }
  rows += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape_markup(prefix),
                      escape_markup(json.is_string() ? json.get<std::string>() : json.dump()));
}

std::string settings_details(const std::string& title, const Json& config) {
  std::string rows;
  if (config.is_object()) add_settings("", config, rows);
  if (rows.empty()) return "";
  return fmt::format(
      "<details>\n<summary>{0}</summary>\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" "
      "aria-label=\"{0}\">\n"
      "<table class=\"settings\">\n<thead><tr><th scope=\"col\">Setting</th><th scope=\"col\" "
      "style=\"text-align:left\">Value</th></tr></thead>\n<tbody>\n{1}</tbody>\n</table>\n</div>\n</"
      "details>\n",
      escape_markup(title), rows);
}

std::string settings_section(const ReportData& data) {
  std::string details =
      settings_details(data.single ? "Settings of the stage" : "Settings of the run", data.config);
  if (!data.single) {
    for (const StageReport& stage : data.stages)
      details += settings_details(fmt::format("Settings of {}", stage.name), stage.config);
  }
  if (details.empty()) details = "<p class=\"missing\">There is no config.json.</p>\n";
  return fmt::format(
      "<section aria-labelledby=\"settings\">\n<h2 id=\"settings\">Settings</h2>\n{}</section>\n", details);
}

std::string reproduce_section(const ReportData& data) {
  std::string command = data.single ? data.stages[0].name : "run";
  // The name comes from a file, and this is to be pasted into a shell.
  const bool known = std::all_of(command.begin(), command.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  std::string commands;
  if (known && !data.config.is_null()) {
    const std::string config = fmt::format("{}/config.json", data.path);
    commands =
        fmt::format("costeff {} --config {} --out NEW-RUN\n", command, escape_markup(shell_quoted(config)));
  }
  commands += fmt::format("costeff report {}", escape_markup(shell_quoted(data.path)));
  return fmt::format(
      "<section aria-labelledby=\"reproduce\">\n<h2 id=\"reproduce\">How to reproduce</h2>\n"
      "<p>The first command trains again with the settings above, which the run’s config.json holds; on the "
      "same "
      "processor and number of threads it gives the same bits. The second makes this page.</p>\n"
      "<pre tabindex=\"0\" aria-label=\"Commands\"><code>{}</code></pre>\n</section>\n",
      commands);
}

std::string notes(const ReportData& data) {
  if (data.absent.empty()) return "";
  std::string items;
  for (const std::string& note : data.absent) items += fmt::format("<li>{}</li>\n", escape_markup(note));
  return fmt::format("<ul class=\"notes\" aria-label=\"What is not there yet\">\n{}</ul>\n", items);
}

}  // namespace

std::string headline(const ReportData& data) {
  if (data.single) return stage_headline(data, data.stages[0]);
  const ModelReport* slender = data.slender();
  const ModelReport* tuned = data.fine_tuned();
  std::vector<std::string> parts;
  if (slender != nullptr && tuned != nullptr) {
    const std::string parameters = compared(tuned, *slender, &ModelReport::parameters);
    const std::string flops = compared(tuned, *slender, &ModelReport::flops);
    if (!parameters.empty()) parts.push_back(fmt::format("{} of the parameters", parameters));
    if (!flops.empty()) parts.push_back(fmt::format("{} of the FLOPs", flops));
  }
  if (slender != nullptr && slender->share) {
    parts.push_back(fmt::format("{} of the fine-tuned model’s {}", percent_text(*slender->share),
                                metric_name(data.metric)));
  }
  return parts.empty() ? unfinished_headline(data) : joined(parts, ", ");
}

std::string report_page(const ReportData& data, const std::vector<FigureGroup>& groups) {
  const std::string head = headline(data);
  const std::string kicker = data.task.empty() ? "COST-EFF" : fmt::format("COST-EFF on {}", data.task);
  const std::string line = facts(data);
  std::string body = model_table(data);
  for (std::size_t i = 0; i < groups.size(); ++i) body += group_section(groups[i], i + 1);
  body += settings_section(data);
  body += reproduce_section(data);
  return html_page({kicker, head, line, notes(data), body, "costeff report"});
}

}  // namespace costeff
