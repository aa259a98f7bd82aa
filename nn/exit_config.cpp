#include "nn/exit_config.h"

#include <algorithm>

#include "nn/config_reader.h"
#include "tensor/error.h"

namespace costeff {
namespace {

using nlohmann::json;

constexpr const char* kKeys[] = {"pooling_mode", "hidden_mode", "last_n_hidden", "pooler_dense"};

bool is_key_of_exits(const ConfigReader& in) {
  for (const char* key : kKeys) {
    if (in.find(key) != nullptr) return true;
  }
  return false;
}

// One of two names, the first of which is the default; true for the second.
bool second_of(const ConfigReader& in, const char* key, const char* first, const char* second) {
  const json* value = in.find(key);
  if (value == nullptr || *value == first) return false;
  if (*value != second) {
    fail("{}: '{}' is {}; it must be \"{}\" or \"{}\"", in.where(), key, shown(*value), first, second);
  }
  return true;
}

}  // namespace

ExitShape ExitConfig::shape(std::int64_t i, std::int64_t hidden_size) const {
  const std::int64_t states = mode == HiddenMode::concat ? std::min(last_hidden, i + 1) : 1;
  const std::int64_t read = states * hidden_size;
  return {.read = read, .dense = dense, .classifier = dense ? hidden_size : read};
}

std::optional<ExitConfig> read_exits(const ConfigReader& in) {
  const json* ours = in.find("costeff");
  const bool has_start = ours != nullptr && ours->is_object() && ours->contains("exit_start");
  if (!has_start && !is_key_of_exits(in)) return std::nullopt;
  ExitConfig exits;
  if (has_start) exits.first = ConfigReader(*ours, in.where() + ": costeff").size("exit_start", 1);
  exits.pooling = second_of(in, "pooling_mode", "cls", "avg") ? Pooling::mean : Pooling::cls;
  exits.mode = second_of(in, "hidden_mode", "concat", "avg") ? HiddenMode::average : HiddenMode::concat;
  exits.last_hidden = in.size("last_n_hidden", 1);
  exits.dense = in.boolean("pooler_dense", false);
  return exits;
}

void write_exits(const std::optional<ExitConfig>& exits, json& out) {
  if (!exits) {
    for (const char* key : kKeys) out.erase(key);
    if (const auto costeff = out.find("costeff"); costeff != out.end() && costeff->is_object())
      costeff->erase("exit_start");
    return;
  }
  out["pooling_mode"] = exits->pooling == Pooling::mean ? "avg" : "cls";
  out["hidden_mode"] = exits->mode == HiddenMode::average ? "avg" : "concat";
  out["last_n_hidden"] = exits->last_hidden;
  out["pooler_dense"] = exits->dense;
  out["costeff"]["exit_start"] = exits->first;
}

}  // namespace costeff
