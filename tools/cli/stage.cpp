// costeff finetune, assist, slenderise, recover: one stage of training from the command line, begun or gone
// on with.
#include "costeff/train/stage.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "costeff/train/settings.h"
#include "tensor/backend.h"
#include "tensor/error.h"
#include "tools/cli/commands.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/model_options.h"
#include "tools/cli/options.h"
#include "tools/cli/progress.h"
#include "tools/cli/settings_options.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

struct Request {
  Settings settings;
  std::string config;  // a file
  bool resume = false;
};

struct About {
  const char* arguments;
  const char* text;
  const char* model;  // what --model is
};

About about(Stage stage) {
  switch (stage) {
    case Stage::finetune:
      return {
          "(--task T | --columns LIST) --data DIR --out DIR",
          "Trains a pre-trained BERT with a classifier on a task. The run's folder holds its settings, log,\n"
          "checkpoints, and its best and last model.",
          "pre-trained model to start from"};
    case Stage::assist:
      return {
          "--teacher DIR (--task T | --columns LIST) --data DIR --out DIR",
          "Trains the teaching assistant: a model of full size with an exit after every layer, taught by a\n"
          "fine-tuned one.",
          "pre-trained model to start from"};
    case Stage::slenderise:
      return {
          "--model DIR --teacher DIR --heads N --ffn N --rank N (--task T | --columns LIST) --data DIR --out "
          "DIR",
          "Makes a multi-exit model slender: heads and FFN neurons are pruned by their Taylor importance and "
          "the\n"
          "word embedding is factorised, round by round, with distillation between.",
          "multi-exit model to make slender, usually the teaching assistant"};
    case Stage::recover:
      return {"--model DIR --teacher DIR (--task T | --columns LIST) --data DIR --out DIR",
              "Trains a slender model on: each layer's predictions and hidden states are distilled from the "
              "teaching\n"
              "assistant.",
              "slender model to train on"};
  }
  return {};
}

Options stage_options(Stage stage, Request& request) {
  Settings& s = request.settings;
  const About text = about(stage);
  const std::string name(name_of(stage));
  Options options(fmt::format("costeff {} {} [options]\n       costeff {} --out DIR --resume", name,
                              text.arguments, name),
                  text.text);
  options.group("Model and data");
  options.add("model", "DIR", &s.model, text.model);
  if (stage != Stage::finetune) options.add("teacher", "DIR", &s.teacher, "the model that teaches");
  add_data_options(options, s);
  options.group("Run");
  options.add("out", "DIR", &s.out, "folder of the run; must not hold one yet");
  options.flag("resume", &request.resume, "go on with the run in --out, with its settings");
  options.add("config", "FILE", &request.config, "settings as JSON, or a run's config.json; flags win");
  add_run_options(options, s);
  add_method_options(options, stage, s);
  add_training_options(options, s);
  return options;
}

// What was asked for: flags over --config over the defaults, or over the settings of the run that is resumed.
Settings settle(Stage stage, Request& request, const Options& options) {
  Settings& s = request.settings;
  options.apply();
  Settings run;
  if (request.resume) {
    if (s.out.empty()) fail_usage("--resume needs --out, the folder of the run");
    run = settings_from_json(stage, run_settings(s.out, name_of(stage)), default_settings(stage));
  }
  Settings base = request.resume ? run : default_settings(stage);
  if (!request.resume && (stage == Stage::finetune || stage == Stage::assist)) base.model = default_model();
  s = request.config.empty() ? base : with_config(stage, request.config, base);
  options.apply();
  for (std::string* path : {&s.model, &s.data, &s.teacher}) *path = absolute(*path);
  if (request.resume && s.threads == 0) s.threads = available_cores();
  if (request.resume) require_same(to_json(stage, run), to_json(stage, s));
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

int run_stage_command(Stage stage, const Invocation& invocation) {
  Request request;
  request.settings = default_settings(stage);
  const std::string name(name_of(stage));
  if (stage == Stage::finetune || stage == Stage::assist) request.settings.model = default_model();
  Options options = stage_options(stage, request);
  if (!options.parse(invocation.arguments)) return 0;
  const Settings settings = settle(stage, request, options);
  check(stage, settings);
  require_model(settings.model);

  StageResult result;
  std::int64_t total = 0;
  {
    Progress progress(name);
    StageEvents events = show_progress(progress, total);
    events.stop = &stop_on_signals();
    result = run_stage(stage, settings, request.resume, events);
  }
  if (!result.finished) {
    fail("stopped after step {} of {}, a checkpoint is saved; to go on: {} {} --out {} --resume",
         result.steps, total, shell_word(invocation.program), name, shell_word(settings.out));
  }
  say(fmt::format("{} steps, {}\n", result.steps, duration_text(result.seconds)));
  if (result.best_step > 0) {
    write_output(fmt::format("best on dev after step {}: {}\nmodel: {}/best\n", result.best_step,
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
  events.taught = [&](std::int64_t done, std::int64_t all) {
    progress.update(done, all, "sentences taught");
  };
  events.evaluated = [&](std::int64_t step, const ExitsEvaluation& evaluation, bool best) {
    progress.note(
        fmt::format("step {}: dev {}{}", step, metrics_text(evaluation), best ? "  (best so far)" : ""));
  };
  return events;
}

int run_finetune(const Invocation& invocation) {
  return run_stage_command(Stage::finetune, invocation);
}
int run_assist(const Invocation& invocation) {
  return run_stage_command(Stage::assist, invocation);
}
int run_slenderise(const Invocation& invocation) {
  return run_stage_command(Stage::slenderise, invocation);
}
int run_recover(const Invocation& invocation) {
  return run_stage_command(Stage::recover, invocation);
}

}  // namespace costeff
