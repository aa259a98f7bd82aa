#include "costeff/train/pipeline.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "costeff/exits/classifier.h"
#include "costeff/train/results.h"
#include "costeff/train/settings_table.h"
#include "costeff/train/stage_data.h"
#include "tensor/error.h"
#include "tensor/json_file.h"

namespace costeff {
namespace {

namespace fs = std::filesystem;

std::string folder_of(const PipelineSettings& p, Stage stage) {
  return p.out + "/" + std::string(name_of(stage));
}

// The settings of a stage within the run: where its models come from and where its own goes.
Settings placed(const PipelineSettings& p, Stage stage) {
  Settings s = p[stage];
  s.out = folder_of(p, stage);
  const std::string assistant = kept_model(p, p.no_assistant ? Stage::finetune : Stage::assist);
  if (stage == Stage::assist) s.teacher = kept_model(p, Stage::finetune);
  if (stage == Stage::slenderise) s.model = assistant;
  if (stage == Stage::recover) s.model = kept_model(p, Stage::slenderise);
  if (stage == Stage::slenderise || stage == Stage::recover) s.teacher = assistant;
  return s;
}

bool left_out(const PipelineSettings& p, Stage stage) {
  return stage == Stage::assist && p.no_assistant;
}

// Throws what any stage would throw for its model, data, sizes and steps, before a folder is made and
// anything is trained.
void check_all(const PipelineSettings& p) {
  const Settings& first = p[Stage::finetune];
  const Task task = task_of(first);
  const std::string folder = resolve_model(first.model);
  const BertConfig config = BertConfig::read(folder + "/config.json");
  const StageData data =
      load_data(first, task, Tokenizer::from_folder(folder), config, [](const std::string&) {});
  for (const Stage stage : kStages) {
    if (!left_out(p, stage)) check_plan(stage, placed(p, stage), config, data.train);
  }
}

// The run's folder, begun or gone on with.
void open_folder(const PipelineSettings& p, bool resume) {
  const std::string config = p.out + "/config.json";
  if (resume) {
    if (!fs::exists(config)) fail("there is no run at {} to go on with", p.out);
    return;
  }
  check_all(p);
  RunFolder::create(p.out, {{"command", "run"},
                            {"settings", to_json(p)},
                            {"environment", environment(device_named(p.stages[0].device))}});
}

// Whether a stage can have the teacher that the one before it loaded.
bool share_teacher(const Settings& a, const Settings& b) {
  return a.teacher == b.teacher && a.task == b.task && a.columns == b.columns && a.labels == b.labels &&
         a.device == b.device && a.precision == b.precision && a.threads == b.threads &&
         a.teacher_memory == b.teacher_memory;
}

// The stages that are not finished yet. The one in which it was stopped, if it was.
std::optional<Stage> run_stages(const PipelineSettings& p, const PipelineEvents& events) {
  std::shared_ptr<Teacher> teacher;
  Settings before;
  for (const Stage stage : kStages) {
    if (left_out(p, stage)) continue;
    const Settings settings = placed(p, stage);
    if (fs::exists(settings.out + "/result.json")) continue;
    const bool begun = fs::exists(settings.out + "/config.json");
    const StageEvents stage_events = events.stage ? events.stage(stage, begun) : StageEvents{};
    if (!share_teacher(settings, before)) teacher = nullptr;
    const StageResult result = run_stage(stage, settings, begun, stage_events, std::move(teacher));
    if (!result.finished) return stage;
    teacher = result.teacher;
    before = settings;
  }
  return std::nullopt;
}

}  // namespace

std::string kept_model(const PipelineSettings& p, Stage stage) {
  const bool best = p[Stage::assist].fidelity == Fidelity::release && stage != Stage::slenderise;
  return folder_of(p, stage) + (best ? "/best" : "/last");
}

PipelineSettings recipe(std::string_view name) {
  if (name != "quick" && name != "full") fail_usage("recipe {}: must be quick or full", name);
  PipelineSettings p;
  for (Settings& s : p.stages) s.holdout = 400;
  if (name == "full") {
    p[Stage::finetune].epochs = 2;
    p[Stage::assist].epochs = 2;
    p[Stage::assist].lr = 5e-5;
    p[Stage::slenderise].epochs = 1;
    p[Stage::recover].epochs = 6;
    p[Stage::recover].lr = 5e-4;
    for (Settings& s : p.stages) s.holdout = 1000;
  }
  return p;
}

Json to_json(const PipelineSettings& p) {
  Json json{{"out", p.out}, {"no_assistant", p.no_assistant}};
  for (const Stage stage : kStages) json[name_of(stage)] = to_json(stage, p[stage]);
  return json;
}

PipelineSettings pipeline_from_json(const Json& json, PipelineSettings base) {
  if (!json.is_object()) fail_usage("settings must be a JSON object");
  for (const auto& item : json.items()) {
    const std::string& key = item.key();
    const Json& value = item.value();
    const auto stage =
        std::find_if(std::begin(kStages), std::end(kStages), [&](Stage s) { return name_of(s) == key; });
    if (stage != std::end(kStages)) {
      base[*stage] = settings_from_json(*stage, value, base[*stage]);
    } else if (key == "out" && value.is_string()) {
      base.out = value.get<std::string>();
    } else if (key == "no_assistant" && value.is_boolean()) {
      base.no_assistant = value.get<bool>();
    } else {
      fail_usage("unknown setting \"{}\", or not of its type", key);
    }
  }
  return base;
}

void check(const PipelineSettings& p) {
  for (const Stage stage : kStages) {
    if (left_out(p, stage)) continue;
    try {
      check(stage, placed(p, stage));
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("{}: {}", name_of(stage), error.what()));
    }
  }
  // Sentences that one stage holds out must not train another, nor a threshold be chosen on those that did.
  const Settings& first = p[Stage::finetune];
  for (const Stage stage : kStages) {
    const Settings& s = p[stage];
    if (left_out(p, stage)) continue;
    if (s.task != first.task || s.columns != first.columns || s.labels != first.labels ||
        s.data != first.data)
      fail_usage("{}: all stages of a run need the same task and data", name_of(stage));
    if (s.holdout != first.holdout)
      fail_usage("{}: {} {}: fine-tuning holds {} sentences out, and all stages must hold out the same",
                 name_of(stage), flag_of(&Settings::holdout), s.holdout, first.holdout);
    if (s.seed != first.seed && s.holdout > 0)
      fail_usage(
          "{}: {} {}: fine-tuning has {}, and the sentences that are held out are drawn by it; {} 0 holds "
          "none "
          "out",
          name_of(stage), flag_of(&Settings::seed), s.seed, first.seed, flag_of(&Settings::holdout));
  }
}

PipelineResult run_pipeline(const PipelineSettings& p, bool resume, const PipelineEvents& events) {
  check(p);
  open_folder(p, resume);
  if (const std::optional<Stage> stopped = run_stages(p, events))
    return {.finished = false, .stopped_in = *stopped};
  if (!fs::exists(p.out + "/results.json")) {
    if (events.note) events.note("measuring the models");
    write_atomically(p.out + "/results.json", measure_results(p).dump(2) + "\n");
  }
  return {.finished = true, .results = read_json<Json>(p.out + "/results.json")};
}

}  // namespace costeff
