// costeff audit importance: scores of heads and neurons beside what their removal really costs.
#include "tools/cli/audit/importance.h"

#include <filesystem>
#include <optional>

#include "tensor/error.h"
#include "tools/cli/audit/importance_figures.h"
#include "tools/cli/audit/options.h"
#include "tools/cli/commands.h"
#include "tools/cli/pages/svg.h"
#include "tools/cli/progress.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCommand = "costeff audit importance";

void say_work(const audit::ImportanceWork& work) {
  const auto mib = [](std::size_t bytes) { return (static_cast<double>(bytes) + 0.5) / (1 << 20); };
  say(
      fmt::format("{}: {} backward passes over {} forward passes, gradients of {:.0f} MiB; {} removals, {} "
                  "passes through a "
                  "layer, states of {:.0f} MiB; about {}\n",
                  kCommand, work.backward_passes, work.forward_passes, mib(work.gradient_bytes),
                  work.removals, work.layer_passes, mib(work.state_bytes), duration_text(work.seconds)));
}

audit::ImportanceAudit watched_audit(const audit::Subject& subject,
                                     const audit::ImportanceSettings& settings) {
  std::optional<Progress> progress;
  std::string job;
  return audit::audit_importance(
      subject, settings, {say_work, [&](std::string_view name, std::int64_t done, std::int64_t total) {
                            if (job != name) progress.emplace(job = name);
                            progress->update(done, total);
                          }});
}

// A folder's name without a slash behind.
std::string bare(const std::string& folder) {
  const fs::path path = fs::path(folder).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).string();
}

// A long computation ends in these files, and gnuplot draws some: what is missing is said before it begins.
void check_outputs(const std::string& json, const std::string& html, const std::string& figures) {
  require_writable({json, html});
  if (!figures.empty()) {
    const bool there = fs::exists(figures);
    if (there && !fs::is_directory(figures)) fail("{}: that is a file, not a folder", figures);
    require_writable({there ? fmt::format("{}/a picture", figures) : figures});
  }
  if (!html.empty() || !figures.empty()) require_gnuplot();
}

}  // namespace

int run_audit_importance(const Invocation& invocation) {
  SubjectOptions subject_options;
  audit::ImportanceSettings settings;
  std::string json, html, figures;
  Options options("costeff audit importance --model DIR --data PATH [options]",
                  "Scores heads and neurons as slenderising does (Eq. 2), from each part of the loss apart;\n"
                  "then removes every head and a sample of neurons, one at a time, and compares the scores\n"
                  "with what the removal really did to each exit's loss.");
  add_subject_options(options, subject_options, false);
  options.add("loss", "L", &settings.loss,
              "what the exits' losses are: predictions (the teacher's) or labels; auto: by --teacher");
  options.group("Removal");
  options.add("heads", "N", &settings.heads,
              "heads of a layer that a budget keeps, where kept sets are compared; 0: half", {.least = 0});
  options.add("ffn", "N", &settings.ffn, "neurons of a layer, likewise", {.least = 0});
  options.add("neurons", "N", &settings.neurons,
              "neurons that are removed, an even sample of all scores in each layer; heads are all removed",
              {.least = 0});
  options.flag(
      "cumulative", &settings.cumulative,
      "also remove the lowest 1, 2, ... heads of a layer together: about four times the removals of heads");
  options.group("Output");
  options.add("json", "FILE", &json, "everything, as JSON", {.shown = ""});
  options.add("html", "FILE", &html, "a page that explains itself; gnuplot draws its pictures",
              {.shown = ""});
  options.add("figures", "DIR", &figures, "a folder for its pictures alone, as SVG", {.shown = ""});
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();

  if (!figures.empty()) figures = bare(figures);
  check_outputs(json, html, figures);
  const audit::Subject subject = load_subject(subject_options, kCommand);
  const BertConfig& config = subject.student.model->config();
  ImportanceReport report{.model = subject.student.folder,
                          .teacher = subject.training.teacher,
                          .data = subject.training.data,
                          .command = command_of(kCommand, invocation),
                          .sentences = static_cast<std::int64_t>(subject.data.size()),
                          .first_exit = config.first_exit(),
                          .layers = config.layers(),
                          .audit = watched_audit(subject, settings)};
  write_output(importance_text(report));
  if (!json.empty()) write_audit_json(json, importance_json(report));
  if (!html.empty()) write_audit_file(html, importance_page(report));
  if (figures.empty()) return 0;
  const std::vector<Figure> drawn = importance_figures(report);
  fs::create_directories(figures);
  for (const Figure& figure : drawn)
    write_audit_file(fmt::format("{}/{}.svg", figures, figure.name), svg_file(figure));
  return 0;
}

}  // namespace costeff
