#include "costeff/finetune.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "tensor/backend.h"
#include "tensor/error.h"

namespace costeff {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Task task_of(const FinetuneSettings& s) {
  if (!s.task.empty()) return find_task(s.task);
  Task task = custom_task(s.columns, s.labels);
  if (task.labels.empty()) task.labels = collect_labels(task, split_file(task, s.data, Split::kTrain));
  return task;
}

// One run, from its settings to its end; the members are what steps, evaluations and checkpoints share.
class Run {
 public:
  Run(const FinetuneSettings& settings, bool resume, const FinetuneEvents& events);
  FinetuneResult go();

 private:
  static FinetuneSettings effective(FinetuneSettings s);
  EncodedDataset encode(Split split, const char* what) const;
  Trainer make_trainer();
  std::int64_t warmup_steps() const;
  Json description() const;
  void resume_from(const RunFolder::Checkpoint& checkpoint);
  StepReport step();
  void evaluate_now();
  void save_checkpoint();
  void note(const std::string& line) const {
    if (events_.note) events_.note(line);
  }
  bool due(std::int64_t every) const {
    const std::int64_t done = trainer_.steps();
    return done == total_ || done % (every > 0 ? every : steps_per_epoch_) == 0;
  }

  FinetuneSettings s_;
  const FinetuneEvents& events_;
  Task task_;
  LoadReport report_;
  Classifier classifier_;
  EncodedDataset train_;
  EncodedDataset dev_;
  Batcher batcher_;
  std::int64_t steps_per_epoch_;
  std::int64_t total_;
  Trainer trainer_;
  std::vector<Batch> micro_batches_;
  std::int64_t epoch_ = -1;  // that the batcher is in
  RunFolder folder_;
  FinetuneResult result_;
};

FinetuneSettings Run::effective(FinetuneSettings s) {
  check(s);
  if (s.threads == 0) s.threads = available_cores();
  set_threads(static_cast<int>(s.threads));
  return s;
}

EncodedDataset Run::encode(Split split, const char* what) const {
  const std::int64_t positions = classifier_.model->config().max_position_embeddings;
  if (s_.max_length > positions)
    fail_usage("--max-length {}: the model has {} positions", s_.max_length, positions);
  if (s_.pad_to > positions) fail_usage("--pad-to {}: the model has {} positions", s_.pad_to, positions);
  const std::string file = split_file(task_, s_.data, split);
  const Examples examples = load_examples(task_, file);
  if (!examples.skipped_lines.empty()) {
    note(fmt::format("{}: {} rows without all columns were left out", file, examples.skipped_lines.size()));
  }
  EncodedDataset data =
      encode_dataset(classifier_.tokenizer, examples.rows, static_cast<std::size_t>(s_.max_length));
  note(fmt::format("{}: {} examples, {:.1f} tokens on average, from {}", what, data.size(),
                   static_cast<double>(data.ids.size()) / static_cast<double>(data.size()), file));
  if (task_.regression && data.size() < 2) fail("{}: a correlation needs at least two examples", file);
  return data;
}

LoadOptions load_options(const FinetuneSettings& s, const Task& task) {
  LoadOptions options{.labels = task.labels, .seed = s.seed};
  if (task.regression) options.labels = {"score"};
  return options;
}

Run::Run(const FinetuneSettings& settings, bool resume, const FinetuneEvents& events)
    : s_(effective(settings)),
      events_(events),
      task_(task_of(s_)),
      classifier_(load_classifier(s_.model, load_options(s_, task_), &report_)),
      train_(encode(Split::kTrain, "training")),
      dev_(encode(Split::kDev, "dev")),
      batcher_({.seed = s_.seed, .batch_size = static_cast<std::size_t>(s_.batch), .bucket = s_.bucket},
               train_),
      steps_per_epoch_((static_cast<std::int64_t>(batcher_.batches()) + s_.accumulate - 1) / s_.accumulate),
      total_(s_.max_steps > 0 ? std::min(s_.max_steps, s_.epochs * steps_per_epoch_)
                              : s_.epochs * steps_per_epoch_),
      trainer_(make_trainer()),
      micro_batches_(std::min(static_cast<std::size_t>(s_.accumulate), batcher_.batches())),
      folder_(resume ? RunFolder::open(s_.out) : RunFolder::create(s_.out, description())) {
  const auto most = static_cast<std::size_t>(s_.batch);
  const std::size_t rows = s_.pad_to > 0 ? static_cast<std::size_t>(s_.pad_to) : train_.longest();
  for (Batch& b : micro_batches_) b.reserve(most, most * rows);
  for (const std::string& name : report_.initialised) note("newly initialised: " + name);
  for (const std::string& name : report_.ignored) note("not used: " + name);
  const std::optional<RunFolder::Checkpoint> checkpoint = folder_.restore();
  if (checkpoint) resume_from(*checkpoint);
}

Trainer Run::make_trainer() {
  BertConfig& config = classifier_.model->config();
  if (s_.dropout >= 0) {
    config.hidden_dropout_prob = s_.dropout;
    config.attention_probs_dropout_prob = s_.dropout;
    config.classifier_dropout = s_.dropout;
  }
  return {classifier_.model->parameters(),
          {.adam = {.variant = adam_variant(s_.adam_variant), .weight_decay = s_.weight_decay},
           .learning_rate = s_.lr,
           .warmup = warmup_steps(),
           .total = total_,
           .max_norm = s_.max_norm,
           .seed = s_.seed,
           .check_finite = s_.check_finite}};
}

std::int64_t Run::warmup_steps() const {
  return static_cast<std::int64_t>(s_.warmup < 1 ? s_.warmup * static_cast<double>(total_) : s_.warmup);
}

// The run's config.json: what was asked for, what followed from it, and where it runs.
Json Run::description() const {
  const BertConfig& config = classifier_.model->config();
  const Json effective{{"model_folder", classifier_.folder},
                       {"labels", config.labels},
                       {"steps_per_epoch", steps_per_epoch_},
                       {"total_steps", total_},
                       {"warmup_steps", warmup_steps()},
                       {"hidden_dropout", config.hidden_dropout_prob},
                       {"attention_dropout", config.attention_probs_dropout_prob},
                       {"classifier_dropout", config.classifier_dropout}};
  return {{"command", "finetune"},
          {"settings", to_json(s_)},
          {"effective", effective},
          {"environment", environment()}};
}

void Run::resume_from(const RunFolder::Checkpoint& checkpoint) {
  const auto steps = checkpoint.state.at("step").get<std::int64_t>();
  trainer_.restore(checkpoint.folder, steps);
  result_.best_step = checkpoint.state.at("best_step").get<std::int64_t>();
  result_.best.loss = checkpoint.state.at("best_loss").get<double>();
  const Json now = environment();
  const Json begun = folder_.config().at("environment");
  for (const auto& [key, value] : now.items()) {
    if (begun.contains(key) && begun[key] == value) continue;
    note(fmt::format("{} is {} now and was {} when the run began: its bits may differ", key, value.dump(),
                     begun.contains(key) ? begun[key].dump() : "not known"));
  }
  for (const auto& [name, value] : checkpoint.state.at("best_metrics").items()) {
    result_.best.metrics.emplace_back(name, value.is_null() ? kNan : value.get<double>());
  }
  note(fmt::format("going on from step {} of {}", steps, total_));
}

StepReport Run::step() {
  const std::int64_t now = trainer_.steps();
  const std::int64_t epoch = now / steps_per_epoch_;
  if (epoch != epoch_) batcher_.begin_epoch(static_cast<std::uint32_t>(epoch));
  epoch_ = epoch;
  const auto first = static_cast<std::size_t>(now % steps_per_epoch_ * s_.accumulate);
  const std::size_t count = std::min(static_cast<std::size_t>(s_.accumulate), batcher_.batches() - first);
  const auto pad_to = s_.pad_to > 0 ? std::optional(static_cast<std::size_t>(s_.pad_to)) : std::nullopt;
  for (std::size_t i = 0; i < count; ++i)
    fill_batch(train_, batcher_.batch(first + i), pad_to, micro_batches_[i]);
  const Bert& model = *classifier_.model;
  return trainer_.step(std::span(micro_batches_).first(count), [&](Forward& forward, const Batch& batch,
                                                                   const TokenBatch& tokens) {
    const Variable logits = model.logits(forward, tokens);
    const auto rows = static_cast<std::int64_t>(batch.sequences());
    const Scope scope(forward.tape(), "loss",
                      {.exit = static_cast<std::int32_t>(model.config().layers()), .loss = "hard"});
    if (!task_.regression) return cross_entropy(logits, Tensor::from(std::span(batch.labels), {rows}));
    const Tensor scores = Tensor::from(std::span(batch.scores), {rows, 1});
    return mean_squared_error(logits, scores.to(logits.dtype()));
  });
}

void Run::evaluate_now() {
  trainer_.settle();
  const Evaluation e =
      evaluate(*classifier_.model, task_, dev_, {.batch = static_cast<std::size_t>(s_.batch)});
  if (!std::isfinite(e.loss)) {
    fail("step {}: the loss on dev is {}; training has diverged, a smaller --lr may help", trainer_.steps(),
         e.loss);
  }
  const double score = e.score();
  // A metric may be nan (the correlation of a constant): anything is better than that.
  const double before = result_.best.metrics.empty() ? kNan : result_.best.score();
  const bool best = std::isnan(before) || score > before;
  Json line{{"step", trainer_.steps()}, {"dev", Json::object()}};
  for (const auto& [name, value] : e.metrics) line["dev"][name] = value;
  line["dev"]["loss"] = e.loss;
  folder_.log(line);
  if (best) {
    result_.best = e;
    result_.best_step = trainer_.steps();
    const SaveDType dtype = s_.save_dtype == "f16" ? SaveDType::f16 : SaveDType::f32;
    folder_.save_model(
        "best", [&](const std::string& to) { save_bert(to, *classifier_.model, classifier_.folder, dtype); });
  }
  if (events_.evaluated) events_.evaluated(trainer_.steps(), e, best);
}

void Run::save_checkpoint() {
  Json metrics = Json::object();
  for (const auto& [name, value] : result_.best.metrics) metrics[name] = value;
  const Json state{{"step", trainer_.steps()},
                   {"best_step", result_.best_step},
                   {"best_loss", result_.best.loss},
                   {"best_metrics", metrics}};
  folder_.save_checkpoint(trainer_.steps(), state, static_cast<int>(s_.keep_checkpoints),
                          [&](const std::string& to) { trainer_.save(to); });
}

FinetuneResult Run::go() {
  const auto start = Clock::now();
  while (trainer_.steps() < total_) {
    const auto begin = Clock::now();
    const StepReport report = step();
    const double rate = static_cast<double>(report.tokens) / seconds_since(begin);
    folder_.log({{"step", trainer_.steps()},
                 {"loss", report.loss},
                 {"gradient_norm", report.gradient_norm},
                 {"clip_scale", report.clip_scale},
                 {"learning_rate", report.learning_rate},
                 {"tokens", report.tokens},
                 {"tokens_per_second", rate}});
    if (events_.step) events_.step({trainer_.steps(), total_, epoch_, report, rate});
    if (due(s_.eval_every)) evaluate_now();
    const bool stop = events_.stop != nullptr && events_.stop->load();
    if (stop || due(s_.checkpoint_every > 0 ? s_.checkpoint_every : s_.eval_every)) save_checkpoint();
    if (stop && trainer_.steps() < total_) {
      result_.steps = trainer_.steps();
      result_.seconds = seconds_since(start);
      return result_;
    }
  }
  trainer_.settle();
  const SaveDType dtype = s_.save_dtype == "f16" ? SaveDType::f16 : SaveDType::f32;
  folder_.save_model(
      "last", [&](const std::string& to) { save_bert(to, *classifier_.model, classifier_.folder, dtype); });
  result_.finished = true;
  result_.steps = trainer_.steps();
  result_.seconds = seconds_since(start);
  return result_;
}

}  // namespace

FinetuneResult finetune(const FinetuneSettings& settings, bool resume, const FinetuneEvents& events) {
  return Run(settings, resume, events).go();
}

Json environment() {
  const CpuInfo info = cpu_info();
  return {{"costeff", COSTEFF_VERSION}, {"processor", info.processor},       {"kernels", info.isa},
          {"blas", info.blas},          {"blas_kernels", info.blas_kernels}, {"threads", threads()},
          {"compiler", __VERSION__}};
}

}  // namespace costeff
