// What several commands have in common: which model, how many threads, how long a text may be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "costeff/exits/classifier.h"
#include "tools/cli/options.h"

namespace costeff {

// ${XDG_CACHE_HOME:-~/.cache}/costeff/minilm-l6
std::string default_model();
// Throws Error that names the script which fetches the default model, if that is meant and missing.
void require_model(const std::string& path);

void add_device(Options& options, std::string* device);  // --device, for device_named()
void add_precision(Options& options, Precision* precision);
void use_threads(std::int64_t threads);  // 0: all cores this process may use

constexpr std::int64_t kDefaultLength = 128;
// How many tokens a text may have: what was asked for, by default as many as the model has positions for and
// no more than kDefaultLength. Throws UsageError if the model has fewer positions than were asked for.
std::size_t length_limit(const Bert& model, std::int64_t asked, bool given);

}  // namespace costeff
