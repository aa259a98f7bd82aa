#include "costeff/audit/run_state.h"

#include "costeff/train/run_folder.h"
#include "nn/safetensors.h"
#include "tensor/error.h"
#include "tensor/json_file.h"

namespace costeff::audit {

RunState newest_state(const std::string& run) {
  const Json config = run_config(run);
  const auto all = checkpoints(run);
  if (all.empty()) fail("{}: the run has no checkpoint", run);
  RunState found{.checkpoint = all.back().second};
  try {
    const Json state = read_json<Json>(found.checkpoint + "/state.json");
    const Json& phases = config.at("effective").at("phases");
    const auto phase = state.at("phase").get<std::size_t>();
    found.steps = state.at("step").get<std::int64_t>();
    for (std::size_t p = 0; p < phase; ++p) found.steps -= phases.at(p).at("steps").get<std::int64_t>();
    found.learning_rate = phases.at(phase).at("lr").get<double>();
    const Json& settings = config.at("settings");
    found.equalised = !settings.value("no_equalise", false);
    found.adam.variant = choice_named<AdamVariant>(settings.at("adam_variant").get<std::string>());
    found.adam.weight_decay = settings.at("weight_decay").get<double>();
    const Json& effective = config.at("effective");
    if (effective.contains("pooling"))
      found.pooling = choice_named<Pooling>(effective.at("pooling").get<std::string>());
    found.max_norm = settings.at("max_norm").get<double>();
  } catch (const Json::exception& e) {
    fail("{}: config.json and {}/state.json are not those of a run: {}", run, found.checkpoint, e.what());
  }
  return found;
}

void read_weights(const RunState& run, const Bert& model) {
  const std::optional<ExitConfig>& exits = model.config().exits;
  if (run.pooling && exits && *run.pooling != exits->pooling) {
    fail("{}: the run's exits read \"{}\", the model's \"{}\"; the model must be the run's own",
         run.checkpoint, name_of(*run.pooling), name_of(exits->pooling));
  }
  const SafetensorsFile file(run.checkpoint + "/training.safetensors");
  file.read("weights", model.parameters().values());
}

}  // namespace costeff::audit
