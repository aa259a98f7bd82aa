// The commands of `costeff`: each takes its arguments and returns the exit code.
#pragma once

#include <string>
#include <vector>

namespace costeff {

// What a command was called with: the program as the user typed it, and what follows the command's name.
struct Invocation {
  std::string program;
  std::vector<std::string> arguments;
};

int run_pipeline_command(const Invocation& invocation);
int run_finetune(const Invocation& invocation);
int run_assist(const Invocation& invocation);
int run_slenderise(const Invocation& invocation);
int run_recover(const Invocation& invocation);
int run_eval(const Invocation& invocation);
int run_predict(const Invocation& invocation);
int run_tokenize(const Invocation& invocation);
int run_inspect(const Invocation& invocation);
int run_cost(const Invocation& invocation);
int run_results(const Invocation& invocation);
int run_report(const Invocation& invocation);
int run_settings(const Invocation& invocation);
int run_devices(const Invocation& invocation);

int run_audit(const Invocation& invocation);  // one of these
int run_audit_gradients(const Invocation& invocation);
int run_audit_importance(const Invocation& invocation);
int run_audit_path(const Invocation& invocation);
int run_audit_run(const Invocation& invocation);

}  // namespace costeff
