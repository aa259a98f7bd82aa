#include "tools/cli/settings_options.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "costeff/train/run_folder.h"
#include "data/nearest.h"
#include "tensor/error.h"
#include "tensor/json_file.h"
#include "tools/cli/commands.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

std::string option_name(const Setting& row) {
  return row.flag().substr(2);
}

void add_row(Options& options, const Setting& row, Settings& settings, const SettingWords& words = {}) {
  // A value beside the range makes the least number no bound.
  const double least = std::isnan(row.valid.also) ? row.valid.least : OptionDetails{}.least;
  with_value(row, settings, [&](auto& value) {
    options.add(option_name(row), row.argument, &value, words.help != nullptr ? words.help : row.help,
                {.shown = words.shown.value_or(row.shown_default(settings)), .least = least});
  });
}

void add_request(Options& options, TrainRequest& request) {
  const Setting& out = setting_of(&Settings::out);
  options.add(option_name(out), out.argument, &request.out, out.help);
  options.flag("resume", &request.resume, "go on with the run in that folder, with its settings");
  options.add("config", "FILE", &request.config, "settings as JSON, or a run's config.json; flags win");
}

}  // namespace

void add_setting(Options& options, Settings& settings, SettingField field, const SettingWords& words) {
  add_row(options, setting_of(field), settings, words);
}

std::string train_usage(std::string_view command, Uses stage, bool shared, const Settings& settings) {
  std::string text = fmt::format("costeff {} (--task T | --columns LIST)", command);
  for (const Setting& row : settings_table()) {
    const bool asked =
        row.of(stage) && (!shared || !row.per_stage() || row.field == SettingField(&Settings::out));
    if (asked && row.needed && row.shown_default(settings).empty())
      text += fmt::format(" {} {}", row.flag(), row.argument);
  }
  return fmt::format("{} [options]\n       costeff {} --out DIR --resume", text, command);
}

void add_settings(Options& options, Uses stage, bool shared, Settings& settings, TrainRequest& request,
                  const std::function<void()>& more, SettingsTable table) {
  for (const Name<SettingGroup>& group : names_of(SettingGroup{})) {
    bool begun = false;
    const auto begin = [&] {
      if (!begun) options.group(std::string(group.text));
      begun = true;
    };
    if (group.value == SettingGroup::run) {
      begin();
      add_request(options, request);
      if (more) more();
    }
    for (const Setting& row : table) {
      if (row.group != group.value || !row.of(stage) || (shared && row.per_stage())) continue;
      if (row.field == SettingField(&Settings::out)) continue;
      begin();
      add_row(options, row, settings);
    }
  }
}

Settings with_flags(const Options& options, Uses stage, Settings settings) {
  for (const Setting& row : settings_table()) {
    const bool of_stage = row.of(stage) && row.field != SettingField(&Settings::out);
    if (of_stage && options.given(option_name(row))) set(row, options.text(option_name(row)), settings);
  }
  for (std::string* path : {&settings.model, &settings.data, &settings.teacher}) *path = absolute(*path);
  return settings;
}

void set_each(std::string_view list, PipelineSettings& settings) {
  while (!list.empty()) {
    const std::string_view one = list.substr(0, list.find(','));
    list.remove_prefix(std::min(one.size() + 1, list.size()));
    const std::size_t dot = one.find('.'), equals = one.find('=');
    if (dot == std::string_view::npos || equals == std::string_view::npos || equals < dot)
      fail_usage("--set {}: must be STAGE.SETTING=VALUE", one);
    try {
      const StageSpec& stage = settings.method->stage(std::string(one.substr(0, dot)));
      set(setting_named(stage.uses, one.substr(dot + 1, equals - dot - 1)), one.substr(equals + 1),
          settings[stage.name]);
    } catch (const Error& error) {
      fail_usage("--set {}: {}", one, error.what());
    }
  }
}

Json begun_settings(const std::string& out, std::string_view command) {
  const std::string path = out + "/config.json";
  const Json json = RunFolder::open(out).config();
  if (!json.is_object() || !json.contains("settings")) fail("{}: not the settings of a run", path);
  if (json.value("command", std::string(command)) != command) {
    fail("{} holds a run of costeff {}, which is to be gone on with by that", out, json.at("command").dump());
  }
  return json["settings"];
}

Json config_settings(const std::string& path) {
  Json json = read_json<Json>(path);
  if (json.is_object() && json.contains("settings")) {
    json = Json(json["settings"]);
    if (json.is_object()) json.erase("out");
  }
  if (!json.is_object()) fail_usage("{}: not a JSON object of settings", path);
  return json;
}

std::string absolute(const std::string& path) {
  if (path.empty()) return path;
  std::string text = std::filesystem::absolute(path).lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();  // as completion by the shell leaves it
  return text;
}

void require_same(const Json& run, const Json& wanted) {
  std::vector<std::string> differences;
  for (const auto& [key, value] : wanted.items()) {
    std::string flag = "--" + key;
    std::replace(flag.begin(), flag.end(), '_', '-');
    if (!run.contains(key)) {
      fail("the run was begun by another version of costeff, which had no {}; that version can go on with it",
           flag);
    }
    if (key == "out" || run.at(key) == value) continue;
    differences.push_back(fmt::format("{} {} (the run has {})", flag, value.dump(), run.at(key).dump()));
  }
  if (!differences.empty()) {
    fail_usage("a resumed run keeps its settings; these differ: {}", fmt::join(differences, ", "));
  }
}

int run_settings(const Invocation& invocation) {
  Options options("costeff settings",
                  "Prints every setting of the stages, those that matter first, as Markdown.");
  if (!options.parse(invocation.arguments)) return 0;
  write_output(settings_page());
  return 0;
}

}  // namespace costeff
