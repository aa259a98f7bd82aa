// docs/settings.md.
#include <vector>

#include "costeff/methods/method_list.h"
#include "tools/cli/settings_options.h"

namespace costeff {
namespace {

constexpr const char* kBegin =
    R"(# Settings

Every setting of a stage, by the flag of its command; `costeff settings` writes this page. Files have the same names,
with underscores for dashes. `costeff run` takes for all stages together what has no star, and for one stage
everything: `--set recover.lr=5e-4`. Its `--recipe full` has the rates and epochs for a whole task, `quick` those for
some thousands of sentences.

## Which matter first

1. `--heads`, `--ffn`, `--rank`: how small the model becomes, so they have no defaults. 2, 128 and 48 leave an eighth
   of MiniLM's parameters; `costeff cost` counts those of any sizes.
2. `--max-length`: longer texts are cut. Time and memory grow with the length of the texts, not with this limit.
3. `--batch`, `--accumulate`: where memory is short, halve the first and double the second; a step stays as large.
4. `--device`, `--precision`: a GPU is used where there is one; bf16 is faster there.
5. `--lr`, `--epochs`: halve the rate where the loss jumps. Half the steps of a quick run are recovery's, so its epochs
   are what to spend or save.
6. `--holdout`: the threshold of early exit is chosen on these sentences, which train nothing. The quick recipe leaves
   out 400, the full one 1,000.
7. `--fidelity`: to reproduce the paper or its published code. It decides what `auto` stands for
   ([fidelity.md](fidelity.md)).
)";

std::string stages_of(const Setting& row) {
  std::string text;
  std::size_t count = 0;
  for (const StageSpec& stage : all_methods().front().stages) {
    if (!row.of(stage.uses)) continue;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", stage.name);
    ++count;
  }
  if (count > 0) return count == all_methods().front().stages.size() ? "all" : text;
  for (const Method& method : all_methods()) {  // of another method alone
    for (const StageSpec& stage : method.stages) {
      if (row.of(stage.uses))
        text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", stage.name, method.name);
    }
  }
  return text;
}

// The stages' defaults; one where they agree.
std::string defaults_of(const Setting& row) {
  std::string text, first;
  bool differ = false;
  for (const StageSpec& stage : all_methods().front().stages) {
    if (!row.of(stage.uses)) continue;
    const std::string shown = row.shown_default(stage.defaults);
    if (text.empty()) first = shown;
    differ = differ || shown != first;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", shown);
  }
  return differ ? text : first;
}

}  // namespace

std::string settings_page(SettingsTable table) {
  std::string page = kBegin;
  for (const Name<SettingGroup>& group : names_of(SettingGroup{})) {
    page += fmt::format("\n## {}\n\n| flag | what it is | default | stages |\n| --- | --- | --- | --- |\n",
                        group.text);
    for (const Setting& row : table) {
      if (row.group != group.value) continue;
      // Where the most is only to catch slips it says nothing.
      const std::string range = row.valid.most < 1e9 ? row.valid.text() : "";
      page += fmt::format("| `{}`{} | {}{}{} | {} | {} |\n", row.flag(), row.per_stage() ? " *" : "",
                          row.help, range.empty() ? "" : "; ", range, defaults_of(row), stages_of(row));
    }
  }
  return page;
}

}  // namespace costeff
