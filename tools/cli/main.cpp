// costeff: the command line. Exit codes: 0 done, 1 something went wrong, 2 called wrongly.
#include <array>
#include <new>
#include <string>
#include <vector>

#include "tensor/backend.h"
#include "tensor/error.h"
#include "tools/cli/dispatcher.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

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

constexpr Dispatcher kDispatcher{
    .called = "costeff",
    .what = "command",
    .about = "costeff: a BERT fine-tuned, measured and used, from the command line",
    .commands = kCommands};

int run(const std::string& program, const std::vector<std::string>& arguments) {
  if (!arguments.empty() && arguments[0] == "--version") {
    write_output("costeff " COSTEFF_VERSION "\n");
    return 0;
  }
  return kDispatcher.run({program, arguments});
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
  const std::string command =
      !arguments.empty() && kDispatcher.find(arguments[0]) != nullptr ? arguments[0] : "";
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
