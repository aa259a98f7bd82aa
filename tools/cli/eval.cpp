// costeff eval: a model's metrics on labelled examples.
#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "costeff/train/classifier.h"
#include "tensor/error.h"
#include "tools/cli/commands.h"
#include "tools/cli/eval_results.h"
#include "tools/cli/exit_options.h"
#include "tools/cli/model_options.h"
#include "tools/cli/options.h"
#include "tools/cli/progress.h"
#include "tools/cli/settings_options.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

struct EvalSettings : Settings {
  std::string split = "dev";
  ExitFlags exits;
  bool all_exits = false;
  bool sweep = false;
  bool short_half = false;
  bool json = false;
};

Options eval_options(EvalSettings& s) {
  Options options(
      "costeff eval --model DIR (--task T | --columns LIST) --data FILE_OR_DIR [options]",
      "Measures a model on labelled examples: the task's metrics, the loss, the speed and the FLOPs.");
  options.group("Model and data");
  add_setting(options, s, &Settings::model, {.help = kModelHelp});
  add_setting(options, s, &Settings::task);
  add_setting(options, s, &Settings::columns);
  add_setting(options, s, &Settings::labels);
  add_setting(options, s, &Settings::data, {.help = "a file, or a folder with the task's files"});
  options.add("split", "NAME", &s.split, "which file of a folder: train, dev or test");
  options.group("Exits");
  add_exit_flags(options, s.exits);
  options.flag("all-exits", &s.all_exits, "the scores of every exit");
  options.flag("sweep", &s.sweep, "score, average exit and FLOPs over about a dozen thresholds");
  options.flag("short-half", &s.short_half, "also the scores of the texts below the median length in tokens");
  options.group("Computing");
  for (const SettingField field : {SettingField(&Settings::batch), SettingField(&Settings::pad_to)})
    add_setting(options, s, field);
  add_setting(options, s, &Settings::max_length, {.shown = kShownLength});
  add_computing(options, s);
  options.group("Output");
  options.flag("json", &s.json, "one JSON object");
  return options;
}

// A model says itself which class is which: its order of the task's labels counts, and a task that has none
// takes the model's.
void adopt_labels(Task& task, const std::vector<std::string>& labels) {
  if (task.regression) return;
  if (task.labels.empty() && labels.size() == 1) task.regression = true;
  if (task.labels.empty() ||
      std::is_permutation(labels.begin(), labels.end(), task.labels.begin(), task.labels.end())) {
    task.labels = labels;
  }
}

// One pass over the data set, shown.
EvaluateOptions pass_options(const EvalSettings& s, Progress& progress) {
  return {.batch = static_cast<std::size_t>(s.batch),
          .pad_to = static_cast<std::size_t>(s.pad_to),
          .precision = s.precision,
          .progress = [&](std::size_t done, std::size_t total) {
            progress.update(static_cast<std::int64_t>(done), static_cast<std::int64_t>(total));
          }};
}

// Without a rule the answers are exit L's, of the same pass as the other exits' where those are asked for.
EvalResults find_results(const EvalSettings& s, const std::optional<ExitRule>& rule, const Bert& model,
                         const Task& task, const EncodedDataset& data) {
  const std::int64_t layers = model.config().layers();
  const Scorer scorer(model.config(), task, data, s.short_half);
  EvalResults results;
  if (rule) {
    Progress progress("eval");
    const EarlyEvaluation early = evaluate_early(model, task, data, *rule, pass_options(s, progress));
    results.answers = scorer.score(early.choice, early.evaluation.seconds);
  }
  if (rule && !s.all_exits) return results;
  Progress progress("eval");
  if (!s.all_exits && !s.sweep) {
    results.answers = scorer.score(predict_last_exit(model, data, pass_options(s, progress)), layers);
    return results;
  }
  const ExitLogits logits = predict_exits(model, data, pass_options(s, progress));
  if (!rule) results.answers = scorer.score(logits, layers);
  if (s.all_exits) {
    for (std::int64_t i = logits.first; i <= layers; ++i)
      results.exits.emplace_back(i, scorer.score(logits, i));
  }
  if (s.sweep) {
    for (const double t : sweep_thresholds(logits))
      results.sweep.emplace_back(t, scorer.score(choose_exits(logits, entropy_below(t)), logits.seconds));
  }
  return results;
}

}  // namespace

int run_eval(const Invocation& invocation) {
  EvalSettings s;
  s.model = default_model();
  Options options = eval_options(s);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  check_task(s);
  Task task = s.columns.empty() ? find_task(s.task) : custom_task(s.columns, s.labels);
  const Split split = split_named(s.split);
  if (s.data.empty()) fail_usage("--data is missing");
  const Classifier classifier = open_model(s);
  const std::string file = split_file(task, s.data, split);
  const Bert& model = *classifier.model;
  adopt_labels(task, model.config().labels);
  require_outputs(model.config().num_labels(), task);
  std::optional<ExitRule> rule;
  if (s.sweep) {
    for (const char* flag : {"entropy", "confidence", "patience"}) {
      if (options.given(flag)) fail_usage("--{} is one rule, --sweep tries many: give one of the two", flag);
    }
    check_exits(model.config(), "sweep", "eval");
  } else {
    rule = asked_rule(options, s.exits, model.config(), "eval");
  }
  const std::size_t limit = length_limit(model, s, options.given("max-length"));
  const Examples examples = load_examples(task, file);
  const EncodedDataset data = encode_dataset(classifier.tokenizer, examples.rows, limit);

  if (!examples.skipped_lines.empty()) {
    say(fmt::format("{}: {} broken lines were left out\n", file, examples.skipped_lines.size()));
  }
  const EvalResults results = find_results(s, rule, model, task, data);
  write_output(s.json ? to_json(results).dump() + "\n" : to_text(results));
  return 0;
}

}  // namespace costeff
