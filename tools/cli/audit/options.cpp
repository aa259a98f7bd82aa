#include "tools/cli/audit/options.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "tensor/error.h"
#include "tensor/file.h"
#include "tools/cli/model_options.h"
#include "tools/cli/pages/text.h"
#include "tools/cli/streams.h"

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

std::string command_of(std::string_view command, const Invocation& invocation) {
  std::string words(command);
  for (const std::string& word : invocation.arguments) words += fmt::format(" {}", shell_quoted(word));
  return words;
}

void require_writable(std::initializer_list<std::string> files) {
  namespace fs = std::filesystem;
  for (const std::string& file : files) {
    if (file.empty()) continue;
    if (fs::is_directory(file)) fail("{} is a folder; name a file in it", file);
    const std::string folder = fs::absolute(file).parent_path().string();
    if (!fs::is_directory(folder)) fail("{}: there is no folder {}", file, folder);
    if (access(folder.c_str(), W_OK) != 0)
      fail("{}: nothing can be written to {}: {}", file, folder, std::strerror(errno));
  }
}

void write_audit_file(const std::string& path, const std::string& text) {
  write_atomically(path, text);
  say(fmt::format("written: {}\n", path));
}

void write_audit_json(const std::string& path, const Json& json) {
  write_audit_file(path, json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace costeff
