// costeff finetune, assist, slenderise, recover: one stage of training from the command line, begun or gone
// on with.
#include "costeff/train/stage.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "costeff/audit/step_audit.h"
#include "costeff/methods/costeff.h"
#include "tensor/backend.h"
#include "tensor/error.h"
#include "tools/cli/commands.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/model_options.h"
#include "tools/cli/options.h"
#include "tools/cli/pages/text.h"
#include "tools/cli/progress.h"
#include "tools/cli/settings_options.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

// What was asked for: flags over --config over the defaults, or over the settings of the run that is resumed.
Settings settle(const StageSpec& stage, const TrainRequest& request, const Options& options, Settings s) {
  Json run;
  if (request.resume) {
    if (request.out.empty()) fail_usage("--resume needs --out, the folder of the run");
    run = begun_settings(request.out, stage.name);
    s = settings_from_json(stage.uses, run, stage.defaults);
  }
  try {
    if (!request.config.empty()) s = settings_from_json(stage.uses, config_settings(request.config), s);
  } catch (const UsageError& error) {
    fail_usage("{}: {}", request.config, error.what());
  }
  s = with_flags(options, stage.uses, s);
  s.out = request.out;
  if (!request.resume) return s;
  if (s.threads == 0) s.threads = available_cores();
  require_same(run, to_json(stage.uses, s));
  return s;
}

std::string metrics_text(const ExitsEvaluation& evaluation) {
  std::string text;
  const Evaluation& last = evaluation.exits.back();
  for (const auto& [name, value] : last.metrics) text += fmt::format("{} {:.4f}  ", name, value);
  text += fmt::format("loss {:.4f}", last.loss);
  if (evaluation.exits.size() == 1) return text;
  text += "  exits";
  for (const Evaluation& exit : evaluation.exits) text += fmt::format(" {:.4f}", exit.score());
  return text;
}

int run_stage_command(const std::string& name, const Invocation& invocation) {
  const StageSpec& stage = costeff_stage(name);
  TrainRequest request;
  Settings defaults = stage.defaults;
  if (stage.student.empty()) defaults.model = default_model();
  const Settings begin = defaults;
  Options options(train_usage(name, stage.uses, false, defaults), stage.about);
  add_settings(options, stage.uses, false, defaults, request);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  const Settings settings = settle(stage, request, options, begin);
  check(stage.uses, settings);
  require_model(settings.model);

  StageResult result;
  std::int64_t total = 0;
  {
    Progress progress(name);
    StageEvents events = show_progress(progress, total);
    events.stop = &stop_on_signals();
    StageShared shared;
    result = run_stage(stage, settings, request.resume, events, shared);
  }
  if (!result.finished) {
    fail("stopped after step {} of {}, a checkpoint is saved; to go on: {} {} --out {} --resume",
         result.record.steps, total, shell_quoted(invocation.program), name, shell_quoted(settings.out));
  }
  say(fmt::format("{} steps, {}\n", result.record.steps, duration_text(result.record.seconds)));
  if (result.record.best_step > 0) {
    write_output(fmt::format("best on dev after step {}: {}\nmodel: {}/best\n", result.record.best_step,
                             metrics_text(result.best), settings.out));
  } else {
    write_output(fmt::format("model: {}/last\n", settings.out));
  }
  return 0;
}

}  // namespace

StageEvents show_progress(Progress& progress, std::int64_t& total) {
  StageEvents events;
  events.note = [&](const std::string& line) { progress.note(line); };
  events.step = [&](const StageProgress& now) {
    total = now.total;
    progress.update(now.step, now.total,
                    fmt::format("epoch {}  {}  loss {:.4f}  {:.0f} tokens/s", now.epoch + 1, now.phase,
                                now.report.loss, now.tokens_per_second));
  };
  events.cached = [&](std::int64_t done, std::int64_t all) {
    progress.update(done, all, "teacher's outputs");
  };
  events.audit = audit::audit_step;
  events.evaluated = [&](std::int64_t step, const ExitsEvaluation& evaluation, bool best) {
    progress.note(
        fmt::format("step {}: dev {}{}", step, metrics_text(evaluation), best ? "  (best so far)" : ""));
  };
  return events;
}

int run_finetune(const Invocation& invocation) {
  return run_stage_command("finetune", invocation);
}
int run_assist(const Invocation& invocation) {
  return run_stage_command("assist", invocation);
}
int run_slenderise(const Invocation& invocation) {
  return run_stage_command("slenderise", invocation);
}
int run_recover(const Invocation& invocation) {
  return run_stage_command("recover", invocation);
}

}  // namespace costeff
