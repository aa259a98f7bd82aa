#include "costeff/train/run_records.h"

#include <filesystem>
#include <limits>

#include "tensor/error.h"
#include "tensor/json_file.h"

namespace costeff {
namespace {

double number(const Json& json) {
  return json.is_null() ? std::numeric_limits<double>::quiet_NaN() : json.get<double>();
}

Json line_of(const StepLine& line) {
  Json json{{"step", line.step},
            {"phase", line.phase},
            {"loss", line.loss},
            {"gradient_norm", line.gradient_norm},
            {"clip_scale", line.clip_scale},
            {"learning_rate", line.learning_rate},
            {"tokens", line.tokens},
            {"tokens_per_second", line.tokens_per_second}};
  if (line.features_alone) json["features_alone"] = true;
  if (!line.audit.is_null()) json["audit"] = line.audit;
  return json;
}

Json line_of(const EvaluationLine& line) {
  return {{"step", line.step}, {"dev", to_json(line.dev)}};
}

Json line_of(const RoundLine& line) {
  return {{"step", line.step},
          {"round", line.round},
          {"heads", line.heads},
          {"ffn", line.ffn},
          {"rank", line.rank},
          {"kept_heads", line.kept_heads},
          {"kept_neurons", line.kept_neurons}};
}

LogLine log_line_from(const Json& json) {
  const auto step = json.at("step").get<std::int64_t>();
  if (json.contains("dev")) return EvaluationLine{step, exits_evaluation_from(json.at("dev"))};
  if (json.contains("round")) {
    RoundLine round{.step = step, .round = json.at("round").get<std::int64_t>()};
    json.at("heads").get_to(round.heads);
    json.at("ffn").get_to(round.ffn);
    json.at("rank").get_to(round.rank);
    json.at("kept_heads").get_to(round.kept_heads);
    json.at("kept_neurons").get_to(round.kept_neurons);
    return round;
  }
  return StepLine{.step = step,
                  .phase = json.at("phase").get<std::string>(),
                  .loss = number(json.at("loss")),
                  .gradient_norm = number(json.at("gradient_norm")),
                  .clip_scale = number(json.at("clip_scale")),
                  .learning_rate = number(json.at("learning_rate")),
                  .tokens = json.at("tokens").get<std::int64_t>(),
                  .tokens_per_second = number(json.at("tokens_per_second")),
                  .features_alone = json.value("features_alone", false),
                  .audit = json.value("audit", Json())};
}

Evaluation evaluation_from(const Json& json) {
  Evaluation evaluation;
  for (const auto& [name, value] : json.items()) {
    if (name == "loss") {
      evaluation.loss = number(value);
    } else if (name != "exit" && name != "exits") {
      evaluation.metrics.emplace_back(name, number(value));
    }
  }
  return evaluation;
}

Json exits_of(const ExitsEvaluation& evaluation) {
  Json exits = Json::array();
  for (std::size_t i = 0; i < evaluation.exits.size(); ++i) {
    Json exit{{"exit", evaluation.first + static_cast<std::int64_t>(i)}};
    exit.update(to_json(evaluation.exits[i]));
    exits.push_back(std::move(exit));
  }
  return exits;
}

ExitsEvaluation exits_from(const Json& exits) {
  ExitsEvaluation evaluation{.first = exits.at(0).at("exit").get<std::int64_t>(), .exits = {}};
  for (const Json& exit : exits) evaluation.exits.push_back(evaluation_from(exit));
  return evaluation;
}

Json point_of(const OperatingPoint& point) {
  return {{"threshold", point.threshold},
          {"score", point.score},
          {"average_exit", point.average_exit},
          {"flops", point.flops},
          {"flops_reduction", point.flops_reduction},
          {"exit_counts", point.exit_counts}};
}

OperatingPoint point_from(const Json& json) {
  return {.threshold = number(json.at("threshold")),
          .score = number(json.at("score")),
          .average_exit = number(json.at("average_exit")),
          .flops = number(json.at("flops")),
          .flops_reduction = number(json.at("flops_reduction")),
          .exit_counts = json.at("exit_counts").get<std::vector<std::int64_t>>()};
}

Json model_of(const ModelRecord& model) {
  const auto optional = [](const std::optional<double>& value) { return value ? Json(*value) : Json(); };
  Json json{{"role", name_of(model.role)},
            {"name", model.name},
            {"folder", model.folder},
            {"parameters", model.parameters},
            {"flops", model.flops},
            {"flops_padded", model.flops_padded},
            {"score", model.score},
            {"share", optional(model.share)},
            {"sequences_per_second", model.sequences_per_second},
            {"average_exit", model.average_exit},
            {"threshold", optional(model.threshold)}};
  if (model.flops_reduction) json["flops_reduction"] = *model.flops_reduction;
  if (model.exits) json["exits"] = exits_of(*model.exits);
  if (!model.exit_counts.empty()) json["exit_counts"] = model.exit_counts;
  return json;
}

// Format 1 had no roles: the threshold and the name said them.
ModelRole role_of(const Json& json) {
  if (json.contains("role")) return choice_named<ModelRole>(json.at("role").get<std::string>());
  if (!json.at("threshold").is_null()) return ModelRole::early_exit;
  const auto name = json.at("name").get<std::string>();
  if (name == "fine-tuned") return ModelRole::fine_tuned;
  return name == "assistant" ? ModelRole::assistant : ModelRole::full_depth;
}

ModelRecord model_from(const Json& json) {
  const auto optional = [&](const char* key) {
    return json.at(key).is_null() ? std::optional<double>() : json.at(key).get<double>();
  };
  ModelRecord model{.role = role_of(json),
                    .name = json.at("name").get<std::string>(),
                    .folder = json.at("folder").get<std::string>(),
                    .parameters = json.at("parameters").get<std::int64_t>(),
                    .flops = number(json.at("flops")),
                    .flops_padded = number(json.at("flops_padded")),
                    .score = number(json.at("score")),
                    .share = optional("share"),
                    .sequences_per_second = number(json.at("sequences_per_second")),
                    .average_exit = number(json.at("average_exit")),
                    .threshold = optional("threshold")};
  if (json.contains("flops_reduction")) model.flops_reduction = optional("flops_reduction");
  if (json.contains("exits")) model.exits = exits_from(json.at("exits"));
  if (json.contains("exit_counts")) json.at("exit_counts").get_to(model.exit_counts);
  return model;
}

Json record_of(const StageRecord& stage) {
  return {{"steps", stage.steps}, {"best_step", stage.best_step}, {"seconds", stage.seconds}};
}

StageRecord record_from(const Json& json, std::string name) {
  return {.name = std::move(name),
          .steps = json.at("steps").get<std::int64_t>(),
          .best_step = json.at("best_step").get<std::int64_t>(),
          .seconds = number(json.at("seconds"))};
}

// Calls f, and names the file where its JSON is not what f expects.
template <class F>
auto reading(const std::string& file, F&& f) {
  try {
    return f();
  } catch (const Json::exception& error) {
    fail("{}: it is not what a run writes: {}", file, std::string_view(error.what()).substr(0, 200));
  }
}

}  // namespace

void require_run_format(const Json& config, const std::string& where) {
  const Json format = config.is_object() ? config.value("format", Json(1)) : Json(1);
  if (format.is_number_integer() && format.get<std::int64_t>() >= 1 &&
      format.get<std::int64_t>() <= kRunFormat)
    return;
  fail("{}: the folder is of format {}, this costeff reads formats up to {}; a newer costeff wrote it", where,
       format.dump(), kRunFormat);
}

Json to_json(const LogLine& line) {
  return std::visit([](const auto& l) { return line_of(l); }, line);
}

std::vector<LogLine> read_log(const std::string& run) {
  const std::string file = run + "/log.jsonl";
  const std::string text = read_text(file);
  std::vector<LogLine> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const Json json = Json::parse(text.substr(begin, end - begin), nullptr, false);
    begin = end + 1;
    if (json.is_discarded() && begin >= text.size()) break;  // a run that is going on is writing it
    const std::string where = fmt::format("{}: line {}", file, lines.size() + 1);
    if (json.is_discarded()) fail("{} is not JSON", where);
    lines.push_back(reading(where, [&] { return log_line_from(json); }));
  }
  return lines;
}

