#include "tools/cli/model_options.h"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <filesystem>

#include "tensor/backend.h"
#include "tensor/error.h"
#include "tools/cli/settings_options.h"

namespace costeff {

std::string default_model() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const bool named = cache != nullptr && *cache != '\0';
  const std::string base = named ? cache : std::string(home == nullptr ? "" : home) + "/.cache";
  return base + "/costeff/minilm-l6";
}

void require_model(const std::string& path) {
  std::error_code error;
  if (path == default_model() && !std::filesystem::exists(path, error)) {
    fail("the default model is not at {}: tools/fetch_backbone.sh fetches it, --model names another", path);
  }
}

void use_threads(std::int64_t threads) {
  if (threads > INT_MAX) fail_usage("--threads {}: too many", threads);
  set_threads(threads > 0 ? static_cast<int>(threads) : available_cores());
}

void add_computing(Options& options, Settings& settings) {
  for (const SettingField field : {SettingField(&Settings::device), SettingField(&Settings::precision),
                                   SettingField(&Settings::threads)})
    add_setting(options, settings, field);
}

Classifier open_model(const Settings& s) {
  require_model(s.model);
  use_threads(s.threads);
  const Device device = device_named(s.device);
  Classifier classifier = load_classifier(s.model, {});
  classifier.model->to(device);
  return classifier;
}

std::size_t length_limit(const Bert& model, Settings s, bool given) {
  const std::int64_t positions = model.config().max_position_embeddings;
  if (!given) s.max_length = std::min(s.max_length, positions);
  check_positions(s, positions);
  return static_cast<std::size_t>(s.max_length);
}

}  // namespace costeff
