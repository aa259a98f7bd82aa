#include "tools/cli/audit/options.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "tensor/error.h"
#include "tensor/file.h"
#include "tools/cli/model_options.h"
#include "tools/cli/pages/text.h"
#include "tools/cli/settings_options.h"
#include "tools/cli/streams.h"

namespace costeff {

void add_subject_options(Options& options, SubjectOptions& subject, bool stage_loss) {
  audit::SubjectSettings& a = subject.settings;
  Settings& s = a.training;
  s.model = default_model();
  const auto add = [&](SettingField field, const char* help = nullptr) {
    add_setting(options, s, field, {.help = help});
  };
  options.group("Model and data");
  add(&Settings::model, "multi-exit model, or the run folder of one");
  add(&Settings::teacher, "the model that teaches; without one exits learn from labels alone");
  if (stage_loss) {
    options.add("stage", "S", &subject.stage,
                "whose loss is audited: ta (predictions) or recover (predictions and hidden states)");
  }
  add(&Settings::task);
  add(&Settings::columns);
  add(&Settings::labels);
  add(&Settings::data, "a file, or a folder with the task's files");
  options.add("split", "NAME", &a.split, "which file of a folder: train or dev");
  options.add("batches", "N", &a.batches, "how many batches of sentences, drawn from the file", {.least = 1});
  add(&Settings::batch);
  add(&Settings::max_length);
  options.group("Loss");
  if (stage_loss) add(&Settings::prediction);
  add(&Settings::temperature);
  add(&Settings::no_features);
  options.group("Computing");
  options.add("dtype", "D", &subject.dtype, "f32, or f64 for identities to the last digits");
  add(&Settings::seed, "of the sentences that are drawn");
  add(&Settings::threads);
}

audit::Subject load_subject(const SubjectOptions& subject, std::string_view command) {
  audit::SubjectSettings settings = subject.settings;
  if (subject.stage == "recover") {
    settings.stage = "recover";
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

void add_outputs(Options& options, Outputs& outputs) {
  options.add("json", "FILE", &outputs.json, "every number, as JSON", {.shown = ""});
  options.add("html", "FILE", &outputs.html,
              outputs.draws ? "a page that explains itself; gnuplot draws its pictures"
                            : "a page that explains itself",
              {.shown = ""});
}

void require_outputs(const Outputs& outputs) {
  require_writable({outputs.json, outputs.html});
  if (outputs.draws && !outputs.html.empty()) require_gnuplot();
}

int deliver(Document& document, const Outputs& outputs) {
  write_output(terminal_text(document));
  if (!outputs.json.empty()) {
    const std::string json = json_of(document).dump(1, ' ', false, Json::error_handler_t::replace);
    write_audit_file(outputs.json, json + "\n");
  }
  if (!outputs.html.empty()) {
    draw_figures(document);
    write_audit_file(outputs.html, html_page(document));
  }
  return document.faults.empty() ? 0 : 1;
}

std::vector<Note> notes_of(const std::vector<audit::Fault>& faults) {
  std::vector<Note> notes;
  notes.reserve(faults.size());
  for (const audit::Fault& fault : faults) notes.push_back({fault.place, fault.what});
  return notes;
}

}  // namespace costeff
