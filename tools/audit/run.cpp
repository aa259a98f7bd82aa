// costeff audit run: what a training run's log says of clipping, and of who moved what.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>

#include "costeff/run_folder.h"
#include "tensor/error.h"
#include "tools/audit/options.h"
#include "tools/audit/run_page.h"
#include "tools/commands.h"
#include "tools/options.h"
#include "tools/streams.h"

namespace costeff {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double number_at(const Json& json, const char* key) {
  return json.contains(key) && json[key].is_number() ? json[key].get<double>() : kNan;
}

// Of a step that was looked at. Throws Json::exception for what audit_step() does not write.
AuditPoint audit_point(double step, const Json& audit, double gradient_norm) {
  AuditPoint point{.step = step};
  for (const Json& root : audit.at("roots")) point.roots.push_back(root.get<std::string>());
  double total = 0;
  point.shares.assign(point.roots.size(), 0.0);
  for (const Json& layer : audit.at("layers")) {
    const double square = std::pow(layer.at("norm").get<double>(), 2);
    total += square;
    const Json& shares = layer.at("shares");
    for (std::size_t j = 0; j < point.roots.size(); ++j) {
      if (shares.at(j).is_number()) point.shares[j] += square * shares.at(j).get<double>();
    }
    const Json& conflict = layer.at("conflict");
    if (conflict.is_null()) continue;
    const double cosine = conflict.at("cosine").get<double>();
    if (!std::isnan(point.cosine) && cosine >= point.cosine) continue;
    point.cosine = cosine;
    point.conflict = fmt::format("{} and {}", conflict.at("between").at(0).get<std::string>(),
                                 conflict.at("between").at(1).get<std::string>());
    const auto m = layer.at("layer").get<std::int64_t>();
    point.where = m == 0 ? "the embeddings" : fmt::format("layer {}", m);
  }
  for (double& share : point.shares) share = total > 0 ? share / total : 0;
  const double norm = audit.at("norm").get<double>();
  point.norm_gap = gradient_norm > 0 ? std::abs(norm / gradient_norm - 1) : 0;
  return point;
}

AuditedRun read_run(const std::string& folder) {
  AuditedRun run{.path = folder};
  const std::string config = folder + "/config.json";
  if (!std::filesystem::exists(config)) fail("{}: no training run is there (no config.json)", folder);
  const Json json = Json::parse(read_text(config), nullptr, false);
  if (json.is_discarded() || !json.contains("settings")) fail("{}: not the settings of a run", config);
  run.stage = json.value("command", "");
  if (run.stage == "run")
    fail("{}: a run of all stages; name the folder of one, as in {}/assist", folder, folder);
  run.equalised = !json["settings"].value("no_equalise", false);
  run.accumulate = json["settings"].value("accumulate", std::int64_t{1});
  const std::string path = folder + "/log.jsonl";
  const std::string log = read_text(path);
  std::size_t begin = 0, line = 0;
  while (begin < log.size()) {
    const std::size_t end = std::min(log.find('\n', begin), log.size());
    const Json entry = Json::parse(log.substr(begin, end - begin), nullptr, false);
    begin = end + 1;
    ++line;
    if (entry.is_discarded()) {
      if (begin >= log.size()) break;  // a run that is going on is writing it
      fail("{}: line {} is not JSON", path, line);
    }
    const double step = number_at(entry, "step"), clip = number_at(entry, "clip_scale");
    if (std::isnan(step) || std::isnan(clip)) continue;
    run.steps.push_back({step, clip, number_at(entry, "gradient_norm")});
    if (!entry.contains("audit")) continue;
    try {
      run.audits.push_back(audit_point(step, entry["audit"], run.steps.back().gradient_norm));
    } catch (const Json::exception&) {
      fail("{}: line {}: not what --audit-every writes", path, line);
    }
  }
  if (run.steps.empty()) fail("{}: the log has no step yet", folder);
  return run;
}

std::string run_text(const AuditedRun& run) {
  std::string out = fmt::format("{} ({}, {} equalisation): {} steps\n", run.path, run.stage,
                                run.equalised ? "with" : "without", run.steps.size());
  for (const std::string& line : run_findings(run)) out += fmt::format("  {}\n", line);
  return out;
}

Json run_json(const AuditedRun& run) {
  Json audits = Json::array();
  for (const AuditPoint& p : run.audits) {
    Json shares = Json::object();
    for (std::size_t j = 0; j < p.roots.size(); ++j) shares[p.roots[j]] = p.shares[j];
    Json point{{"step", p.step}, {"shares", shares}, {"conflict", Json()}};
    if (!std::isnan(p.cosine))
      point["conflict"] = {{"cosine", p.cosine}, {"between", p.conflict}, {"where", p.where}};
    audits.push_back(std::move(point));
  }
  return {{"run", run.path},
          {"stage", run.stage},
          {"equalised", run.equalised},
          {"steps", run.steps.size()},
          {"clipped_share", clipped_share(run)},
          {"audits", audits}};
}

}  // namespace

int run_audit_run(const Invocation& invocation) {
  std::string folder, beside, json, html;
  Options options(
      "costeff audit run RUN [--beside RUN] [options]",
      "What a stage's log says of its gradients: how often they were clipped, and, of a run with\n"
      "--audit-every N, each exit's share in them and which exits pulled against each other.");
  options.positional("RUN", &folder);
  options.group("Compared with");
  options.add("beside", "RUN", &beside, "another run, as one without equalisation, to lay beside it");
  options.group("Output");
  options.add("json", "FILE", &json, "every number, as JSON");
  options.add("html", "FILE", &html, "a page with pictures, in one file (needs gnuplot)");
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  std::vector<AuditedRun> runs = {read_run(folder)};
  if (!beside.empty()) runs.push_back(read_run(beside));
  std::string text;
  Json all = Json::array();
  int faults = 0;
  for (const AuditedRun& run : runs) {
    text += run_text(run);
    all.push_back(run_json(run));
    // The log's norm is of all micro-batches, the audit's of the last.
    if (run.accumulate != 1) continue;
    for (const AuditPoint& point : run.audits) {
      if (point.norm_gap <= 1e-5) continue;
      ++faults;
      text += fmt::format(
          "FAULT step {:.0f}: the losses' gradients do not add up to the gradient that was used\n",
          point.step);
    }
  }
  const std::string page = html.empty() ? "" : run_audit_page(runs);
  write_output(text);
  if (!json.empty()) write_audit_file(json, all.dump(1) + "\n");
  if (!html.empty()) write_audit_file(html, page);
  return faults == 0 ? 0 : 1;
}

}  // namespace costeff
