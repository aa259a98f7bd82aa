// costeff run: the paper from one command, and its report.
#include <algorithm>
#include <string>
#include <vector>

#include "costeff/train/pipeline.h"
#include "tensor/backend.h"
#include "tensor/error.h"
#include "tensor/json_file.h"
#include "tools/cli/commands.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/model_options.h"
#include "tools/cli/model_text.h"
#include "tools/cli/options.h"
#include "tools/cli/pages/gnuplot.h"
#include "tools/cli/progress.h"
#include "tools/cli/report/report.h"
#include "tools/cli/settings_options.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

struct RunRequest {
  Settings shared;  // what flags say to every stage that has the setting
  std::string recipe = "quick";
  std::string config;  // a file
  std::string set;     // "recover.lr=5e-4,assist.epochs=2"
  std::string out;
  bool no_assistant = false;
  bool resume = false;
};

Options run_options(RunRequest& request) {
  Settings& s = request.shared;
  Options options(
      "costeff run --heads N --ffn N --rank N (--task T | --columns LIST) --data DIR --out DIR [options]\n"
      "       costeff run --out DIR --resume",
      "Fine-tunes a pre-trained BERT, distils a multi-exit teaching assistant from it, makes that slender "
      "and\n"
      "recovers it; then measures what came of it, and makes a page of it: OUT/report.html.");
  options.group("Model and data");
  options.add("model", "DIR", &s.model, "pre-trained model to start from");
  add_data_options(options, s);
  options.group("Run");
  options.add("out", "DIR", &request.out, "folder of the run; must not hold one yet");
  options.flag("resume", &request.resume, "go on with the run in --out, with its settings");
  options.add("recipe", "R", &request.recipe,
              "quick: minutes, for thousands of sentences; full: for a whole task");
  options.add("config", "FILE", &request.config,
              "settings by stage as JSON, or a run's config.json; flags win");
  options.add("set", "LIST", &request.set,
              "settings of single stages, as in \"recover.lr=5e-4,assist.epochs=2\"");
  options.add("batch", "N", &s.batch, "sequences computed together");
  options.add("seed", "N", &s.seed, "of shuffling, dropout, new weights and what is held out");
  add_computing_options(options, s);
  add_slender_options(options, s);
  add_method_options(options, Stage::assist, s);
  options.flag("no-assistant", &request.no_assistant,
               "the fine-tuned model teaches, and is what is made slender");
  return options;
}

std::string key_of(std::string flag) {
  std::replace(flag.begin(), flag.end(), '-', '_');
  return flag;
}

// "recover.lr=5e-4" as a value of the kind that the stage has there.
void set_one(PipelineSettings& p, const std::string& text) {
  const std::size_t dot = text.find('.'), equals = text.find('=');
  if (dot == std::string::npos || equals == std::string::npos || equals < dot)
    fail_usage("--set {}: must be STAGE.SETTING=VALUE", text);
  const std::string name = text.substr(0, dot), key = key_of(text.substr(dot + 1, equals - dot - 1));
  const std::string value = text.substr(equals + 1);
  const auto stage =
      std::find_if(std::begin(kStages), std::end(kStages), [&](Stage s) { return name_of(s) == name; });
  if (stage == std::end(kStages)) fail_usage("--set {}: there is no stage {}", text, name);
  const Json known = to_json(*stage, p[*stage]);
  if (!known.contains(key)) fail_usage("--set {}: the stage {} has no setting {}", text, name, key);
  Json parsed = known[key].is_string() ? Json(value) : Json::parse(value, nullptr, false);
  if (parsed.is_discarded()) fail_usage("--set {}: {} is no value of {}", text, value, key);
  p[*stage] = settings_from_json(*stage, {{key, parsed}}, p[*stage]);
}

Json config_file(const std::string& path) {
  Json json = read_json<Json>(path);
  if (!json.is_object()) fail_usage("{}: not a JSON object of settings", path);
  if (json.contains("settings")) json = Json(json["settings"]);
  if (json.is_object()) json.erase("out");
  return json;
}

