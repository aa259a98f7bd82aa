#include "tools/audit/options.h"

#include "costeff/run_folder.h"
#include "tensor/error.h"
#include "tools/model_options.h"
#include "tools/streams.h"

namespace costeff {

void add_subject_options(Options& options, SubjectOptions& subject, bool stage_loss) {
  audit::SubjectSettings& a = subject.settings;
  Settings& s = a.training;
  s.model = default_model();
  options.group("Model and data");
  options.add("model", "DIR", &s.model, "multi-exit model, or the run folder of one");
  options.add("teacher", "DIR", &s.teacher,
              "the model that teaches; without one exits learn from labels alone");
  if (stage_loss) {
    options.add("stage", "S", &subject.stage,
                "whose loss is audited: ta (predictions) or recover (predictions and hidden states)");
  }
  options.add("task", "T", &s.task, fmt::format("task of GLUE: {}", fmt::join(task_names(), ", ")));
  options.add("columns", "LIST", &s.columns,
              "any other TSV: one or two text columns, then the label's, as in \"sentence,label\"");
  options.add("labels", "LIST", &s.labels,
              "with --columns: label names in the order of the classes (default: the model's)");
  options.add("data", "PATH", &s.data, "a file, or a folder with the task's files");
  options.add("split", "NAME", &a.split, "which file of a folder: train or dev");
  options.add("batches", "N", &a.batches, "how many batches of sentences, drawn from the file", {.least = 1});
  options.add("batch", "N", &s.batch, "sentences of a batch", {.least = 1});
  options.add("max-length", "N", &s.max_length, "tokens of a text; the rest is cut off", {.least = 3});
  options.group("Loss");
  if (stage_loss) {
    options.add("prediction", "P", &s.prediction,
                "what predictions learn from, with a teacher: soft (its predictions), hard (labels), both, "
                "none; auto: soft");
  }
  options.add("temperature", "T", &s.temperature, "of the teacher's and the model's predictions");
  options.flag("no-features", &s.no_features,
               stage_loss ? "no feature distillation with --stage recover" : "no feature distillation");
  options.group("Computing");
  options.add("dtype", "D", &subject.dtype, "f32, or f64 for identities to the last digits");
  options.add("seed", "N", &s.seed, "of the sentences that are drawn");
  options.add("threads", "N", &s.threads, "0: all cores this process may use", {.least = 0});
}

audit::Subject load_subject(const SubjectOptions& subject, std::string_view command) {
  audit::SubjectSettings settings = subject.settings;
  if (subject.stage == "recover") {
    settings.stage = Stage::recover;
  } else if (subject.stage != "ta" && subject.stage != "assist") {
    fail_usage("--stage {}: must be ta or recover", subject.stage);
  }
  if (subject.dtype == "f64") {
    settings.dtype = DType::f64;
  } else if (subject.dtype != "f32") {
    fail_usage("--dtype {}: must be f32 or f64", subject.dtype);
  }
  require_model(settings.training.model);
  use_threads(settings.training.threads);
  return audit::load_subject(settings,
                             [&](const std::string& line) { say(fmt::format("{}: {}\n", command, line)); });
}

void write_audit_file(const std::string& path, const std::string& text) {
  write_atomically(path, text);
  say(fmt::format("written: {}\n", path));
}

}  // namespace costeff
