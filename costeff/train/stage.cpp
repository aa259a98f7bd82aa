#include "costeff/train/stage.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>

#include "costeff/train/run_folder.h"
#include "costeff/train/stage_setup.h"
#include "costeff/train/step_loss.h"
#include "tensor/error.h"

namespace costeff {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Where a run stands, beside weights and optimiser: what a checkpoint's state.json holds.
struct StageState {
  std::int64_t step = 0;
  std::size_t phase = 0;
  StageRecord record;    // so far
  ExitsEvaluation best;  // of record.best_step, where that is above 0

  Json to_json() const {
    return {{"step", step},
            {"phase", phase},
            {"best_step", record.best_step},
            {"best", record.best_step == 0 ? Json() : costeff::to_json(best)},
            {"seconds", record.seconds}};
  }
  static StageState from(const Json& json) {
    StageState state{.step = json.at("step").get<std::int64_t>(),
                     .phase = json.at("phase").get<std::size_t>()};
    state.record.best_step = json.at("best_step").get<std::int64_t>();
    state.record.seconds = json.at("seconds").get<double>();
    if (state.record.best_step > 0) state.best = exits_evaluation_from(json.at("best"));
    return state;
  }
};

// The loop over steps, evaluations and checkpoints; the members are what these share.
class StageRunner {
 public:
  StageRunner(StageSetup setup, RunFolder folder, const StageEvents& events);
  StageResult run();

 private:
  void resume_from(const RunFolder::Checkpoint& checkpoint);
  void begin_next_phase();
  void begin_round();
  void make_trainer();
  StepReport step(bool hidden_alone);
  void log_step(const StepReport& report, bool hidden_alone, double tokens_per_second);
  void evaluate_now();
  void save_checkpoint();
  void save_model(const char* name);
  void note(const std::string& line) const {
    if (events_.note) events_.note(line);
  }
  const Settings& settings() const { return setup_.settings; }
  Bert& student() { return *setup_.student.model; }
  const Phase& phase() const { return setup_.phases[state_.phase]; }
  std::int64_t step_now() const { return phase_begin_ + (trainer_ ? trainer_->steps() : 0); }
  bool stopped() const { return events_.stop != nullptr && events_.stop->load(); }
  bool learns_hidden_alone() const {
    return !trains_predictions(phase()) || trainer_->steps() < phase().hidden_steps;
  }
  bool due(std::int64_t every) const {
    const std::int64_t done = step_now();
    return done == setup_.total_steps || done % (every > 0 ? every : setup_.steps_per_epoch) == 0;
  }

