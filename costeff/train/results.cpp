#include "costeff/train/results.h"

#include <filesystem>

#include "costeff/exits/cost.h"
#include "costeff/exits/early_exit.h"
#include "costeff/train/classifier.h"
#include "costeff/train/stage_setup.h"
#include "tensor/backend.h"
#include "tensor/error.h"
#include "tensor/file.h"

namespace costeff {
namespace {

namespace fs = std::filesystem;

// Of held-out sentences, that early exit may give another class. Chosen, untested; the rule is that of
// Schuster et al. (CALM, 2022).
constexpr double kOtherAnswers = 0.01;

class Measurement {
 public:
  Measurement(const PipelineSettings& p, std::shared_ptr<const StageData> data)
      : p_(p),
        pass_{.precision = p.stages.front().precision},
        task_(task_of(p.stages.front())),
        data_(std::move(data)) {
    if (data_ == nullptr) data_ = read_data();
    lengths_ = sequence_lengths(data_->dev);
  }

  Results run() {
    results_.method = p_.method->name;
    results_.task = task_.name;
    for (const StageSpec* stage : stages_of(p_)) {
      if (const auto record = read_stage_record(placed(p_, *stage).out, stage->name))
        results_.stages.push_back(*record);
      if (!stage->role) continue;
      const std::string folder = kept_model(p_, *stage);
      const Classifier c = load(folder);
      add_full_depth(*stage, folder, *c.model);
      if (*stage->role == ModelRole::full_depth && !task_.regression) add_early_exit(folder, *c.model);
    }
    return std::move(results_);
  }

 private:
  std::shared_ptr<const StageData> read_data() const {
    const std::string folder = kept_model(p_, p_.method->stages.front());
    return std::make_shared<const StageData>(
        load_data(p_.stages.front(), task_, Tokenizer::from_folder(folder),
                  BertConfig::read(folder + "/config.json"), [](const std::string&) {}));
  }

  Classifier load(const std::string& path) const {
    Classifier c = load_classifier(path, {.labels = class_names(task_)});
    c.model->to(device_named(p_.stages.front().device));
    return c;
  }

  // None where the fine-tuned model scores 0, or nothing that is a number (the correlation of a constant).
  std::optional<double> share_of(double score) const {
    const double reference = results_.models.front().score;
    return reference > 0 ? std::optional(score / reference) : std::nullopt;
  }

  void add_full_depth(const StageSpec& stage, const std::string& path, const Bert& model) {
    const BertConfig& config = model.config();
    const Evaluation timed = evaluate(model, task_, data_->dev, pass_);
    results_.metric = timed.metrics.back().first;
    results_.models.push_back({.role = *stage.role,
                               .name = stage.model_name,
                               .folder = fs::relative(path, p_.out).string(),
                               .parameters = count_parameters(config).total(),
                               .flops = mean_flops(config, lengths_).total(),
                               .flops_padded = forward_flops(config, kPaddedLength).total(),
                               .score = timed.score(),
                               .sequences_per_second = timed.sequences_per_second(),
                               .average_exit = static_cast<double>(config.layers()),
                               .exits = config.first_exit() < config.layers()
                                            ? evaluate_exits(model, task_, data_->dev, pass_)
                                            : ExitsEvaluation{.first = config.layers(), .exits = {timed}}});
    results_.models.back().share = share_of(timed.score());
  }

  void add_early_exit(const std::string& path, const Bert& model) {
    const ExitLogits logits = predict_exits(model, data_->dev, pass_);
    if (data_->held_out.size() > 0) {
      const double threshold =
          consistent_threshold(predict_exits(model, data_->held_out, pass_), kOtherAnswers);
      add_early_model(path, model, operating_point(model.config(), logits, threshold));
    }
    for (const double threshold : sweep_thresholds(logits))
      results_.sweep.push_back(operating_point(model.config(), logits, threshold));
  }

  // What early exit at a threshold costs and scores on dev.
  OperatingPoint operating_point(const BertConfig& config, const ExitLogits& logits, double threshold) const {
    const ExitChoice choice = choose_exits(logits, entropy_below(threshold));
    const double flops = early_exit_flops(config, lengths_, choice.exits);
    return {.threshold = threshold,
            .score = evaluate_logits(choice.logits, task_, data_->dev).score(),
            .average_exit = average_exit(choice.exits),
            .flops = flops,
            .flops_reduction = results_.models.front().flops / flops,
            .exit_counts = count_exits(choice.exits, config.layers())};
  }

  void add_early_model(const std::string& path, const Bert& model, const OperatingPoint& point) {
    const Flops padded = forward_flops(model.config(), kPaddedLength);
    const auto counts = std::span(point.exit_counts).subspan(static_cast<std::size_t>(padded.first - 1));
    const EarlyEvaluation timed =
        evaluate_early(model, task_, data_->dev, entropy_below(point.threshold), pass_);
    results_.models.push_back({.role = ModelRole::early_exit,
                               .name = p_.method->early_name,
                               .folder = fs::relative(path, p_.out).string(),
                               .parameters = count_parameters(model.config()).total(),
                               .flops = point.flops,
                               .flops_padded = early_exit_flops(padded, counts),
                               .score = point.score,
                               .share = share_of(point.score),
                               .sequences_per_second = timed.evaluation.sequences_per_second(),
                               .average_exit = point.average_exit,
                               .threshold = point.threshold,
                               .flops_reduction = point.flops_reduction,
                               .exit_counts = point.exit_counts});
  }

  const PipelineSettings& p_;
  const EvaluateOptions pass_;
  Task task_;
  std::shared_ptr<const StageData> data_;
  std::vector<std::int64_t> lengths_;
  Results results_;
};

}  // namespace

Results measure_results(const PipelineSettings& p, std::shared_ptr<const StageData> data) {
  const std::int64_t threads = p.stages.front().threads;
  set_threads(static_cast<int>(threads > 0 ? threads : available_cores()));
  return Measurement(p, std::move(data)).run();
}

void write_threshold(const PipelineSettings& p, const Results& results) {
  const ModelRecord* early = results.find(ModelRole::early_exit);
  if (early == nullptr) return;
  const std::string file = p.out + "/" + early->folder + "/config.json";
  BertConfig config = BertConfig::read(file);
  config.exit_threshold = early->threshold;
  write_atomically(file, config.to_json().dump(2) + "\n");
}

}  // namespace costeff
