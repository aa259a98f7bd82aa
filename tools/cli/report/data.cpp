#include "tools/cli/report/data.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <initializer_list>
#include <utility>

#include "data/text_file.h"
#include "tensor/error.h"
#include "tools/cli/pages/text.h"

namespace costeff {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 4> kStageFolders = {"finetune", "assist", "slenderise", "recover"};
constexpr std::int64_t kMostPlaces = 1 << 20;  // of a head, a neuron, an exit: what is above is no place

bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// ---- values of whatever type the file has: another type counts as absent

const Json& member(const Json& json, const char* key) {
  static const Json kNothing;
  if (!json.is_object()) return kNothing;
  const auto at = json.find(key);
  return at == json.end() ? kNothing : *at;
}

std::optional<double> real(const Json& json) {
  if (!json.is_number()) return std::nullopt;
  const auto value = json.get<double>();
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::optional<double> real(const Json& json, const char* key) {
  return real(member(json, key));
}

std::string text(const Json& json, const char* key) {
  const Json& value = member(json, key);
  return value.is_string() ? value.get<std::string>() : "";
}

std::optional<std::int64_t> place(const Json& json) {
  const std::optional<double> value = real(json);
  if (!value || *value < 0 || *value > static_cast<double>(kMostPlaces)) return std::nullopt;
  return static_cast<std::int64_t>(*value);
}

std::vector<double> reals(const Json& json) {
  std::vector<double> out;
  if (!json.is_array()) return out;
  for (const Json& item : json) out.push_back(real(item).value_or(0));
  return out;
}

std::vector<std::vector<std::int64_t>> places(const Json& json) {
  std::vector<std::vector<std::int64_t>> out;
  if (!json.is_array()) return out;
  for (const Json& row : json) {
    out.emplace_back();
    if (!row.is_array()) continue;
    for (const Json& item : row) {
      if (const auto value = place(item)) out.back().push_back(*value);
    }
    std::sort(out.back().begin(), out.back().end());
  }
  return out;
}

// The score among metrics: that of the run's metric, else the last, which sums the others up.
std::optional<double> score_of(const Json& metrics, const std::string& metric) {
  if (const auto value = real(metrics, metric.c_str())) return value;
  std::optional<double> last;
  if (!metrics.is_object()) return last;
  for (const auto& [key, value] : metrics.items()) {
    if (key != "exit" && key != "loss" && key != "exits" && value.is_number()) last = real(value);
  }
  return last;
}

std::vector<ExitScore> exits_of(const Json& json, const std::string& metric) {
  std::vector<ExitScore> out;
  if (!json.is_array()) return out;
  for (const Json& item : json) {
    const auto exit = place(member(item, "exit"));
    const auto score = score_of(item, metric);
    if (exit && score) out.push_back({*exit, *score});
  }
  return out;
}

// ---- files

// NaN and infinities, which other programs write into JSON without quotes, as null.
std::string without_nan(const std::string& content) {
  std::string out;
  bool quoted = false;
  for (std::size_t at = 0; at < content.size();) {
    const char c = content[at];
    if (quoted && c == '\\' && at + 1 < content.size()) {
      out += content.substr(at, 2);
      at += 2;
      continue;
    }
    if (c == '"') quoted = !quoted;
    std::size_t skipped = 0;
    if (!quoted) {
      for (const std::string_view word :
           {"-NaN", "NaN", "-nan", "nan", "-Infinity", "Infinity", "-inf", "inf"}) {
        if (skipped == 0 && content.compare(at, word.size(), word) == 0) skipped = word.size();
      }
    }
    out += skipped > 0 ? "null" : std::string(1, c);
    at += std::max<std::size_t>(skipped, 1);
  }
  return out;
}

Json parse_lenient(const std::string& content) {
  Json json = Json::parse(content, nullptr, false);
  return json.is_discarded() ? Json::parse(without_nan(content), nullptr, false) : json;
}

// The file's object; null if there is none, and if it is no JSON object `absent` says so.
Json read_object(const std::string& path, const std::string& name, ReportData& data) {
  if (!exists(path)) return nullptr;
  Json json = parse_lenient(read_text(path));
  if (json.is_object()) return json;
  data.absent.push_back(fmt::format("{} is not a JSON object and was left out.", name));
  return nullptr;
}

RoundReport round_of(const Json& line, std::int64_t round, double step) {
  return {.round = round,
          .step = step,
          .heads = reals(member(line, "heads")),
          .ffn = reals(member(line, "ffn")),
          .rank = real(line, "rank"),
          .kept_heads = places(member(line, "kept_heads")),
          .kept_neurons = places(member(line, "kept_neurons"))};
}

void add_line(const Json& line, double step, const std::string& metric, StageReport& stage) {
  if (const auto round = place(member(line, "round"))) {
    stage.rounds.push_back(round_of(line, *round, step));
  } else if (const Json& dev = member(line, "dev"); dev.is_object()) {
    stage.dev.push_back({step, score_of(dev, metric), exits_of(member(dev, "exits"), metric)});
  } else if (const auto loss = real(line, "loss")) {
    const std::string phase = text(line, "phase");
    if (stage.phases.empty() || stage.phases.back() != phase) stage.phases.push_back(phase);
    const bool alone = member(line, "features_alone") == Json(true);
    stage.losses.push_back({step, *loss, stage.phases.size() - 1, alone});
  }
}

void read_log(const std::string& folder, ReportData& data, StageReport& stage) {
  const std::string path = fmt::format("{}/log.jsonl", folder);
  if (!exists(path)) return;
  stage.begun = true;
  std::size_t unreadable = 0;
  std::size_t last_unreadable = 0;
  std::size_t lines = 0;
  for_each_line(read_text(path), [&](std::size_t number, std::string_view content) {
    lines = number;
    const Json line = parse_lenient(std::string(content));
    if (const auto step = real(line, "step")) {
      add_line(line, *step, data.metric, stage);
    } else if (!line.is_object()) {
      ++unreadable;
      last_unreadable = number;
    }
  });
  // A running process may just be writing the last line.
  if (unreadable > 0 && last_unreadable == lines) --unreadable;
  if (unreadable > 0) {
    data.absent.push_back(fmt::format("The log of {} has lines that are not JSON; they were left out: {}.",
                                      stage.name, unreadable));
  }
}

StageReport read_stage(const std::string& folder, const std::string& name, const Json& config,
                       ReportData& data) {
  StageReport stage{.name = name, .config = config};
  stage.begun = !stage.config.is_null();
  read_log(folder, data, stage);
  const Json result =
      read_object(fmt::format("{}/result.json", folder), fmt::format("{}/result.json", name), data);
  stage.seconds = real(result, "seconds");
  stage.finished = !result.is_null() || exists(fmt::format("{}/last/config.json", folder));
  return stage;
}

ModelReport model_of(const Json& json, const std::string& metric) {
  return {.name = text(json, "name"),
          .parameters = real(json, "parameters"),
          .flops = real(json, "flops"),
          .flops_padded = real(json, "flops_padded"),
          .score = real(json, "score"),
          .share = real(json, "share"),
          .sequences_per_second = real(json, "sequences_per_second"),
          .average_exit = real(json, "average_exit"),
          .threshold = real(json, "threshold"),
          .exits = exits_of(member(json, "exits"), metric),
          .exit_counts = reals(member(json, "exit_counts"))};
}

void read_results(const Json& results, ReportData& data) {
  if (const Json& models = member(results, "models"); models.is_array()) {
    for (const Json& model : models) data.models.push_back(model_of(model, data.metric));
  }
  const Json& sweep = member(results, "sweep");
  if (!sweep.is_array()) return;
  for (const Json& point : sweep) {
    data.sweep.push_back({real(point, "threshold"), real(point, "score"), real(point, "flops"),
                          reals(member(point, "exit_counts"))});
  }
}

void read_stage_times(const Json& results, ReportData& data) {
  const Json& stages = member(results, "stages");
  if (!stages.is_array()) return;
  for (const Json& item : stages) {
    for (StageReport& stage : data.stages) {
      if (stage.name == text(item, "name") && real(item, "seconds")) stage.seconds = real(item, "seconds");
    }
  }
}

// From the model that was made slender: the assistant, whose sizes are those of the fine-tuned model.
void read_full_sizes(ReportData& data) {
  std::vector<std::string> folders = {fmt::format("{}/assist/last", data.path),
                                      fmt::format("{}/finetune/last", data.path)};
  if (data.single) folders = {text(member(data.config, "effective"), "model_folder")};
  for (const std::string& folder : folders) {
    const std::string file = fmt::format("{}/config.json", folder);
    if (folder.empty() || !exists(file)) continue;
    const Json config = read_object(file, file, data);
    data.full_heads = real(config, "num_attention_heads");
    data.full_ffn = real(config, "intermediate_size");
    data.full_rank = real(config, "hidden_size");
    return;
  }
}

void say_what_is_absent(const Json& results, ReportData& data) {
  if (data.config.is_null())
    data.absent.emplace_back("There is no config.json, so the settings are not shown.");
  if (data.single) {
    if (!data.stages[0].finished) data.absent.emplace_back("Training has not ended yet.");
    return;
  }
  if (results.is_null()) {
    data.absent.emplace_back(
        "There is no results.json yet: costeff run writes it when all stages are done. Until then there is "
        "no "
        "table of models, and no picture of scores, exits and FLOPs.");
  }
  const Json& no_assistant = member(member(data.config, "settings"), "no_assistant");
  for (const StageReport& stage : data.stages) {
    if (stage.name == "assist" && no_assistant == Json(true)) continue;
    if (!stage.begun) {
      data.absent.push_back(fmt::format("The stage {} has not begun.", stage.name));
    } else if (!stage.finished) {
      data.absent.push_back(fmt::format("The stage {} has not ended.", stage.name));
    }
  }
}

const ModelReport* find_model(const std::vector<ModelReport>& models, bool (*is)(const ModelReport&)) {
  const auto at = std::find_if(models.begin(), models.end(), is);
  return at == models.end() ? nullptr : &*at;
}

}  // namespace

std::string StageReport::title() const {
  constexpr std::array<std::pair<const char*, const char*>, 4> kTitles = {{
      {"finetune", "Fine-tuning"},
      {"assist", "Teaching assistant"},
      {"slenderise", "Slenderising"},
      {"recover", "Recovery"},
  }};
  for (const auto& [key, words] : kTitles) {
    if (name == key) return words;
  }
  return name;
}

const StageReport* ReportData::stage(const std::string& name) const {
  for (const StageReport& candidate : stages) {
    if (candidate.name == name) return &candidate;
  }
  return nullptr;
}

const ModelReport* ReportData::fine_tuned() const {
  return find_model(models, [](const ModelReport& m) { return m.name == "fine-tuned"; });
}

const ModelReport* ReportData::assistant() const {
  return find_model(models, [](const ModelReport& m) { return m.name == "assistant"; });
}

const ModelReport* ReportData::full_depth() const {
  return find_model(models,
                    [](const ModelReport& m) { return m.name.starts_with("COST-EFF") && !m.threshold; });
}

const ModelReport* ReportData::early_exit() const {
  return find_model(
      models, [](const ModelReport& m) { return m.name.starts_with("COST-EFF") && m.threshold.has_value(); });
}

const ModelReport* ReportData::slender() const {
  return early_exit() != nullptr ? early_exit() : full_depth();
}

ReportData read_report_data(const std::string& path) {
  ReportData data{.path = path};
  const auto in_run = [&](const char* name) { return fmt::format("{}/{}", path, name); };
  bool whole = exists(in_run("results.json"));
  for (const char* name : kStageFolders) whole |= exists(fmt::format("{}/{}/config.json", path, name));
  if (!whole && !exists(in_run("config.json")) && !exists(in_run("log.jsonl"))) {
    fail("{}: there is no run here (no config.json, log.jsonl or results.json); costeff run makes one", path);
  }
  data.config = read_object(in_run("config.json"), "config.json", data);
  data.single = !whole && text(data.config, "command") != "run";
  const Json& settings = member(data.config, "settings");
  data.task = text(settings, "task");

  const Json results = data.single ? Json() : read_object(in_run("results.json"), "results.json", data);
  if (!text(results, "task").empty()) data.task = text(results, "task");
  if (!text(results, "metric").empty()) data.metric = text(results, "metric");
  if (data.single) {
    const std::string command = text(data.config, "command");
    data.stages.push_back(read_stage(path, command.empty() ? "training" : command, data.config, data));
  } else {
    for (const char* name : kStageFolders) {
      const std::string config = fmt::format("{}/config.json", name);
      data.stages.push_back(
          read_stage(in_run(name), name, read_object(in_run(config.c_str()), config, data), data));
    }
  }
  read_results(results, data);
  read_stage_times(results, data);
  read_full_sizes(data);
  say_what_is_absent(results, data);
  return data;
}

}  // namespace costeff
