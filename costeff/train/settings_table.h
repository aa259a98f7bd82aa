// The settings of the stages as data: a row a setting. Files, flags, help, checks and docs/settings.md are
// loops over these rows.
#pragma once

#include <span>
#include <variant>
#include <vector>

#include "costeff/train/settings.h"
#include "costeff/train/value.h"

namespace costeff {

// The settings that --help and docs/settings.md list together, in their order.
enum class SettingGroup : std::uint8_t { data, run, sizes, distillation, exits, training };
constexpr auto names_of(SettingGroup) {
  return std::to_array<Name<SettingGroup>>({{SettingGroup::data, "Model and data"},
                                            {SettingGroup::run, "Run"},
                                            {SettingGroup::sizes, "Sizes and rounds"},
                                            {SettingGroup::distillation, "Distillation"},
                                            {SettingGroup::exits, "Exits, of a model that has none yet"},
                                            {SettingGroup::training, "Training"}});
}

struct Setting {
  const char* name;  // in files; the flag has dashes for underscores
  SettingField field;
  unsigned uses;  // which stages have it: those with one of these uses
  SettingGroup group;
  const char* argument;  // stands for the value in --help; "" of a switch
  const char* help;
  // Of numbers. `needed`: nothing makes sense but what the user says.
  NumberRange valid = {};
  bool needed = false;
  const char* shown = nullptr;  // the default in words, where the value says little

  bool of(Uses stage) const { return (uses & stage.bits) != 0; }
  // costeff run takes such a setting for a stage alone (by `--set`), not for all.
  bool per_stage() const { return (uses & kPerStage) != 0; }
  std::string flag() const;                            // "--max-length"
  std::string shown_default(const Settings& s) const;  // "" where there is none
};

using SettingsTable = std::span<const Setting>;
SettingsTable settings_table();

// Calls f with the field of the settings that the row is about.
template <class S, class F>
decltype(auto) with_value(const Setting& row, S& settings, F&& f) {
  return std::visit([&](auto field) -> decltype(auto) { return f(settings.*field); }, row.field);
}

const Setting& setting_of(SettingField field);
// By the name in files or, with dashes, in flags. Throws UsageError, which gives the nearest, for another.
const Setting& setting_named(Uses stage, std::string_view name, SettingsTable table = settings_table());
// Sets it to what the text says. Throws UsageError, which names the flag, when that is no value of it.
void set(const Setting& row, std::string_view text, Settings& settings);

// The settings that the stage has, by name, in the table's order.
Json to_json(Uses stage, const Settings& settings, SettingsTable table = settings_table());
// Settings from JSON, on top of `base`. Throws UsageError for an unknown key or a value of the wrong type.
Settings settings_from_json(Uses stage, const Json& json, Settings base,
                            SettingsTable table = settings_table());
// Throws UsageError naming the first flag whose value is missing or out of its range.
void check_values(Uses stage, const Settings& settings, SettingsTable table = settings_table());

}  // namespace costeff