PipelineSettings settle(RunRequest& request, const Options& options) {
  options.apply();
  if (request.out.empty()) fail_usage("--out: which folder should the run be written to?");
  PipelineSettings p = recipe(request.recipe);
  Json begun;
  if (request.resume) {
    begun = run_settings(request.out, "run");
    p = pipeline_from_json(begun, p);
  }
  if (!request.resume) {
    for (Settings& s : p.stages) s.model = default_model();
  }
  if (!request.config.empty()) p = pipeline_from_json(config_file(request.config), p);
  // A flag goes to every stage that has the setting.
  Json said = to_json(Stage::assist, request.shared);
  said.update(to_json(Stage::slenderise, request.shared));
  for (const Stage stage : kStages) {
    Json given = Json::object();
    const Json known = to_json(stage, p[stage]);
    for (const auto& [key, value] : known.items()) {
      std::string flag = key;
      std::replace(flag.begin(), flag.end(), '_', '-');
      // The assistant learns nothing but predictions.
      const bool none = key == "prediction" && stage == Stage::assist && said.at(key) == "none";
      if (key != "out" && options.given(flag) && !none) given[key] = said.at(key);
    }
    p[stage] = settings_from_json(stage, given, p[stage]);
    for (std::string* path : {&p[stage].model, &p[stage].data}) *path = absolute(*path);
  }
  for (std::size_t at = 0; at < request.set.size();) {
    const std::size_t end = std::min(request.set.find(',', at), request.set.size());
    set_one(p, request.set.substr(at, end - at));
    at = end + 1;
  }
  if (options.given("no-assistant")) p.no_assistant = request.no_assistant;
  for (const Stage stage : kStages) {
    if (p[stage].threads == 0) p[stage].threads = available_cores();
  }
  p.out = request.out;
  if (request.resume) {
    for (const Stage stage : kStages) require_same(begun.at(name_of(stage)), to_json(stage, p[stage]));
    if (begun.at("no_assistant") != Json(p.no_assistant))
      fail_usage("a resumed run keeps its settings; --no-assistant differs");
  }
  return p;
}

// A number of the results; "-" where there is none, as for the correlation of constant answers.
std::string number(const Json& value, int decimals, double factor = 1) {
  return value.is_number() ? fmt::format("{:.{}f}", factor * value.get<double>(), decimals) : "-";
}

// The models beside each other.
std::string results_table(const Json& results) {
  const std::string metric = results.at("metric");
  std::string text = fmt::format("\n{:<22} {:>12} {:>10} {:>8} {:>8} {:>7} {:>12}\n", "model", "parameters",
                                 "MFLOPs", metric, "kept", "exit", "sentences/s");
  for (const Json& m : results.at("models")) {
    text += fmt::format("{:<22} {:>12} {:>10} {:>8} {:>6} % {:>7} {:>12}\n", m.at("name").get<std::string>(),
                        grouped(m.at("parameters").get<std::int64_t>()), number(m.at("flops"), 1, 1e-6),
                        number(m.at("score"), 4), number(m.at("share"), 1, 100),
                        number(m.at("average_exit"), 2), number(m.at("sequences_per_second"), 0));
  }
  return text +
         "FLOPs are the mean over dev's sentences at their real lengths, as far as the exit each left at.\n";
}

}  // namespace

int run_pipeline_command(const Invocation& invocation) {
  RunRequest request;
  request.shared = default_settings(Stage::slenderise);
  request.shared.model = default_model();
  request.shared.holdout = recipe("quick")[Stage::finetune].holdout;
  Options options = run_options(request);
  if (!options.parse(invocation.arguments)) return 0;
  const PipelineSettings settings = settle(request, options);
  check(settings);
  require_model(settings[Stage::finetune].model);

  const bool draws = has_gnuplot();
  if (!draws) say("gnuplot is not installed: there will be no report (`costeff report` makes it later)\n");
  const std::atomic<bool>& stop = stop_on_signals();
  std::unique_ptr<Progress> progress;
  std::int64_t total = 0;
  PipelineEvents events;
  events.stage = [&](Stage stage, bool goes_on) {
    progress.reset();
    progress = std::make_unique<Progress>(std::string(name_of(stage)));
    progress->note(fmt::format("{} {}", name_of(stage), goes_on ? "goes on" : "begins"));
    StageEvents shown = show_progress(*progress, total);
    shown.stop = &stop;
    return shown;
  };
  events.note = [&](const std::string& line) { progress->note(line); };
  progress = std::make_unique<Progress>("run");
  const PipelineResult result = run_pipeline(settings, request.resume, events);
  progress.reset();
  if (!result.finished) {
    fail("stopped in the stage {}, a checkpoint is saved; to go on: {} run --out {} --resume",
         name_of(result.stopped_in), shell_word(invocation.program), shell_word(settings.out));
  }
  write_output(results_table(result.results));
  if (draws) write_output(fmt::format("report: {}\n", write_report(settings.out)));
  return 0;
}

}  // namespace costeff
