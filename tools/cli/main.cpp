// costeff: the command line. Exit codes: 0 done, 1 something went wrong, 2 called wrongly.
#include <algorithm>
#include <array>
#include <new>
#include <string>
#include <vector>

#include "data/nearest.h"
#include "tensor/backend.h"
#include "tensor/error.h"
#include "tools/cli/commands.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

struct Command {
  const char* name;
  const char* summary;
  int (*run)(const Invocation& invocation);
};

constexpr auto kCommands = std::to_array<Command>({
    {"run", "a method from one command: all stages, results, report", run_pipeline_command},
    {"finetune", "trains a pre-trained BERT on a task, and goes on where a run was stopped", run_finetune},
    {"assist", "trains the teaching assistant, a multi-exit model taught by a fine-tuned one", run_assist},
    {"slenderise", "prunes heads and neurons and factorises the embedding, round by round", run_slenderise},
    {"recover", "trains a slender model on, taught by the teaching assistant", run_recover},
    {"eval", "measures a model on labelled examples", run_eval},
    {"predict", "classifies lines of standard input", run_predict},
    {"tokenize", "shows the word pieces' ids of lines of standard input", run_tokenize},
    {"inspect", "says what a model, or a run, consists of", run_inspect},
    {"cost", "counts the parameters and FLOPs of a model, or of any sizes", run_cost},
    {"results", "prints the models of finished runs beside each other, with means over runs", run_results},
    {"report", "makes a page of a run: scores, costs, curves, what was removed", run_report},
    {"audit", "who moved this weight, what equalisation did, whether Taylor scores tell the truth",
     run_audit},
    {"settings", "lists every setting of training, those that matter first", run_settings},
    {"devices", "says what this machine computes with", run_devices},
});

std::string help() {
  std::string text =
      "costeff: a BERT fine-tuned, measured and used, from the command line\n\n"
      "Usage: costeff COMMAND [options]\n\nCommands:\n";
  for (const Command& command : kCommands)
    text += fmt::format("  {:<10} {}\n", command.name, command.summary);
  return text +
         "\ncosteff COMMAND --help lists a command's options; costeff --version says which version this "
         "is.\n";
}

int run(const std::string& program, const std::vector<std::string>& arguments) {
  const std::string name = arguments.empty() ? "" : arguments[0];
  if (name.empty()) fail_usage("a command is missing (costeff --help lists them)");
  if (name == "--help" || name == "-h" || name == "help") {
    write_output(help());
    return 0;
  }
  if (name == "--version") {
    write_output("costeff " COSTEFF_VERSION "\n");
    return 0;
  }
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    if (name == command.name) return command.run({program, {arguments.begin() + 1, arguments.end()}});
    names.emplace_back(command.name);
  }
  fail_usage("unknown command \"{}\"; the nearest is {} (costeff --help lists all)", name,
             nearest(name, names));
}

// One line, whatever the message quotes.
int report(const std::string& command, std::string message, int code) {
  for (char& c : message) {
    if (c == '\n' || c == '\t' || c == '\r') c = ' ';
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  say(fmt::format("costeff{}{}: {}\n", command.empty() ? "" : " ", command, message));
  return code;
}

int guarded(const std::vector<std::string>& words) {
  const std::vector<std::string> arguments(words.begin() + (words.empty() ? 0 : 1), words.end());
  const bool is_command =
      !arguments.empty() && std::any_of(kCommands.begin(), kCommands.end(),
                                        [&](const Command& c) { return arguments[0] == c.name; });
  const std::string command = is_command ? arguments[0] : "";
  try {
    const int code = run(words.empty() ? "costeff" : words[0], arguments);
    flush_output();
    return code;
  } catch (const UsageError& error) {
    return report(command, error.what(), 2);
  } catch (const std::bad_alloc&) {
    return report(command, "out of memory: a smaller --batch or --max-length needs less", 1);
  } catch (const std::exception& error) {
    return report(command, error.what(), 1);
  }
}

}  // namespace
}  // namespace costeff

int main(int argc, char** argv) {
  costeff::tune_process(argv);
  costeff::prepare_streams();
  return costeff::guarded({argv, argv + argc});
}
