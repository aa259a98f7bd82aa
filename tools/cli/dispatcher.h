// Commands by their names: the first argument says which one runs.
#pragma once

#include <span>
#include <string>

#include "tools/cli/commands.h"

namespace costeff {

struct Command {
  const char* name;
  const char* summary;
  int (*run)(const Invocation& invocation);
};

struct Dispatcher {
  const char* called;  // what calls it: "costeff", "costeff audit"
  const char* what;    // "command"
  const char* about;   // the first line of its help
  std::span<const Command> commands;

  const Command* find(const std::string& name) const;  // null: there is none
  // Runs the command that the first argument names, or prints the help; the exit code. Throws UsageError,
  // naming the nearest command, if there is none of that name.
  int run(const Invocation& invocation) const;
};

}  // namespace costeff
