// costeff run: the paper from one command, and its report.
#include <string>

#include "costeff/train/pipeline.h"
#include "tensor/backend.h"
#include "tensor/error.h"
#include "tools/cli/commands.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/model_options.h"
#include "tools/cli/model_text.h"
#include "tools/cli/options.h"
#include "tools/cli/pages/gnuplot.h"
#include "tools/cli/pages/text.h"
#include "tools/cli/progress.h"
#include "tools/cli/report/report.h"
#include "tools/cli/settings_options.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

struct RunRequest : TrainRequest {
  std::string recipe = "quick";
  std::string set;  // "recover.lr=5e-4,assist.epochs=2"
  bool no_assistant = false;
};

// Whatever a stage has: what flags say goes to each stage that has the setting.
const Uses kAnyStage(~static_cast<unsigned>(kPerStage));

Options run_options(Settings& defaults, RunRequest& request) {
  Options options(
      train_usage("run", kAnyStage, true, defaults),
      "Fine-tunes a pre-trained BERT, distils a multi-exit teaching assistant from it, makes that slender "
      "and\n"
      "recovers it; then measures what came of it, and makes a page of it: OUT/report.html.");
  add_settings(options, kAnyStage, true, defaults, request, [&] {
    options.add("recipe", "R", &request.recipe,
                "quick: minutes, for thousands of sentences; full: for a whole task");
    options.add("set", "LIST", &request.set,
                "settings of single stages, as in \"recover.lr=5e-4,assist.epochs=2\"");
    options.flag("no-assistant", &request.no_assistant,
                 "the fine-tuned model teaches, and is what is made slender");
  });
  return options;
}

// What was asked for: --set over flags over --config over the recipe, or over the run that is resumed.
PipelineSettings settle(const RunRequest& request, const Options& options) {
  if (request.out.empty()) fail_setting(&Settings::out, {}, "which folder should the run be written to?");
  PipelineSettings p = recipe(request.recipe);
  for (Settings& s : p.stages) s.model = default_model();
  Json begun;
  if (request.resume) {
    begun = begun_settings(request.out, "run");
    p = pipeline_from_json(begun, p);
  }
  if (!request.config.empty()) p = pipeline_from_json(config_settings(request.config), p);
  for (const Stage stage : kStages) {
    const Prediction before = p[stage].prediction;
    p[stage] = with_flags(options, stage, p[stage]);
    // The assistant learns nothing but predictions.
    if (stage == Stage::assist && p[stage].prediction == Prediction::none) p[stage].prediction = before;
  }
  set_each(request.set, [&](Stage stage) -> Settings& { return p[stage]; });
  p.no_assistant = request.no_assistant || p.no_assistant;
  for (Settings& s : p.stages) {
    if (s.threads == 0) s.threads = available_cores();
  }
  p.out = request.out;
  if (!request.resume) return p;
  for (const Stage stage : kStages) require_same(begun.at(name_of(stage)), to_json(stage, p[stage]));
  if (begun.at("no_assistant") != Json(p.no_assistant))
    fail_usage("a resumed run keeps its settings; --no-assistant differs");
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
  Settings defaults = recipe(request.recipe)[Stage::slenderise];
  defaults.model = default_model();
  Options options = run_options(defaults, request);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
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
         name_of(result.stopped_in), shell_quoted(invocation.program), shell_quoted(settings.out));
  }
  write_output(results_table(result.results));
  if (draws) write_output(fmt::format("report: {}\n", write_report(settings.out)));
  return 0;
}

}  // namespace costeff
