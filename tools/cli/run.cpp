// costeff run: a method from one command, and its report.
#include <algorithm>
#include <string>

#include "costeff/methods/method_list.h"
#include "costeff/train/pipeline.h"
#include "tensor/backend.h"
#include "tensor/error.h"
#include "tools/cli/commands.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/model_options.h"
#include "tools/cli/options.h"
#include "tools/cli/pages/gnuplot.h"
#include "tools/cli/pages/text.h"
#include "tools/cli/progress.h"
#include "tools/cli/report/report.h"
#include "tools/cli/results_text.h"
#include "tools/cli/settings_options.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

struct RunRequest : TrainRequest {
  std::string method = "costeff";
  std::string recipe;  // empty: the method's first
  std::string set;     // "recover.lr=5e-4,assist.epochs=2"
  bool no_assistant = false;
};

// Whatever a stage has: what flags say goes to each stage that has the setting.
const Uses kAnyStage(~static_cast<unsigned>(kPerStage));

// "costeff or deebert"; "quick (minutes, for thousands of sentences) or full (for a whole task) with costeff;
// ..."
std::string methods_text() {
  std::string text;
  for (const Method& m : all_methods())
    text += fmt::format("{}{} ({})", text.empty() ? "" : "; ", m.name, m.paper);
  return text;
}
std::string recipes_text() {
  std::string text;
  for (const Method& m : all_methods()) {
    for (const Recipe& r : m.recipes)
      text += fmt::format("{}{} with {}: {}", text.empty() ? "" : "; ", r.name, m.name, r.about);
  }
  return text;
}

Options run_options(Settings& defaults, RunRequest& request) {
  Options options(train_usage("run", kAnyStage, true, defaults),
                  "Trains a small fast classifier from a pre-trained BERT by a method, all stages from one "
                  "command; then\n"
                  "measures what came of it, and makes a page of it: OUT/report.html.");
  add_settings(options, kAnyStage, true, defaults, request, [&] {
    options.add("method", "M", &request.method, methods_text());
    options.add("recipe", "R", &request.recipe, recipes_text(), {.shown = "the method's first"});
    options.add("set", "LIST", &request.set,
                "settings of single stages, as in \"recover.lr=5e-4,assist.epochs=2\"");
    options.flag("no-assistant", &request.no_assistant,
                 "costeff: the fine-tuned model teaches, and is what is made slender");
  });
  return options;
}

// The method that is asked for, or that the run to be resumed was begun with.
const Method& method_of(const RunRequest& request, const Options& options, const Json& begun) {
  const bool from_file = !request.config.empty() && !options.given("method");
  if (!request.resume)
    return find_method(from_file ? costeff::method_of(config_settings(request.config)) : request.method);
  const std::string name = costeff::method_of(begun);
  if (options.given("method") && request.method != name)
    fail_usage("--method {}: the run in {} is of {}", request.method, request.out, name);
  return find_method(name);
}

// A flag that no stage of the method has would do nothing.
void require_used(const Options& options, const Method& method) {
  for (const Setting& row : settings_table()) {
    const std::string name = row.flag().substr(2);
    const bool used = std::any_of(method.stages.begin(), method.stages.end(),
                                  [&](const StageSpec& stage) { return row.of(stage.uses); });
    if (!used && row.of(kAnyStage) && !row.per_stage() && options.given(name))
      fail_usage("{}: no stage of {} has it", row.flag(), method.title);
  }
}

// What was asked for: --set over flags over --config over the recipe, or over the run that is resumed.
PipelineSettings settle(const RunRequest& request, const Options& options) {
  if (request.out.empty()) fail_setting(&Settings::out, {}, "which folder should the run be written to?");
  const Json begun = request.resume ? begun_settings(request.out, "run") : Json();
  const Method& method = method_of(request, options, begun);
  require_used(options, method);
  PipelineSettings p = with_recipe(method, request.recipe.empty() ? method.recipes[0].name : request.recipe);
  for (Settings& s : p.stages) s.model = default_model();
  if (request.resume) p = pipeline_from_json(begun, p);
  if (!request.config.empty()) p = pipeline_from_json(config_settings(request.config), p);
  for (const StageSpec& stage : method.stages) {
    Settings& s = p[stage.name];
    const Prediction before = s.prediction;
    s = with_flags(options, stage.uses, s);
    s.out.clear();  // a stage's folder follows from the run's
    // A stage that learns nothing but predictions goes on learning them.
    if ((stage.uses.bits & kFeatures) == 0 && s.prediction == Prediction::none) s.prediction = before;
  }
  set_each(request.set, p);
  p.no_assistant = request.no_assistant || p.no_assistant;
  for (Settings& s : p.stages) {
    if (s.threads == 0) s.threads = available_cores();
  }
  p.out = request.out;
  if (!request.resume) return p;
  for (const StageSpec& stage : method.stages)
    require_same(begun.at(stage.name), to_json(stage.uses, p[stage.name]));
  if (begun.at("no_assistant") != Json(p.no_assistant))
    fail_usage("a resumed run keeps its settings; --no-assistant differs");
  return p;
}

}  // namespace

int run_pipeline_command(const Invocation& invocation) {
  RunRequest request;
  const Method& first = all_methods().front();
  Settings defaults = with_recipe(first, first.recipes[0].name)["slenderise"];
  defaults.model = default_model();
  Options options = run_options(defaults, request);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  const PipelineSettings settings = settle(request, options);
  check(settings);
  require_model(settings.stages.front().model);

  const bool draws = has_gnuplot();
  if (!draws) say("gnuplot is not installed: there will be no report (`costeff report` makes it later)\n");
  const std::atomic<bool>& stop = stop_on_signals();
  std::unique_ptr<Progress> progress;
  std::int64_t total = 0;
  PipelineEvents events;
  events.stage = [&](const StageSpec& stage, bool goes_on) {
    progress.reset();
    progress = std::make_unique<Progress>(stage.name);
    progress->note(fmt::format("{} {}", stage.name, goes_on ? "goes on" : "begins"));
    StageEvents shown = show_progress(*progress, total);
    shown.stop = &stop;
    return shown;
  };
  events.note = [&](const std::string& line) { progress->note(line); };
  progress = std::make_unique<Progress>("run");
  const std::optional<std::string> stopped = run_pipeline(settings, request.resume, events);
  progress.reset();
  if (stopped) {
    fail("stopped in the stage {}, a checkpoint is saved; to go on: {} run --out {} --resume", *stopped,
         shell_quoted(invocation.program), shell_quoted(settings.out));
  }
  write_output("\n" + results_text({read_results(settings.out)}));
  if (draws) write_output(fmt::format("report: {}\n", write_report(settings.out)));
  return 0;
}

}  // namespace costeff