Json to_json(const Evaluation& evaluation) {
  Json json = Json::object();
  for (const auto& [name, value] : evaluation.metrics) json[name] = value;
  json["loss"] = evaluation.loss;
  return json;
}

Json to_json(const ExitsEvaluation& evaluation) {
  Json json = to_json(evaluation.exits.back());
  if (evaluation.exits.size() > 1) json["exits"] = exits_of(evaluation);
  return json;
}

ExitsEvaluation exits_evaluation_from(const Json& json) {
  if (json.contains("exits")) return exits_from(json.at("exits"));
  ExitsEvaluation evaluation;
  evaluation.exits.push_back(evaluation_from(json));
  return evaluation;
}

std::optional<StageRecord> read_stage_record(const std::string& run, const std::string& stage) {
  const std::string file = run + "/result.json";
  if (!std::filesystem::exists(file)) return std::nullopt;
  const Json json = read_json<Json>(file);
  return reading(file, [&] { return record_from(json, stage); });
}

void write_stage_record(const std::string& run, const StageRecord& record) {
  write_atomically(run + "/result.json", record_of(record).dump(2) + "\n");
}

const ModelRecord* Results::find(ModelRole role) const {
  for (const ModelRecord& model : models) {
    if (model.role == role) return &model;
  }
  return nullptr;
}

const ModelRecord* Results::product() const {
  const ModelRecord* early = find(ModelRole::early_exit);
  return early != nullptr ? early : find(ModelRole::full_depth);
}

Json to_json(const Results& results) {
  Json json{{"method", results.method},
            {"task", results.task},
            {"metric", results.metric},
            {"models", Json::array()},
            {"stages", Json::array()}};
  if (!results.sweep.empty()) json["sweep"] = Json::array();
  for (const OperatingPoint& point : results.sweep) json["sweep"].push_back(point_of(point));
  for (const ModelRecord& model : results.models) json["models"].push_back(model_of(model));
  for (const StageRecord& stage : results.stages) {
    Json entry{{"name", stage.name}};
    entry.update(record_of(stage));
    json["stages"].push_back(std::move(entry));
  }
  return json;
}

bool has_results(const std::string& run) {
  return std::filesystem::exists(run + "/results.json");
}

Results read_results(const std::string& run) {
  const std::string file = run + "/results.json";
  const Json json = read_json<Json>(file);
  return reading(file, [&] {
    Results results{.method = json.value("method", "costeff"),
                    .task = json.at("task").get<std::string>(),
                    .metric = json.at("metric").get<std::string>()};
    for (const Json& model : json.at("models")) results.models.push_back(model_from(model));
    for (const Json& point : json.value("sweep", Json::array())) results.sweep.push_back(point_from(point));
    for (const Json& stage : json.at("stages"))
      results.stages.push_back(record_from(stage, stage.at("name").get<std::string>()));
    return results;
  });
}

}  // namespace costeff
