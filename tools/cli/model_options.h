// What several commands have in common: which model, how many threads, how long a text may be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "costeff/train/classifier.h"
#include "costeff/train/settings.h"
#include "tools/cli/options.h"

namespace costeff {

// ${XDG_CACHE_HOME:-~/.cache}/costeff/minilm-l6
std::string default_model();
// Throws Error that names the script which fetches the default model, if that is meant and missing.
void require_model(const std::string& path);

void use_threads(std::int64_t threads);  // 0: all cores this process may use

inline constexpr const char* kModelHelp = "model or run folder (of a run: its best model)";
// --device, --precision and --threads.
void add_computing(Options& options, Settings& settings);
// The model of these settings, on their device and with their threads and precision.
Classifier open_model(const Settings& settings);

inline constexpr std::int64_t kDefaultLength = 128;
inline constexpr const char* kShownLength = "128, or the model's positions";
// How many tokens a text may have: what was asked for, by default as many as the model has positions for and
// no more than kDefaultLength. Throws UsageError if the model has fewer positions than were asked for, for
// padding too.
std::size_t length_limit(const Bert& model, Settings settings, bool given);

}  // namespace costeff
