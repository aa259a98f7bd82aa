#include "costeff/train/stage.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>

#include "costeff/audit/step_audit.h"
#include "costeff/methods/distillation.h"
#include "costeff/train/settings_table.h"
#include "costeff/train/stage_data.h"
#include "tensor/backend.h"
#include "tensor/error.h"

namespace costeff {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The sizes of the widest layer.
SlenderSizes sizes_of(const BertConfig& c) {
  return {*std::max_element(c.heads.begin(), c.heads.end()), *std::max_element(c.ffn.begin(), c.ffn.end()),
          c.embedding_rank < 0 ? c.hidden_size : c.embedding_rank};
}

// An evaluation as JSON, in the log and in checkpoints: of the last exit, and where there are several, of
// each.
Json to_json(const Evaluation& e) {
  Json json = Json::object();
  for (const auto& [name, value] : e.metrics) json[name] = value;
  json["loss"] = e.loss;
  return json;
}

Json to_json(const ExitsEvaluation& e) {
  Json json = to_json(e.exits.back());
  if (e.exits.size() == 1) return json;
  for (std::size_t i = 0; i < e.exits.size(); ++i) {
    Json exit{{"exit", e.first + static_cast<std::int64_t>(i)}};
    exit.update(to_json(e.exits[i]));
    json["exits"].push_back(std::move(exit));
  }
  return json;
}

Evaluation evaluation_from(const Json& json) {
  Evaluation e;
  for (const auto& [name, value] : json.items()) {
    if (name == "exit" || name == "exits") continue;
    const double number = value.is_null() ? kNan : value.get<double>();
    if (name == "loss") {
      e.loss = number;
    } else {
      e.metrics.emplace_back(name, number);
    }
  }
  return e;
}

ExitsEvaluation exits_from(const Json& json) {
  ExitsEvaluation e;
  if (json.contains("exits")) {
    e.first = json.at("exits").at(0).at("exit").get<std::int64_t>();
    for (const Json& exit : json.at("exits")) e.exits.push_back(evaluation_from(exit));
  } else {
    e.exits.push_back(evaluation_from(json));
  }
  return e;
}

BatcherOptions batching(Stage stage, const Settings& s) {
  return {.seed = s.seed,
          .batch_size = static_cast<std::size_t>(s.batch),
          .bucket = s.bucket,
          .drop_last = s.fidelity == Fidelity::release && stage != Stage::finetune};
}

std::int64_t steps_of_epoch(const Settings& s, const Batcher& batcher) {
  return (static_cast<std::int64_t>(batcher.batches()) + s.accumulate - 1) / s.accumulate;
}

// The phases of a stage that trains a model of this config.
std::vector<Phase> planned(Stage stage, const Settings& s, const BertConfig& config,
                           std::int64_t steps_per_epoch) {
  const SlenderSizes full = sizes_of(config);
  const auto within = [&](std::int64_t Settings::*wanted, std::int64_t most, const char* what) {
    if (s.*wanted > most) fail_setting(wanted, s, "the model has {} {}", most, what);
  };
  if (stage == Stage::slenderise) {
    within(&Settings::heads, full.heads, "in a layer");
    within(&Settings::ffn, full.ffn, "neurons in a layer");
    within(&Settings::rank, std::min(full.rank, config.vocab_size), "columns in its embedding");
  }
  if (s.two_stage && config.first_exit() == config.layers())
    fail_setting(&Settings::two_stage, s, "the model has one exit; the second stage trains the others");
  return plan(stage, s, steps_per_epoch, full.heads);
}

// One run, from its settings to its end; the members are what steps, evaluations and checkpoints share.
class Run {
 public:
  Run(Stage stage, const Settings& settings, bool resume, const StageEvents& events,
      std::shared_ptr<Teacher> teacher);
  StageResult go();

