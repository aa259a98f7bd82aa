#include "costeff/train/stage_setup.h"

#include <algorithm>

#include "costeff/train/settings_table.h"
#include "costeff/train/student.h"
#include "tensor/backend.h"
#include "tensor/error.h"

namespace costeff {
namespace {

BatcherOptions batching(const StageSpec& stage, const Settings& s) {
  return {.seed = s.seed,
          .batch_size = static_cast<std::size_t>(s.batch),
          .bucket = s.bucket,
          .drop_last = s.fidelity == Fidelity::release && !stage.teacher.empty()};
}

std::int64_t steps_of_epoch(const Settings& s, const Batcher& batcher) {
  return (static_cast<std::int64_t>(batcher.batches()) + s.accumulate - 1) / s.accumulate;
}

Settings effective(const StageSpec& stage, Settings s) {
  check(stage.uses, s);
  if (s.threads == 0) s.threads = available_cores();
  set_threads(static_cast<int>(s.threads));
  return decided(stage, std::move(s));
}

std::shared_ptr<const StageData> data_of(const Settings& s, const Task& task, const StageEvents& events) {
  const std::string folder = resolve_model(s.model);
  return std::make_shared<const StageData>(load_data(s, task, Tokenizer::from_folder(folder),
                                                     BertConfig::read(folder + "/config.json"),
                                                     [&](const std::string& line) {
                                                       if (events.note) events.note(line);
                                                     }));
}

bool needs_hidden_states(const std::vector<Phase>& phases) {
  return std::any_of(phases.begin(), phases.end(),
                     [](const Phase& p) { return p.round > 0 || distils_hidden_states(p); });
}

}  // namespace

Settings decided(const StageSpec& stage, Settings settings) {
  return stage.decide ? stage.decide(std::move(settings)) : settings;
}

void place_model(Bert& model, const Settings& s) {
  model.to(device_named(s.device));
  if (s.dropout < 0) return;
  BertConfig& config = model.config();
  config.hidden_dropout_prob = s.dropout;
  config.attention_probs_dropout_prob = s.dropout;
  config.classifier_dropout = s.dropout;
}

void cache_teacher(const StageSetup& setup, const StageEvents& events) {
  const std::size_t sentences = setup.data->train.size();
  const auto note = [&](const std::string& line) {
    if (events.note) events.note(line);
  };
  const auto stopped = [&] { return events.stop != nullptr && events.stop->load(); };
  constexpr std::size_t kMegabyte = 1 << 20;
  const auto limit = static_cast<std::size_t>(setup.settings.teacher_memory) * kMegabyte;
  const auto go_on = [&](std::size_t done) {
    if (done == 0) note(fmt::format("computing the teacher's outputs for {} training sentences", sentences));
    if (events.cached) events.cached(static_cast<std::int64_t>(done), static_cast<std::int64_t>(sentences));
    return !stopped();
  };
  const bool cached = setup.teacher->cache(setup.data->train, needs_hidden_states(setup.phases),
                                           static_cast<std::size_t>(setup.settings.batch), limit, go_on);
  if (!cached && !stopped())
    note(
        "the teacher's outputs are not cached, they are computed in each epoch: teacher_memory is too small");
}

StageSetup set_up_stage(const StageSpec& stage, const Settings& settings, const StageEvents& events,
                        StageShared& shared) {
  Settings s = effective(stage, settings);
  const Device device = device_named(s.device);
  Task task = task_of(s);
  if (shared.data == nullptr) shared.data = data_of(s, task, events);
  LoadReport report;
  Classifier student = load_student(stage, s, task, shared.data->train, &report);
  place_model(*student.model, s);
  BertConfig full = student.model->config();
  Batcher batcher(batching(stage, s), shared.data->train);
  const std::int64_t steps_per_epoch = steps_of_epoch(s, batcher);
  std::vector<Phase> phases = stage.phases(s, full, steps_per_epoch);
  if (stage.teacher.empty()) {
    shared.teacher = nullptr;
  } else if (shared.teacher == nullptr) {
    shared.teacher = load_teacher(s, task, student, needs_hidden_states(phases));
  }
  StageSetup setup{.stage = stage,
                   .settings = std::move(s),
                   .device = device,
                   .task = std::move(task),
                   .data = shared.data,
                   .report = std::move(report),
                   .student = std::move(student),
                   .full = std::move(full),
                   .phases = std::move(phases),
                   .teacher = shared.teacher,
                   .batcher = std::move(batcher),
                   .steps_per_epoch = steps_per_epoch};
  for (const Phase& phase : setup.phases) {
    setup.total_steps += phase.steps;
    setup.rounds = std::max(setup.rounds, phase.round);
  }
  return setup;
}

Json StageSetup::description() const {
  const BertConfig& config = student.model->config();
  Json list = Json::array();
  for (const Phase& p : phases)
    list.push_back({{"name", p.name}, {"steps", p.steps}, {"lr", p.lr}, {"warmup_steps", p.warmup}});
  Json effective{{"model_folder", student.folder},
                 {"labels", config.labels},
                 {"training_examples", data->train.size()},
                 {"steps_per_epoch", steps_per_epoch},
                 {"total_steps", total_steps},
                 {"phases", list},
                 {"hidden_dropout", config.hidden_dropout_prob},
                 {"attention_dropout", config.attention_probs_dropout_prob},
                 {"classifier_dropout", config.classifier_dropout}};
  if (config.exits) effective["pooling"] = name_of(config.exits->pooling);
  return {{"format", kRunFormat},
          {"command", stage.name},
          {"settings", costeff::to_json(stage.uses, settings)},
          {"effective", effective},
          {"environment", environment(device)}};
}

void check_plan(const StageSpec& stage, const Settings& settings, const BertConfig& backbone,
                const EncodedDataset& train) {
  const Settings s = decided(stage, settings);
  BertConfig student = backbone;
  if (stage.exits != StudentExits::none) student.exits = ExitConfig{.first = s.exit_start};
  if (s.exit_start > backbone.layers() && stage.exits != StudentExits::none)
    fail_setting(&Settings::exit_start, s, "the model has {} layers", backbone.layers());
  stage.phases(s, student, steps_of_epoch(s, Batcher(batching(stage, s), train)));
}

Json environment(Device device) {
  const CpuInfo info = cpu_info();
  Json json{{"costeff", COSTEFF_VERSION}, {"processor", info.processor},       {"kernels", info.isa},
            {"blas", info.blas},          {"blas_kernels", info.blas_kernels}, {"threads", threads()},
            {"compiler", __VERSION__}};
  if (device != kCpu) json["device"] = to_string(device);
  return json;
}

}  // namespace costeff