  StageSetup setup_;
  RunFolder folder_;
  const StageEvents& events_;
  std::vector<Batch> micro_batches_;
  std::int64_t epoch_ = -1;  // that the batcher is in
  StageState state_;
  std::int64_t phase_begin_ = 0;    // steps before the phase
  std::int64_t saved_ = 0;          // steps that are in a checkpoint
  std::optional<Trainer> trainer_;  // of the phase; none before the first
  Json audit_;                      // of the step that was made last, where audit_every asks for it
  double seconds_before_ = 0;       // of earlier processes
  Clock::time_point start_ = Clock::now();
};

StageRunner::StageRunner(StageSetup setup, RunFolder folder, const StageEvents& events)
    : setup_(std::move(setup)),
      folder_(std::move(folder)),
      events_(events),
      micro_batches_(std::min(static_cast<std::size_t>(settings().accumulate), setup_.batcher.batches())) {
  const auto most = static_cast<std::size_t>(settings().batch);
  const std::size_t rows =
      settings().pad_to > 0 ? static_cast<std::size_t>(settings().pad_to) : setup_.data->train.longest();
  for (Batch& b : micro_batches_) b.reserve(most, most * rows);
  for (const std::string& name : setup_.report.initialised) note("newly initialised: " + name);
  for (const std::string& name : setup_.report.ignored) note("not used: " + name);
  if (const auto& exits = student().config().exits) {
    note(fmt::format("exits {} to {} read {}", exits->first, student().config().layers(),
                     exits->pooling == Pooling::cls ? "[CLS]" : "the mean over real tokens"));
  }
  if (setup_.teacher != nullptr) cache_teacher(setup_, events_);
  if (const std::optional<RunFolder::Checkpoint> checkpoint = folder_.restore()) resume_from(*checkpoint);
}

void StageRunner::resume_from(const RunFolder::Checkpoint& checkpoint) {
  state_ = StageState::from(checkpoint.state);
  for (std::size_t p = 0; p < state_.phase; ++p) phase_begin_ += setup_.phases[p].steps;
  if (checkpoint.state.contains("model")) {
    const nlohmann::json config(checkpoint.state.at("model"));
    setup_.student.model =
        std::make_unique<Bert>(BertConfig::from_json(config, checkpoint.folder + "/state.json"));
    place_model(student(), settings());
  }
  seconds_before_ = state_.record.seconds;
  const Json now = environment(setup_.device);
  const Json begun = folder_.config().at("environment");
  for (const auto& [key, value] : now.items()) {
    if (begun.contains(key) && begun[key] == value) continue;
    note(fmt::format("{} is {} now and was {} when the run began: its bits may differ", key, value.dump(),
                     begun.contains(key) ? begun[key].dump() : "not known"));
  }
  make_trainer();
  trainer_->restore(checkpoint.folder, state_.step - phase_begin_);
  saved_ = state_.step;
  note(fmt::format("going on from step {} of {}", state_.step, setup_.total_steps));
}

void StageRunner::begin_next_phase() {
  if (trainer_) {
    trainer_->flush();
    phase_begin_ = step_now();
    ++state_.phase;
    trainer_.reset();
  }
  if (phase().round > 0) begin_round();
  make_trainer();
}

// An optimiser and a schedule of the phase's own. Each phase draws dropout masks of its own.
void StageRunner::make_trainer() {
  const Settings& s = settings();
  trainer_.emplace(student().parameters(),
                   TrainerOptions{.adam = {.variant = s.adam_variant, .weight_decay = s.weight_decay},
                                  .learning_rate = phase().lr,
                                  .warmup = phase().warmup,
                                  .total = phase().total,
                                  .max_norm = s.max_norm,
                                  .seed = s.seed ^ (static_cast<std::uint64_t>(state_.phase) << 56),
                                  .check_finite = s.check_finite,
                                  .precision = s.precision});
}

// Does the surgery of a round and says what is left of the model.
void StageRunner::begin_round() {
  const std::int64_t round = phase().round;
  setup_.student.model = setup_.stage.surgery(
      {settings(), round, setup_.rounds, setup_.full, student(), *setup_.teacher, setup_.data->train});
  const BertConfig& config = student().config();
  folder_.log(to_json(RoundLine{.step = step_now(),
                                .round = round,
                                .heads = config.heads,
                                .ffn = config.ffn,
                                .rank = config.embedding_rank,
                                .kept_heads = config.kept_heads,
                                .kept_neurons = config.kept_neurons}));
  note(fmt::format("round {} of {}: {} heads and {} neurons a layer, embedding rank {}, {} parameters", round,
                   setup_.rounds, *std::max_element(config.heads.begin(), config.heads.end()),
                   *std::max_element(config.ffn.begin(), config.ffn.end()), config.embedding_rank,
                   student().parameters().count()));
}

StepReport StageRunner::step(bool hidden_alone) {
  const Settings& s = settings();
  const std::int64_t now = step_now();
  const std::int64_t epoch = now / setup_.steps_per_epoch;
  if (epoch != epoch_) setup_.batcher.begin_epoch(static_cast<std::uint32_t>(epoch));
  epoch_ = epoch;
  const auto first = static_cast<std::size_t>(now % setup_.steps_per_epoch * s.accumulate);
  const std::size_t count =
      std::min(static_cast<std::size_t>(s.accumulate), setup_.batcher.batches() - first);
  const auto pad_to = s.pad_to > 0 ? std::optional(static_cast<std::size_t>(s.pad_to)) : std::nullopt;
  for (std::size_t i = 0; i < count; ++i)
    fill_batch(setup_.data->train, setup_.batcher.batch(first + i), pad_to, micro_batches_[i]);
  freeze_for(phase(), hidden_alone, student());
  const auto loss = [&](Forward& forward, const Batch& batch, const TokenBatch& tokens) {
    return step_loss(phase(), hidden_alone, student(), setup_.teacher.get(), forward, batch, tokens);
  };
  // Of several micro-batches the last one's audit stays.
  Trainer::Inspect inspect;
  audit_ = Json();
  if (events_.audit && s.audit_every > 0 && (now + 1) % s.audit_every == 0) {
    inspect = [&](Tape& tape, const Variable& value) {
      audit_ = events_.audit(tape, value, student().parameters());
    };
  }
  return trainer_->step(std::span(micro_batches_).first(count), loss, inspect);
}

void StageRunner::log_step(const StepReport& report, bool hidden_alone, double tokens_per_second) {
  folder_.log(to_json(StepLine{.step = step_now(),
                               .phase = phase().name,
                               .loss = report.loss,
                               .gradient_norm = report.gradient_norm,
                               .clip_scale = report.clip_scale,
                               .learning_rate = report.learning_rate,
                               .tokens = report.tokens,
                               .tokens_per_second = tokens_per_second,
                               .features_alone = hidden_alone,
                               .audit = audit_}));
  if (events_.step)
    events_.step({step_now(), setup_.total_steps, epoch_, phase().name, report, tokens_per_second});
}

void StageRunner::save_model(const char* name) {
  folder_.save_model(name, [&](const std::string& to) {
    save_bert(to, student(), setup_.student.folder, settings().save_dtype);
  });
}

void StageRunner::evaluate_now() {
  trainer_->flush();
  const ExitsEvaluation e = evaluate_exits(
      student(), setup_.task, setup_.data->dev,
      {.batch = static_cast<std::size_t>(settings().batch), .precision = settings().precision});
  if (!std::isfinite(e.exits.back().loss)) {
    fail("step {}: the loss on dev is {}; training has diverged, a smaller learning rate may help",
         step_now(), e.exits.back().loss);
  }
  folder_.log(to_json(EvaluationLine{step_now(), e}));
  // A metric may be nan (the correlation of a constant): anything is better than that. Where another phase
  // comes there is no best model yet.
  StageRecord& record = state_.record;
  const bool counts = setup_.stage.selects_best && state_.phase + 1 == setup_.phases.size();
  const double before =
      record.best_step == 0 ? std::numeric_limits<double>::quiet_NaN() : state_.best.mean_score();
  const bool best = counts && (std::isnan(before) || e.mean_score() > before);
  if (best) {
    state_.best = e;
    record.best_step = step_now();
    save_model("best");
  }
  if (events_.evaluated) events_.evaluated(step_now(), e, best);
}

void StageRunner::save_checkpoint() {
  state_.step = step_now();
  state_.record.seconds = seconds_before_ + seconds_since(start_);
  Json state = state_.to_json();
  if (setup_.rounds > 0) state["model"] = student().config().to_json();
  folder_.save_checkpoint(state_.step, state, static_cast<int>(settings().keep_checkpoints),
                          [&](const std::string& to) { trainer_->save(to); });
  saved_ = state_.step;
}

StageResult StageRunner::run() {
  start_ = Clock::now();
  while (step_now() < setup_.total_steps) {
    if (stopped()) {
      if (step_now() > saved_) save_checkpoint();
      break;
    }
    const auto begin = Clock::now();
    if (!trainer_ || trainer_->steps() == phase().steps) begin_next_phase();
    const bool hidden_alone = learns_hidden_alone();
    const StepReport report = step(hidden_alone);
    log_step(report, hidden_alone, static_cast<double>(report.tokens) / seconds_since(begin));
    if (due(settings().eval_every)) evaluate_now();
    if (due(settings().checkpoint_every > 0 ? settings().checkpoint_every : settings().eval_every))
      save_checkpoint();
  }
  StageRecord record = state_.record;
  record.name = setup_.stage.name;
  record.steps = step_now();
  record.seconds = seconds_before_ + seconds_since(start_);
  if (step_now() < setup_.total_steps) return {.finished = false, .record = record, .best = {}};
  trainer_->flush();
  save_model("last");
  write_stage_record(folder_.path(), record);
  return {.finished = true, .record = record, .best = state_.best};
}

}  // namespace

StageResult run_stage(const StageSpec& stage, const Settings& settings, bool resume,
                      const StageEvents& events, StageShared& shared) {
  StageSetup setup = set_up_stage(stage, settings, events, shared);
  RunFolder folder = resume ? RunFolder::open(setup.settings.out)
                            : RunFolder::create(setup.settings.out, setup.description());
  return StageRunner(std::move(setup), std::move(folder), events).run();
}

}  // namespace costeff
