#include "tools/cli/dispatcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "data/nearest.h"
#include "tensor/error.h"
#include "tools/cli/pages/text_table.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

std::string help(const Dispatcher& d) {
  TextTable table;
  table.left(1);
  for (const Command& command : d.commands) table.add({fmt::format("  {}", command.name), command.summary});
  return fmt::format("{0}\n\nUsage: {1} {2} [options]\n\n{2}:\n{3}\n{1} {2} --help lists its options.\n",
                     d.about, d.called, d.what, table.text());
}

}  // namespace

const Command* Dispatcher::find(const std::string& name) const {
  const auto found =
      std::find_if(commands.begin(), commands.end(), [&](const Command& c) { return name == c.name; });
  return found == commands.end() ? nullptr : &*found;
}

int Dispatcher::run(const Invocation& invocation) const {
  const std::vector<std::string>& words = invocation.arguments;
  if (words.empty()) fail_usage("which {}? ({} --help lists them)", what, called);
  if (words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    write_output(help(*this));
    return 0;
  }
  if (const Command* command = find(words[0]))
    return command->run({invocation.program, {words.begin() + 1, words.end()}});
  std::vector<std::string> names;
  for (const Command& command : commands) names.emplace_back(command.name);
  fail_usage("unknown {} \"{}\"; the nearest is {} ({} --help lists all)", what, words[0],
             nearest(words[0], names), called);
}

}  // namespace costeff
