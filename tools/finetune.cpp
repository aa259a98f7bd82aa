// costeff finetune: a training run from the command line, begun or gone on with.
#include "costeff/finetune.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "tensor/backend.h"
#include "tensor/error.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/model_options.h"
#include "tools/nearest.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/streams.h"

namespace costeff {
namespace {

struct Request {
  FinetuneSettings settings;
  std::string config;  // a file
  bool resume = false;
};

Options finetune_options(Request& request) {
  FinetuneSettings& s = request.settings;
  Options options(
      "costeff finetune (--task T | --columns LIST) --data DIR --out DIR [options]\n"
      "       costeff finetune --out DIR --resume",
      "Trains a pre-trained BERT with a classifier on a task. The run's folder holds its settings, log,\n"
      "checkpoints, and its best and last model.");
  options.group("Model and data");
  options.add("model", "DIR", &s.model, "pre-trained model to start from");
  options.add("task", "T", &s.task, fmt::format("task of GLUE: {}", fmt::join(task_names(), ", ")));
  options.add("columns", "LIST", &s.columns,
              "any other TSV: one or two text columns, then the label's, as in \"sentence,label\"");
  options.add("labels", "LIST", &s.labels,
              "with --columns: label names in the order of the classes (default: those in the training file, "
              "sorted)");
  options.add("data", "DIR", &s.data, "folder with train.tsv and dev.tsv, also gzipped");
  options.add("max-length", "N", &s.max_length, "tokens of a text; the rest is cut off");
  options.add("pad-to", "N", &s.pad_to, "pad every sequence to N tokens; 0: no padding");
  options.flag("bucket", &s.bucket, "put sentences of similar length into a batch");
  options.group("Run");
  options.add("out", "DIR", &s.out, "folder of the run; must not hold one yet");
  options.flag("resume", &request.resume, "go on with the run in --out, with its settings");
  options.add("config", "FILE", &request.config, "settings as JSON, or a run's config.json; flags win");
  options.add("eval-every", "N", &s.eval_every, "steps between evaluations; 0: after each epoch");
  options.add("checkpoint-every", "N", &s.checkpoint_every,
              "steps between checkpoints; 0: with each evaluation");
  options.add("keep-checkpoints", "N", &s.keep_checkpoints, "how many checkpoints stay");
  options.add("save-dtype", "T", &s.save_dtype, "of the weights in best and last: f32 or f16");
  options.group("Training");
  options.add("epochs", "N", &s.epochs, "passes over the training data");
  options.add("max-steps", "N", &s.max_steps, "stop after so many steps; 0: epochs decide");
  options.add("batch", "N", &s.batch, "sequences computed together");
  options.add("accumulate", "N", &s.accumulate, "batches of a step");
  options.add("lr", "X", &s.lr, "peak learning rate, as in 2e-5");
  options.add("warmup", "X", &s.warmup, "steps until the peak; below 1 a share of all steps");
  options.add("weight-decay", "X", &s.weight_decay, "of AdamW; not on biases and LayerNorm");
  options.add("adam-variant", "V", &s.adam_variant, "torch, or transformers for its older AdamW");
  options.add("max-norm", "X", &s.max_norm, "gradients are clipped to this norm; 0: never");
  options.add("dropout", "X", &s.dropout, "share of activations dropped", {.shown = "the model's"});
  options.add("seed", "N", &s.seed, "of shuffling, dropout and new weights");
  options.group("Computing");
  options.add("threads", "N", &s.threads, "0: all cores this process may use");
  options.flag("check-finite", &s.check_finite,
               "name the first operation that gives a nan or infinity (slower)");
  return options;
}

Json read_json(const std::string& path) {
  try {
    return Json::parse(read_text(path));
  } catch (const Json::exception&) {
    fail("{}: not valid JSON", path);
  }
}

// The settings in a run's config.json.
Json run_settings(const std::string& out) {
  const std::string path = out + "/config.json";
  const Json json = RunFolder::open(out).config();
  if (!json.is_object() || !json.contains("settings")) fail("{}: not the settings of a run", path);
  return json["settings"];
}

// Settings from a JSON file of the user's, or from the config.json of a run, whose folder is not taken over.
FinetuneSettings with_config(const std::string& path, const FinetuneSettings& base) {
  Json json = read_json(path);
  if (json.is_object() && json.contains("settings")) {
    json = Json(json["settings"]);
    if (json.is_object()) json.erase("out");
  }
  if (!json.is_object()) fail_usage("{}: not a JSON object of settings", path);
  std::vector<std::string> known;
  const Json defaults = to_json(base);
  for (const auto& [key, value] : defaults.items()) known.push_back(key);
  Json settings = Json::object();
  for (const auto& [name, value] : json.items()) {
    std::string key = name;
    std::replace(key.begin(), key.end(), '-', '_');
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      fail_usage("{}: unknown setting \"{}\"; the nearest is \"{}\"", path, name, nearest(key, known));
    }
    settings[key] = value;
  }
  try {
    return settings_from_json(settings, base);
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{}: {}", path, error.what()));
  }
}

std::string absolute(const std::string& path) {
  if (path.empty()) return path;
  std::string text = std::filesystem::absolute(path).lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();  // as completion by the shell leaves it
  return text;
}

// A resumed run has the settings it was begun with; whatever was asked for beside --resume must agree.
void require_same(const Json& run, const Json& wanted) {
  std::vector<std::string> differences;
  for (const auto& [key, value] : wanted.items()) {
    if (key == "out" || run.at(key) == value) continue;
    std::string flag = key;
    std::replace(flag.begin(), flag.end(), '_', '-');
    differences.push_back(fmt::format("--{} {} (the run has {})", flag, value.dump(), run.at(key).dump()));
  }
  if (!differences.empty()) {
    fail_usage("a resumed run keeps its settings; these differ: {}", fmt::join(differences, ", "));
  }
}

// What was asked for: flags over --config over the defaults, or over the settings of the run that is resumed.
FinetuneSettings settle(Request& request, const Options& options) {
  FinetuneSettings& s = request.settings;
  options.apply();
  FinetuneSettings run;
  if (request.resume) {
    if (s.out.empty()) fail_usage("--resume needs --out, the folder of the run");
    run = settings_from_json(run_settings(s.out));
  }
  FinetuneSettings base = run;
  if (!request.resume) base.model = default_model();
  s = request.config.empty() ? base : with_config(request.config, base);
  options.apply();
  s.model = absolute(s.model);
  s.data = absolute(s.data);
  if (request.resume && s.threads == 0) s.threads = available_cores();
  if (request.resume) require_same(to_json(run), to_json(s));
  return s;
}

// A word that the shell reads as it stands.
std::string shell_word(const std::string& word) {
  const auto plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("/._-+=:,@").find(c) != std::string_view::npos;
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), plain)) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string metrics_text(const Evaluation& evaluation) {
  std::string text;
  for (const auto& [name, value] : evaluation.metrics) text += fmt::format("{} {:.4f}  ", name, value);
  return text + fmt::format("loss {:.4f}", evaluation.loss);
}

}  // namespace

