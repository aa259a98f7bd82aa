#include "tools/cli/report/data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "costeff/methods/method_list.h"
#include "costeff/train/pipeline.h"
#include "tensor/error.h"
#include "tensor/json_file.h"
#include "tools/cli/pages/words.h"

namespace costeff {
namespace {

namespace fs = std::filesystem;

// The file's content; null if there is none.
Json read_if_there(const std::string& path) {
  return fs::exists(path) ? read_json<Json>(path) : Json();
}

StageReport read_stage(const std::string& folder, const std::string& name) {
  StageReport stage{.name = name, .config = read_if_there(folder + "/config.json")};
  stage.begun = !stage.config.is_null();
  if (fs::exists(folder + "/log.jsonl")) {
    for (LogLine& line : read_log(folder)) {
      if (auto* step = std::get_if<StepLine>(&line); step != nullptr && std::isfinite(step->loss))
        stage.steps.push_back(std::move(*step));
      if (auto* dev = std::get_if<EvaluationLine>(&line)) stage.dev.push_back(std::move(*dev));
      if (auto* round = std::get_if<RoundLine>(&line)) stage.rounds.push_back(std::move(*round));
    }
  }
  const std::optional<StageRecord> record = read_stage_record(folder, name);
  if (record) stage.seconds = record->seconds;
  stage.finished = record || fs::exists(folder + "/last/config.json");
  return stage;
}

// From the model that was made slender, whose sizes are those of the stages before.
void read_full_sizes(ReportData& data) {
  std::vector<std::string> folders;
  for (const StageReport& stage : data.stages) {
    if (!data.single && stage.rounds.empty())
      folders.push_back(fmt::format("{}/{}/last", data.path, stage.name));
  }
  if (data.single && data.config.contains("effective"))
    folders.push_back(data.config["effective"].value("model_folder", ""));
  for (const std::string& folder : folders) {
    const Json config = read_if_there(folder + "/config.json");
    if (config.is_null()) continue;
    data.full_heads = config.value("num_attention_heads", data.full_heads);
    data.full_ffn = config.value("intermediate_size", data.full_ffn);
    data.full_rank = config.value("hidden_size", data.full_rank);
    return;
  }
}

// A stage's name is a folder's, an id's, and a command's.
bool is_name(const std::string& name) {
  return !name.empty() &&
         std::all_of(name.begin(), name.end(), [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; });
}

void read_stages(const Json& settings, ReportData& data) {
  if (data.single) {
    const std::string command = data.config.is_null() ? "" : data.config.value("command", "");
    data.stages.push_back(read_stage(data.path, is_name(command) ? command : "training"));
    return;
  }
  // The settings of a run have an object for each stage of its method.
  for (const auto& [name, of_stage] : settings.items()) {
    if (of_stage.is_object() && is_name(name))
      data.stages.push_back(read_stage(fmt::format("{}/{}", data.path, name), name));
  }
}

// Of a run, its method; of one stage, the first method that has such a stage.
void read_titles(const Json& settings, ReportData& data) {
  for (StageReport& stage : data.stages) stage.title = stage.name;
  for (const Method& method : all_methods()) {
    const bool asked = data.single || method.name == method_of(settings);
    for (StageReport& stage : data.stages) {
      for (const StageSpec& spec : method.stages) {
        if (!asked || spec.name != stage.name || stage.title == spec.title) continue;
        data.method = method.title;
        stage.title = spec.title;
      }
    }
    if (asked && !data.single) return;
    if (data.single && data.stages[0].title != data.stages[0].name) return;
  }
}

void say_what_is_absent(bool no_assistant, ReportData& data) {
  if (data.config.is_null()) data.absent.push_back(words("report.no_config"));
  if (!data.single && !data.results) data.absent.push_back(words("report.no_results"));
  for (const StageReport& stage : data.stages) {
    if (stage.finished || (stage.name == "assist" && no_assistant)) continue;
    data.absent.push_back(
        words(stage.begun ? "report.not_ended" : "report.not_begun", named("stage", stage.name)));
  }
}

}  // namespace

std::vector<std::string> StageReport::phases() const {
  std::vector<std::string> phases;
  for (const StepLine& step : steps) {
    if (phases.empty() || phases.back() != step.phase) phases.push_back(step.phase);
  }
  return phases;
}

const ModelRecord* ReportData::find(ModelRole role) const {
  return results ? results->find(role) : nullptr;
}

const ModelRecord* ReportData::product() const {
  return results ? results->product() : nullptr;
}

const std::vector<RoundLine>* ReportData::rounds() const {
  const auto at =
      std::find_if(stages.begin(), stages.end(), [](const StageReport& s) { return !s.rounds.empty(); });
  return at == stages.end() ? nullptr : &at->rounds;
}

ReportData read_report_data(const std::string& path) {
  ReportData data{.path = path, .config = read_if_there(path + "/config.json")};
  const bool logged = fs::exists(path + "/log.jsonl");
  if (data.config.is_null() && !logged && !has_results(path))
    fail("{}: there is no run here (no config.json, log.jsonl or results.json); costeff run makes one", path);
  require_run_format(data.config, path);
  const Json settings =
      data.config.is_null() ? Json::object() : data.config.value("settings", Json::object());
  data.single = !has_results(path) && (data.config.is_null() || data.config.value("command", "") != "run");
  data.task = settings.contains("task") ? settings["task"].get<std::string>() : "";
  if (has_results(path)) {
    data.results = read_results(path);
    data.task = data.results->task;
    data.metric = data.results->metric;
  }
  read_stages(settings, data);
  read_titles(settings, data);
  for (StageReport& stage : data.stages) {
    for (const StageRecord& record : data.results ? data.results->stages : std::vector<StageRecord>()) {
      if (record.name == stage.name) stage.seconds = record.seconds;
    }
  }
  read_full_sizes(data);
  say_what_is_absent(settings.value("no_assistant", false), data);
  return data;
}

}  // namespace costeff
