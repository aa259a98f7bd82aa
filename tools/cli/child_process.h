// Programs that draw for us, run as child processes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace costeff {

struct ChildOutcome {
  int code = 0;  // its exit code; -N when signal N ended it
  std::string out;
  std::string err;
};

// Runs words[0], found in PATH, on that input until it ends. Throws Error when it cannot be run; where it is
// not installed the error names Debian's `package`.
ChildOutcome run_child(const std::vector<std::string>& words, const std::string& package,
                       std::string_view input);

}  // namespace costeff
