#include "costeff/train/pipeline.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "costeff/train/classifier.h"
#include "costeff/train/results.h"
#include "costeff/train/run_folder.h"
#include "costeff/train/settings_table.h"
#include "tensor/error.h"
#include "tensor/json_file.h"

namespace costeff {
namespace {

namespace fs = std::filesystem;

// Of a stage in the method's list.
std::size_t index_of(const Method& method, std::string_view stage) {
  return static_cast<std::size_t>(&method.stage(std::string(stage)) - method.stages.data());
}

std::string folder_of(const PipelineSettings& p, const StageSpec& stage) {
  return p.out + "/" + stage.name;
}

bool left_out(const PipelineSettings& p, const StageSpec& stage) {
  return p.no_assistant && stage.name == p.method->optional_stage;
}

// The stage of that name, or whose model stands in for it.
const StageSpec& model_stage(const PipelineSettings& p, const std::string& name) {
  const StageSpec& stage = p.method->stage(name);
  return left_out(p, stage) ? p.method->stage(stage.teacher) : stage;
}

// Whether a stage can have the data that the one before it read, and the teacher that it loaded.
bool same_data(const Settings& a, const Settings& b) {
  return a.task == b.task && a.columns == b.columns && a.labels == b.labels && a.data == b.data &&
         a.max_length == b.max_length && a.holdout == b.holdout && (a.holdout == 0 || a.seed == b.seed);
}
bool same_teacher(const Settings& a, const Settings& b) {
  return a.teacher == b.teacher && a.task == b.task && a.columns == b.columns && a.labels == b.labels &&
         a.device == b.device && a.precision == b.precision && a.threads == b.threads &&
         a.teacher_memory == b.teacher_memory;
}

// What the stages of a run share, and by which settings.
struct Shared {
  StageShared now;
  Settings data_settings, teacher_settings;

