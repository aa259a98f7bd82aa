// costeff audit importance: scores of heads and neurons beside what their removal really costs.
#include <optional>

#include "tools/cli/audit/documents.h"
#include "tools/cli/audit/options.h"
#include "tools/cli/commands.h"
#include "tools/cli/progress.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

constexpr const char* kCommand = "costeff audit importance";

void say_work(const audit::ImportanceWork& work) {
  const auto mib = [](std::size_t bytes) { return (static_cast<double>(bytes) + 0.5) / (1 << 20); };
  say(fmt::format(
      "{}: {} backward passes over {} forward passes, gradients of {:.0f} MiB; {} removals, {} passes "
      "through a layer, states of {:.0f} MiB; about {}\n",
      kCommand, work.backward_passes, work.forward_passes, mib(work.gradient_bytes), work.removals,
      work.layer_passes, mib(work.state_bytes), duration_text(work.seconds)));
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

}  // namespace

int run_audit_importance(const Invocation& invocation) {
  SubjectOptions subject_options;
  audit::ImportanceSettings settings;
  Outputs outputs;
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
  add_outputs(options, outputs);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();

  require_outputs(outputs);
  const audit::Subject subject = load_subject(subject_options, kCommand);
  const BertConfig& config = subject.student.model->config();
  ImportanceReport report{.model = subject.student.folder,
                          .teacher = subject.training.teacher,
                          .data = subject.training.data,
                          .sentences = static_cast<std::int64_t>(subject.data.size()),
                          .first_exit = config.first_exit(),
                          .layers = config.layers(),
                          .audit = watched_audit(subject, settings)};
  Document document = importance_document(report);
  document.sections.push_back(reproduce_section(command_of(kCommand, invocation)));
  return deliver(document, outputs);
}

}  // namespace costeff
