#include "costeff/train/results.h"

#include <filesystem>

#include "costeff/exits/classifier.h"
#include "costeff/exits/cost.h"
#include "costeff/exits/early_exit.h"
#include "costeff/train/stage_data.h"
#include "tensor/backend.h"
#include "tensor/json_file.h"

namespace costeff {
namespace {

namespace fs = std::filesystem;

constexpr double kOtherAnswers = 0.01;  // of held-out sentences, that early exit may give another class

struct Measured {
  Json json;
  double score = 0;
};

Json exits_json(const ExitsEvaluation& all) {
  Json list = Json::array();
  for (std::size_t i = 0; i < all.exits.size(); ++i) {
    Json exit{{"exit", all.first + static_cast<std::int64_t>(i)}};
    for (const auto& [name, value] : all.exits[i].metrics) exit[name] = value;
    exit["loss"] = all.exits[i].loss;
    list.push_back(std::move(exit));
  }
  return list;
}

class Results {
 public:
  explicit Results(const PipelineSettings& p)
      : p_(p),
        pass_{.precision = p[Stage::finetune].precision},
        task_(task_of(p[Stage::finetune])),
        teacher_folder_(folder(Stage::finetune)) {
    const Tokenizer tokenizer = Tokenizer::from_folder(teacher_folder_);
    data_ = load_data(p[Stage::finetune], task_, tokenizer,
                      BertConfig::read(teacher_folder_ + "/config.json"), [](const std::string&) {});
    lengths_ = sequence_lengths(data_.dev);
  }

  Json measure() {
    const Classifier teacher = load(teacher_folder_);
    Measured fine_tuned = full_depth("fine-tuned", teacher_folder_, *teacher.model);
    reference_flops_ = mean_flops(teacher.model->config(), lengths_).total();
    reference_score_ = fine_tuned.score;
    Json models = Json::array({share(fine_tuned)});
    if (!p_.no_assistant) {
      const std::string assistant = folder(Stage::assist);
      models.push_back(share(full_depth("assistant", assistant, *load(assistant).model)));
    }
    const std::string slender_folder = folder(Stage::recover);
    const Classifier slender = load(slender_folder);
    models.push_back(share(full_depth("COST-EFF, full depth", slender_folder, *slender.model)));
    Json results{{"task", task_.name}, {"metric", metric_name_}};
    if (!task_.regression) {
      const ExitLogits logits = predict_exits(*slender.model, data_.dev, pass_);
      if (data_.held_out.size() > 0) {
        const double threshold =
            consistent_threshold(predict_exits(*slender.model, data_.held_out, pass_), kOtherAnswers);
        models.push_back(early("COST-EFF, early exit", slender_folder, *slender.model, logits, threshold));
      }
      results["sweep"] = sweep(slender.model->config(), logits);
    }
    results["models"] = std::move(models);
    results["stages"] = stages();
    return results;
  }

 private:
  std::string folder(Stage stage) const { return kept_model(p_, stage); }
  Classifier load(const std::string& path) const {
    Classifier c = load_classifier(path, {.labels = class_names(task_)});
    c.model->to(device_named(p_[Stage::finetune].device));
    return c;
  }

  Measured full_depth(const char* name, const std::string& path, const Bert& model) {
    const BertConfig& config = model.config();
    const Evaluation timed = evaluate(model, task_, data_.dev, pass_);
    const ExitsEvaluation all = config.first_exit() < config.layers()
                                    ? evaluate_exits(model, task_, data_.dev, pass_)
                                    : ExitsEvaluation{.first = config.layers(), .exits = {timed}};
    metric_name_ = timed.metrics.back().first;
    Json json{{"name", name},
              {"folder", fs::relative(path, p_.out).string()},
              {"parameters", count_parameters(config).total()},
              {"flops", mean_flops(config, lengths_).total()},
              {"flops_padded", forward_flops(config, kPaddedLength).total()},
              {"score", timed.score()},
              {"sequences_per_second", timed.sequences_per_second()},
              {"average_exit", static_cast<double>(config.layers())},
              {"threshold", nullptr},
              {"exits", exits_json(all)}};
    return {std::move(json), timed.score()};
  }

  // None where the fine-tuned model scores 0, or nothing that is a number (the correlation of a constant).
  Json share_of(double score) const { return reference_score_ > 0 ? Json(score / reference_score_) : Json(); }

  Json share(Measured measured) const {
    measured.json["share"] = share_of(measured.score);
    return std::move(measured.json);
  }

  // What early exit at a threshold costs and scores on dev.
  Json operating_point(const BertConfig& config, const ExitLogits& logits, double threshold) const {
    const ExitChoice choice = choose_exits(logits, threshold);
    const double flops = early_exit_flops(config, lengths_, choice.exits);
    return {{"threshold", threshold},
            {"score", evaluate_logits(choice.logits, task_, data_.dev).score()},
            {"average_exit", average_exit(choice.exits)},
            {"flops", flops},
            {"flops_reduction", reference_flops_ / flops},
            {"exit_counts", count_exits(choice.exits, config.layers())}};
  }

  Json early(const char* name, const std::string& path, const Bert& model, const ExitLogits& logits,
             double threshold) const {
    const BertConfig& config = model.config();
    Json json{{"name", name},
              {"folder", fs::relative(path, p_.out).string()},
              {"parameters", count_parameters(config).total()}};
    json.update(operating_point(config, logits, threshold));
    const Flops padded = forward_flops(config, kPaddedLength);
    const auto counts = json["exit_counts"].get<std::vector<std::int64_t>>();
    json["flops_padded"] =
        early_exit_flops(padded, std::span(counts).subspan(static_cast<std::size_t>(padded.first - 1)));
    json["share"] = share_of(json["score"].get<double>());
    json["sequences_per_second"] =
        evaluate_early(model, task_, data_.dev, threshold, pass_).evaluation.sequences_per_second();
    return json;
  }

  Json sweep(const BertConfig& config, const ExitLogits& logits) const {
    Json points = Json::array();
    for (const double threshold : sweep_thresholds(logits))
      points.push_back(operating_point(config, logits, threshold));
    return points;
  }

  Json stages() const {
    Json list = Json::array();
    for (const Stage stage : kStages) {
      const std::string path = p_.out + "/" + std::string(name_of(stage)) + "/result.json";
      if (!fs::exists(path)) continue;
      Json entry{{"name", name_of(stage)}};
      entry.update(read_json<Json>(path));
      list.push_back(std::move(entry));
    }
    return list;
  }

  const PipelineSettings& p_;
  const EvaluateOptions pass_;
  Task task_;
  std::string teacher_folder_;
  StageData data_;
  std::vector<std::int64_t> lengths_;
  std::string metric_name_;
  double reference_flops_ = 0;
  double reference_score_ = 0;
};

}  // namespace

Json measure_results(const PipelineSettings& settings) {
  const std::int64_t threads = settings[Stage::finetune].threads;
  set_threads(static_cast<int>(threads > 0 ? threads : available_cores()));
  return Results(settings).measure();
}

}  // namespace costeff