 private:
  static Settings effective(Stage stage, Settings s);
  void set_dropout(Bert& model) const;
  void remember();
  Json description() const;
  void resume_from(const RunFolder::Checkpoint& checkpoint);
  void begin_next_phase();
  void begin_round();
  void make_trainer();
  StepReport step(bool features_alone);
  void evaluate_now();
  void save_checkpoint();
  void save_model(const char* name);
  void note(const std::string& line) const {
    if (events_.note) events_.note(line);
  }
  const Phase& phase() const { return phases_[phase_]; }
  std::int64_t step_now() const { return phase_begin_ + (trainer_ ? trainer_->steps() : 0); }
  bool stopped() const { return events_.stop != nullptr && events_.stop->load(); }
  bool learns_features_alone() const {
    return !phase().predictions || trainer_->steps() < phase().feature_steps;
  }
  bool due(std::int64_t every) const {
    const std::int64_t done = step_now();
    return done == total_ || done % (every > 0 ? every : steps_per_epoch_) == 0;
  }

  Stage stage_;
  Settings s_;
  Device device_;
  const StageEvents& events_;
  Task task_;
  StageData data_;
  LoadReport report_;
  Classifier student_;
  std::shared_ptr<Teacher> teacher_;
  Batcher batcher_;
  std::int64_t steps_per_epoch_;
  SlenderSizes full_;
  std::vector<Phase> phases_;
  std::int64_t total_ = 0;
  std::vector<Batch> micro_batches_;
  std::int64_t epoch_ = -1;  // that the batcher is in
  RunFolder folder_;
  StageResult result_;
  std::size_t phase_ = 0;
  std::int64_t phase_begin_ = 0;    // steps before the phase
  std::int64_t saved_ = 0;          // steps that are in a checkpoint
  std::optional<Trainer> trainer_;  // of the phase; none before the first
  Json audit_;                      // of the step that was made last, where it was looked at
  double seconds_before_ = 0;       // of earlier processes
  Clock::time_point start_ = Clock::now();
};

Settings Run::effective(Stage stage, Settings s) {
  check(stage, s);
  if (s.threads == 0) s.threads = available_cores();
  set_threads(static_cast<int>(s.threads));
  return decided(stage, std::move(s));
}

// Where and how the run computes.
void place(Bert& model, const Settings& s) {
  model.to(device_named(s.device));
  model.set_precision(s.precision);
}

Classifier placed(Classifier classifier, const Settings& s) {
  place(*classifier.model, s);
  return classifier;
}

StageData data_of(const Settings& s, const Task& task, const StageEvents& events) {
  const std::string folder = resolve_model(s.model);
  return load_data(s, task, Tokenizer::from_folder(folder), BertConfig::read(folder + "/config.json"),
                   [&](const std::string& line) {
                     if (events.note) events.note(line);
                   });
}

Run::Run(Stage stage, const Settings& settings, bool resume, const StageEvents& events,
         std::shared_ptr<Teacher> teacher)
    : stage_(stage),
      s_(effective(stage, settings)),
      device_(device_named(s_.device)),
      events_(events),
      task_(task_of(s_)),
      data_(data_of(s_, task_, events)),
      student_(placed(load_student(stage, s_, task_, data_.train, &report_), s_)),
      teacher_(teacher != nullptr || stage == Stage::finetune ? std::move(teacher)
                                                              : load_teacher(s_, task_, student_)),
      batcher_(batching(stage, s_), data_.train),
      steps_per_epoch_(steps_of_epoch(s_, batcher_)),
      full_(sizes_of(student_.model->config())),
      phases_(planned(stage, s_, student_.model->config(), steps_per_epoch_)),
      micro_batches_(std::min(static_cast<std::size_t>(s_.accumulate), batcher_.batches())),
      folder_(resume ? RunFolder::open(s_.out) : RunFolder::create(s_.out, description())) {
  for (const Phase& p : phases_) total_ += p.steps;
  const auto most = static_cast<std::size_t>(s_.batch);
  const std::size_t rows = s_.pad_to > 0 ? static_cast<std::size_t>(s_.pad_to) : data_.train.longest();
  for (Batch& b : micro_batches_) b.reserve(most, most * rows);
  for (const std::string& name : report_.initialised) note("newly initialised: " + name);
  for (const std::string& name : report_.ignored) note("not used: " + name);
  if (const auto& exits = student_.model->config().exits) {
    note(fmt::format("exits {} to {} read {}", exits->first, student_.model->config().layers(),
                     exits->pooling == Pooling::cls ? "[CLS]" : "the mean over real tokens"));
  }
  set_dropout(*student_.model);
  result_.teacher = teacher_;
  if (teacher_ != nullptr) remember();
  if (const std::optional<RunFolder::Checkpoint> checkpoint = folder_.restore()) resume_from(*checkpoint);
}

void Run::set_dropout(Bert& model) const {
  if (s_.dropout < 0) return;
  BertConfig& config = model.config();
  config.hidden_dropout_prob = s_.dropout;
  config.attention_probs_dropout_prob = s_.dropout;
  config.classifier_dropout = s_.dropout;
}

// What the teacher says of the training sentences, once for all epochs, where there is memory for it.
void Run::remember() {
  const bool hidden = stage_ == Stage::slenderise ||
                      std::any_of(phases_.begin(), phases_.end(), [](const Phase& p) { return p.features; });
  constexpr std::size_t kMegabyte = 1 << 20;
  const auto limit = static_cast<std::size_t>(s_.teacher_memory) * kMegabyte;
  const auto go_on = [&](std::size_t done) {
    if (done == 0)
      note(fmt::format("computing the teacher's outputs for {} training sentences", data_.train.size()));
    if (events_.taught)
      events_.taught(static_cast<std::int64_t>(done), static_cast<std::int64_t>(data_.train.size()));
    return !stopped();
  };
  if (!teacher_->remember(data_.train, hidden, static_cast<std::size_t>(s_.batch), limit, go_on) &&
      !stopped())
    note(fmt::format("they are computed anew in each epoch: {} is too little to keep them",
                     flag_of(&Settings::teacher_memory)));
}

// The run's config.json: what was asked for, what followed from it, and where it runs.
Json Run::description() const {
  const BertConfig& config = student_.model->config();
  Json phases = Json::array();
  std::int64_t total = 0;
  for (const Phase& p : phases_) {
    phases.push_back({{"name", p.name}, {"steps", p.steps}, {"lr", p.lr}, {"warmup_steps", p.warmup}});
    total += p.steps;
  }
  Json effective{{"model_folder", student_.folder},
                 {"labels", config.labels},
                 {"training_examples", data_.train.size()},
                 {"steps_per_epoch", steps_per_epoch_},
                 {"total_steps", total},
                 {"phases", phases},
                 {"hidden_dropout", s_.dropout >= 0 ? s_.dropout : config.hidden_dropout_prob},
                 {"attention_dropout", s_.dropout >= 0 ? s_.dropout : config.attention_probs_dropout_prob},
                 {"classifier_dropout", s_.dropout >= 0 ? s_.dropout : config.classifier_dropout}};
  if (config.exits) effective["pooling"] = name_of(config.exits->pooling);
  return {{"command", name_of(stage_)},
          {"settings", costeff::to_json(stage_, s_)},
          {"effective", effective},
          {"environment", environment(device_)}};
}

void Run::resume_from(const RunFolder::Checkpoint& checkpoint) {
  const Json& state = checkpoint.state;
  const auto steps = state.at("step").get<std::int64_t>();
  phase_ = state.at("phase").get<std::size_t>();
  for (std::size_t p = 0; p < phase_; ++p) phase_begin_ += phases_[p].steps;
  if (state.contains("model")) {
    const nlohmann::json config(state.at("model"));
    student_.model = std::make_unique<Bert>(BertConfig::from_json(config, checkpoint.folder + "/state.json"));
    place(*student_.model, s_);
    set_dropout(*student_.model);
  }
  result_.best_step = state.at("best_step").get<std::int64_t>();
  if (result_.best_step > 0) result_.best = exits_from(state.at("best"));
  seconds_before_ = state.at("seconds").get<double>();
  const Json now = environment(device_);
  const Json begun = folder_.config().at("environment");
  for (const auto& [key, value] : now.items()) {
    if (begun.contains(key) && begun[key] == value) continue;
    note(fmt::format("{} is {} now and was {} when the run began: its bits may differ", key, value.dump(),
                     begun.contains(key) ? begun[key].dump() : "not known"));
  }
  make_trainer();
  trainer_->restore(checkpoint.folder, steps - phase_begin_);
  saved_ = steps;
  note(fmt::format("going on from step {} of {}", steps, total_));
}

void Run::begin_next_phase() {
  if (trainer_) {
    trainer_->settle();
    phase_begin_ = step_now();
    ++phase_;
    trainer_.reset();
  }
  if (phase().round > 0) begin_round();
  make_trainer();
}

// An optimiser and a schedule of the phase's own. Each phase draws dropout masks of its own.
void Run::make_trainer() {
  const Phase& p = phase();
  trainer_.emplace(student_.model->parameters(),
                   TrainerOptions{.adam = {.variant = s_.adam_variant, .weight_decay = s_.weight_decay},
                                  .learning_rate = p.lr,
                                  .warmup = p.warmup,
                                  .total = p.total,
                                  .max_norm = s_.max_norm,
                                  .seed = s_.seed ^ (static_cast<std::uint64_t>(phase_) << 56),
                                  .check_finite = s_.check_finite});
}

// Makes the model slender and says what is left of it.
void Run::begin_round() {
  const std::int64_t round = phase().round, rounds = rounds_of(s_, full_.heads);
  student_.model = slenderise(s_, round, rounds, full_, *student_.model, *teacher_, data_.train);
  const BertConfig& config = student_.model->config();
  folder_.log({{"step", step_now()},
               {"round", round},
               {"heads", config.heads},
               {"ffn", config.ffn},
               {"rank", config.embedding_rank},
               {"kept_heads", config.kept_heads},
               {"kept_neurons", config.kept_neurons}});
  note(fmt::format("round {} of {}: {} heads and {} neurons a layer, embedding rank {}, {} parameters", round,
                   rounds, sizes_of(config).heads, sizes_of(config).ffn, config.embedding_rank,
                   student_.model->parameters().count()));
}

StepReport Run::step(bool features_alone) {
  const std::int64_t now = step_now();
  const std::int64_t epoch = now / steps_per_epoch_;
  if (epoch != epoch_) batcher_.begin_epoch(static_cast<std::uint32_t>(epoch));
  epoch_ = epoch;
  const auto first = static_cast<std::size_t>(now % steps_per_epoch_ * s_.accumulate);
  const std::size_t count = std::min(static_cast<std::size_t>(s_.accumulate), batcher_.batches() - first);
  const auto pad_to = s_.pad_to > 0 ? std::optional(static_cast<std::size_t>(s_.pad_to)) : std::nullopt;
  for (std::size_t i = 0; i < count; ++i)
    fill_batch(data_.train, batcher_.batch(first + i), pad_to, micro_batches_[i]);
  const Phase& p = phase();
  freeze_for(p, features_alone, *student_.model);
  const auto loss = [&](Forward& forward, const Batch& batch, const TokenBatch& tokens) {
    return step_loss(s_, p, features_alone, *student_.model, teacher_.get(), forward, batch, tokens);
  };
  // Of a step's micro-batches the last one is looked at.
  Trainer::Inspect inspect;
  audit_ = Json();
  if (s_.audit_every > 0 && (now + 1) % s_.audit_every == 0) {
    inspect = [&](Tape& tape, const Variable& value) {
      audit_ = audit::audit_step(tape, value, student_.model->config().layers());
    };
  }
  return trainer_->step(std::span(micro_batches_).first(count), loss, inspect);
}

void Run::save_model(const char* name) {
  folder_.save_model(
      name, [&](const std::string& to) { save_bert(to, *student_.model, student_.folder, s_.save_dtype); });
}

void Run::evaluate_now() {
  trainer_->settle();
  const ExitsEvaluation e =
      evaluate_exits(*student_.model, task_, data_.dev, {.batch = static_cast<std::size_t>(s_.batch)});
  if (!std::isfinite(e.exits.back().loss)) {
    fail("step {}: the loss on dev is {}; training has diverged, a smaller {} may help", step_now(),
         e.exits.back().loss, flag_of(&Settings::lr));
  }
  folder_.log({{"step", step_now()}, {"dev", to_json(e)}});
  // A metric may be nan (the correlation of a constant): anything is better than that. Where sizes still
  // change or another phase comes, there is no best model.
  const bool counts = stage_ != Stage::slenderise && phase_ + 1 == phases_.size();
  const double before = result_.best_step == 0 ? kNan : result_.best.mean_score();
  const bool best = counts && (std::isnan(before) || e.mean_score() > before);
  if (best) {
    result_.best = e;
    result_.best_step = step_now();
    save_model("best");
  }
  if (events_.evaluated) events_.evaluated(step_now(), e, best);
}

void Run::save_checkpoint() {
  Json state{{"step", step_now()},
             {"phase", phase_},
             {"best_step", result_.best_step},
             {"best", result_.best_step == 0 ? Json() : to_json(result_.best)},
             {"seconds", seconds_before_ + seconds_since(start_)}};
  if (stage_ == Stage::slenderise) state["model"] = student_.model->config().to_json();
  folder_.save_checkpoint(step_now(), state, static_cast<int>(s_.keep_checkpoints),
                          [&](const std::string& to) { trainer_->save(to); });
  saved_ = step_now();
}

StageResult Run::go() {
  start_ = Clock::now();
  while (step_now() < total_) {
    if (stopped()) {
      if (step_now() > saved_) save_checkpoint();
      break;
    }
    const auto begin = Clock::now();
    if (!trainer_ || trainer_->steps() == phase().steps) begin_next_phase();
    const bool alone = learns_features_alone();
    const StepReport report = step(alone);
    const double rate = static_cast<double>(report.tokens) / seconds_since(begin);
    Json line{{"step", step_now()},
              {"phase", phase().name},
              {"loss", report.loss},
              {"gradient_norm", report.gradient_norm},
              {"clip_scale", report.clip_scale},
              {"learning_rate", report.learning_rate},
              {"tokens", report.tokens},
              {"tokens_per_second", rate}};
    if (alone) line["features_alone"] = true;
    if (!audit_.is_null()) line["audit"] = audit_;
    folder_.log(line);
    if (events_.step) events_.step({step_now(), total_, epoch_, phase().name, report, rate});
    if (due(s_.eval_every)) evaluate_now();
    if (due(s_.checkpoint_every > 0 ? s_.checkpoint_every : s_.eval_every)) save_checkpoint();
  }
  result_.steps = step_now();
  result_.seconds = seconds_before_ + seconds_since(start_);
  if (step_now() < total_) return result_;
  trainer_->settle();
  save_model("last");
  result_.finished = true;
  write_atomically(
      folder_.path() + "/result.json",
      Json{{"steps", result_.steps}, {"best_step", result_.best_step}, {"seconds", result_.seconds}}.dump(2) +
          "\n");
  return result_;
}

}  // namespace

StageResult run_stage(Stage stage, const Settings& settings, bool resume, const StageEvents& events,
                      std::shared_ptr<Teacher> teacher) {
  return Run(stage, settings, resume, events, std::move(teacher)).go();
}

void check_plan(Stage stage, const Settings& settings, const BertConfig& backbone,
                const EncodedDataset& train) {
  const Settings s = decided(stage, settings);
  BertConfig student = backbone;
  if (stage != Stage::finetune) student.exits = ExitConfig{.first = s.exit_start};
  if (s.exit_start > backbone.layers() && stage != Stage::finetune)
    fail_setting(&Settings::exit_start, s, "the model has {} layers", backbone.layers());
  planned(stage, s, student, steps_of_epoch(s, Batcher(batching(stage, s), train)));
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
