#include "tools/cli/model_options.h"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <filesystem>

#include "tensor/backend.h"
#include "tensor/error.h"

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

void add_device(Options& options, std::string* device) {
  options.add("device", "D", device,
              "what computes: cpu, cuda, cuda:N (the N-th GPU), or auto: a GPU where one can be used");
}

void add_precision(Options& options, Precision* precision) {
  options.add("precision", "P", precision,
              "of what linear layers and attention multiply: f32, or bf16 (mixed precision: on a GPU the "
              "faster one)");
}

void use_threads(std::int64_t threads) {
  if (threads > INT_MAX) fail_usage("--threads {}: too many", threads);
  set_threads(threads > 0 ? static_cast<int>(threads) : available_cores());
}

std::size_t length_limit(const Bert& model, std::int64_t asked, bool given) {
  const std::int64_t positions = model.config().max_position_embeddings;
  if (!given) return static_cast<std::size_t>(std::min(positions, kDefaultLength));
  if (asked > positions) fail_usage("--max-length {}: the model has {} positions", asked, positions);
  return static_cast<std::size_t>(asked);
}

}  // namespace costeff
