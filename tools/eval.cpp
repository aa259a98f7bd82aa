// costeff eval: a model's metrics on labelled examples.
#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "costeff/classifier.h"
#include "costeff/evaluate.h"
#include "costeff/run_folder.h"
#include "tensor/error.h"
#include "tools/commands.h"
#include "tools/model_options.h"
#include "tools/options.h"
#include "tools/progress.h"
#include "tools/streams.h"

namespace costeff {
namespace {

struct EvalSettings {
  std::string model = default_model();
  std::string task;
  std::string columns;
  std::string labels;
  std::string data;
  std::string split = "dev";
  std::int64_t batch = 32;
  std::int64_t pad_to = 0;
  std::int64_t max_length = kDefaultLength;
  std::int64_t threads = 0;
  bool json = false;
};

Options eval_options(EvalSettings& s) {
  Options options("costeff eval --model DIR (--task T | --columns LIST) --data FILE_OR_DIR [options]",
                  "Measures a model on labelled examples: the task's metrics, the loss, and the speed.");
  options.group("Model and data");
  options.add("model", "DIR", &s.model, "model or run folder (of a run: its best model)");
  options.add("task", "T", &s.task, "task of GLUE: " + fmt::format("{}", fmt::join(task_names(), ", ")));
  options.add("columns", "LIST", &s.columns,
              "any other TSV: one or two text columns, then the label's, as in \"sentence,label\"");
  options.add("labels", "LIST", &s.labels,
              "with --columns: label names in the order of the classes (default: the model's)");
  options.add("data", "PATH", &s.data, "a file, or a folder with the task's files");
  options.add("split", "NAME", &s.split, "which file of a folder: train, dev or test");
  options.group("Computing");
  options.add("batch", "N", &s.batch, "sequences computed together", {.least = 1});
  options.add("max-length", "N", &s.max_length, "tokens of a text; the rest is cut off",
              {.shown = "128, or the model's positions", .least = 1});
  options.add("pad-to", "N", &s.pad_to, "pad every sequence to N tokens; 0: no padding", {.least = 0});
  options.add("threads", "N", &s.threads, "0: all cores this process may use", {.least = 0});
  options.group("Output");
  options.flag("json", &s.json, "one JSON object");
  return options;
}

Split split_of(const std::string& name) {
  if (name == "train") return Split::kTrain;
  if (name == "dev") return Split::kDev;
  if (name == "test") return Split::kTest;
  fail_usage("--split {}: must be train, dev or test", name);
}

Task task_of(const EvalSettings& s) {
  if (s.task.empty() == s.columns.empty()) fail_usage("one of --task and --columns is needed");
  if (!s.labels.empty() && s.columns.empty())
    fail_usage("--labels goes with --columns; {} has its own", s.task);
  return s.columns.empty() ? find_task(s.task) : custom_task(s.columns, s.labels);
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

Json to_json(const Evaluation& evaluation) {
  Json out = Json::object();
  for (const auto& [name, value] : evaluation.metrics) {
    out[name] = value;
    if (name == "acc" || name.ends_with("/acc")) out["accuracy"] = value;
  }
  out["loss"] = evaluation.loss;
  out["examples"] = evaluation.examples;
  out["seconds"] = evaluation.seconds;
  out["sequences_per_second"] = evaluation.sequences_per_second();
  return out;
}

std::string to_text(const Evaluation& evaluation) {
  std::string out;
  for (const auto& [name, value] : evaluation.metrics) out += fmt::format("{:<14} {:.4f}\n", name, value);
  out += fmt::format("{:<14} {:.4f}\n", "loss", evaluation.loss);
  return out + fmt::format("{:<14} {} in {:.2f} s, {:.0f} a second\n", "examples", evaluation.examples,
                           evaluation.seconds, evaluation.sequences_per_second());
}

}  // namespace

int run_eval(const Invocation& invocation) {
  EvalSettings s;
  Options options = eval_options(s);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  Task task = task_of(s);
  const Split split = split_of(s.split);
  if (s.data.empty()) fail_usage("--data is missing");
  require_model(s.model);
  use_threads(s.threads);

  const std::string file = split_file(task, s.data, split);
  const Classifier classifier = load_classifier(s.model, {});
  const Bert& model = *classifier.model;
  adopt_labels(task, model.config().labels);
  const std::size_t limit = length_limit(model, s.max_length, options.given("max-length"));
  if (s.pad_to > model.config().max_position_embeddings) {
    fail_usage("--pad-to {}: the model has {} positions", s.pad_to, model.config().max_position_embeddings);
  }
  const Examples examples = load_examples(task, file);
  const EncodedDataset data = encode_dataset(classifier.tokenizer, examples.rows, limit);

  Evaluation evaluation;
  {
    Progress progress("eval");
    evaluation =
        evaluate(model, task, data,
                 {.batch = static_cast<std::size_t>(s.batch),
                  .pad_to = static_cast<std::size_t>(s.pad_to),
                  .progress = [&](std::size_t done, std::size_t total) {
                    progress.update(static_cast<std::int64_t>(done), static_cast<std::int64_t>(total));
                  }});
    if (!examples.skipped_lines.empty()) {
      progress.note(fmt::format("{}: {} broken lines were left out", file, examples.skipped_lines.size()));
    }
  }
  write_output(s.json ? to_json(evaluation).dump() + "\n" : to_text(evaluation));
  return 0;
}

}  // namespace costeff