int run_finetune(const Invocation& invocation) {
  Request request;
  request.settings.model = default_model();
  Options options = finetune_options(request);
  if (!options.parse(invocation.arguments)) return 0;
  const FinetuneSettings settings = settle(request, options);
  check(settings);
  require_model(settings.model);

  FinetuneEvents events;
  events.stop = &stop_on_signals();
  std::int64_t total = 0;
  FinetuneResult result;
  {
    Progress progress("finetune");
    events.note = [&](const std::string& line) { progress.note(line); };
    events.step = [&](const FinetuneProgress& now) {
      total = now.total;
      progress.update(now.step, now.total,
                      fmt::format("epoch {}  loss {:.4f}  {:.0f} tokens/s", now.epoch + 1, now.report.loss,
                                  now.tokens_per_second));
    };
    events.evaluated = [&](std::int64_t step, const Evaluation& evaluation, bool best) {
      progress.note(
          fmt::format("step {}: dev {}{}", step, metrics_text(evaluation), best ? "  (best so far)" : ""));
    };
    result = finetune(settings, request.resume, events);
  }
  const std::string out = settings.out;
  if (!result.finished) {
    fail("stopped after step {} of {}, a checkpoint is saved; to go on: {} finetune --out {} --resume",
         result.steps, total, shell_word(invocation.program), shell_word(out));
  }
  say(fmt::format("{} steps, {}\n", result.steps, duration_text(result.seconds)));
  write_output(fmt::format("best on dev after step {}: {}\nmodel: {}/best\n", result.best_step,
                           metrics_text(result.best), out));
  return 0;
}

}  // namespace costeff