  StageShared& for_stage(const Settings& settings) {
    if (!same_data(settings, data_settings)) now.data = nullptr;
    if (!same_teacher(settings, teacher_settings)) now.teacher = nullptr;
    data_settings = teacher_settings = settings;
    return now;
  }
};

// Throws what any stage would throw for its model, data, sizes and steps, before a folder is made and
// anything is trained.
void check_all(const PipelineSettings& p, Shared& shared, const PipelineEvents& events) {
  const Settings first = placed(p, p.method->stages.front());
  const std::string folder = resolve_model(first.model);
  const BertConfig config = BertConfig::read(folder + "/config.json");
  shared.for_stage(first).data = std::make_shared<const StageData>(
      load_data(first, task_of(first), Tokenizer::from_folder(folder), config, [&](const std::string& line) {
        if (events.note) events.note(line);
      }));
  for (const StageSpec* stage : stages_of(p))
    check_plan(*stage, placed(p, *stage), config, shared.now.data->train);
}

// The run's folder, begun or gone on with.
void open_folder(const PipelineSettings& p, bool resume, Shared& shared, const PipelineEvents& events) {
  const std::string config = p.out + "/config.json";
  if (resume) {
    if (!fs::exists(config)) fail("there is no run at {} to go on with", p.out);
    return;
  }
  check_all(p, shared, events);
  RunFolder::create(p.out, {{"format", kRunFormat},
                            {"command", "run"},
                            {"settings", to_json(p)},
                            {"environment", environment(device_named(p.stages[0].device))}});
}

}  // namespace

PipelineSettings::PipelineSettings(const Method& m) : method(&m) {
  for (const StageSpec& stage : m.stages) stages.push_back(stage.defaults);
}

const Settings& PipelineSettings::operator[](std::string_view stage) const {
  return stages[index_of(*method, stage)];
}

Settings& PipelineSettings::operator[](std::string_view stage) {
  return stages[index_of(*method, stage)];
}

PipelineSettings with_recipe(const Method& method, std::string_view name) {
  std::string known;
  for (const Recipe& recipe : method.recipes) {
    known += (known.empty() ? "" : ", ") + recipe.name;
    if (recipe.name != name) continue;
    PipelineSettings p(method);
    for (std::size_t i = 0; i < p.stages.size(); ++i) recipe.apply(method.stages[i], p.stages[i]);
    return p;
  }
  fail_usage("recipe {}: {} has {}", name, method.title, known);
}

std::vector<const StageSpec*> stages_of(const PipelineSettings& p) {
  std::vector<const StageSpec*> run;
  for (const StageSpec& stage : p.method->stages) {
    if (!left_out(p, stage)) run.push_back(&stage);
  }
  return run;
}

std::string kept_model(const PipelineSettings& p, const StageSpec& stage) {
  const std::string& by = p.method->optional_stage.empty() ? stage.name : p.method->optional_stage;
  const bool best = p.method->hands_on_best && p.method->hands_on_best(stage, p[by]);
  return folder_of(p, stage) + (best ? "/best" : "/last");
}

Settings placed(const PipelineSettings& p, const StageSpec& stage) {
  Settings s = p[stage.name];
  s.out = folder_of(p, stage);
  s.pretrained = s.model;
  if (!stage.student.empty()) s.model = kept_model(p, model_stage(p, stage.student));
  if (!stage.teacher.empty()) s.teacher = kept_model(p, model_stage(p, stage.teacher));
  return s;
}

Json to_json(const PipelineSettings& p) {
  Json json{{"method", p.method->name}, {"out", p.out}, {"no_assistant", p.no_assistant}};
  for (std::size_t i = 0; i < p.stages.size(); ++i)
    json[p.method->stages[i].name] = to_json(p.method->stages[i].uses, p.stages[i]);
  return json;
}

std::string method_of(const Json& settings) {
  if (!settings.is_object() || !settings.contains("method")) return "costeff";
  if (!settings.at("method").is_string()) fail_usage("method: {} is no name", settings.at("method").dump());
  return settings.at("method").get<std::string>();
}

PipelineSettings pipeline_from_json(const Json& json, PipelineSettings base) {
  if (!json.is_object()) fail_usage("settings must be a JSON object");
  for (const auto& item : json.items()) {
    const std::string& key = item.key();
    const Json& value = item.value();
    const auto& all = base.method->stages;
    const auto stage =
        std::find_if(all.begin(), all.end(), [&](const StageSpec& s) { return s.name == key; });
    if (stage != all.end()) {
      base[key] = settings_from_json(stage->uses, value, base[key]);
    } else if (key == "out" && value.is_string()) {
      base.out = value.get<std::string>();
    } else if (key == "no_assistant" && value.is_boolean()) {
      base.no_assistant = value.get<bool>();
    } else if (key != "method" || method_of(json) != base.method->name) {
      fail_usage("unknown setting \"{}\", or not of its type", key);
    }
  }
  return base;
}

void check(const PipelineSettings& p) {
  const Settings& first = p.stages.front();
  if (p.no_assistant && p.method->optional_stage.empty())
    fail_usage("no_assistant: {} has no stage that can be left out", p.method->title);
  for (const StageSpec* stage : stages_of(p)) {
    try {
      check(stage->uses, placed(p, *stage));
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("{}: {}", stage->name, error.what()));
    }
    // Sentences that one stage holds out must not train another, nor a threshold be chosen on those that did.
    const Settings& s = p[stage->name];
    if (s.task != first.task || s.columns != first.columns || s.labels != first.labels ||
        s.data != first.data)
      fail_usage("{}: all stages of a run need the same task and data", stage->name);
    if (s.holdout != first.holdout)
      fail_usage("{}: {} {}: {} holds {} sentences out, and all stages must hold out the same", stage->name,
                 flag_of(&Settings::holdout), s.holdout, p.method->stages[0].name, first.holdout);
    if (s.seed != first.seed && s.holdout > 0)
      fail_usage(
          "{}: {} {}: {} has {}, and the sentences that are held out are drawn by it; {} 0 holds none out",
          stage->name, flag_of(&Settings::seed), s.seed, p.method->stages[0].name, first.seed,
          flag_of(&Settings::holdout));
  }
}

std::optional<std::string> run_pipeline(const PipelineSettings& p, bool resume,
                                        const PipelineEvents& events) {
  check(p);
  Shared shared;
  open_folder(p, resume, shared, events);
  for (const StageSpec* stage : stages_of(p)) {
    const Settings settings = placed(p, *stage);
    if (read_stage_record(settings.out, stage->name)) continue;
    const bool begun = fs::exists(settings.out + "/config.json");
    const StageEvents stage_events = events.stage ? events.stage(*stage, begun) : StageEvents{};
    if (!run_stage(*stage, settings, begun, stage_events, shared.for_stage(settings)).finished)
      return stage->name;
  }
  if (has_results(p.out)) return std::nullopt;
  if (events.note) events.note("measuring the models");
  const Results results = measure_results(p, shared.for_stage(p.stages.front()).data);
  write_threshold(p, results);
  write_atomically(p.out + "/results.json", to_json(results).dump(2) + "\n");
  return std::nullopt;
}

}  // namespace costeff
