#include "costeff/audit/subject.h"

#include <algorithm>
#include <cmath>

#include "costeff/train/stage_data.h"
#include "tensor/error.h"

namespace costeff::audit {
namespace {

constexpr std::uint32_t kAuditSample = 4;
constexpr std::int64_t kMostBatches = 1'000'000'000, kMostSequences = 65536;

// Whether hidden states are distilled, too.
bool distils(const SubjectSettings& settings) {
  return settings.stage == "recover";
}

void check(const SubjectSettings& settings) {
  const Settings& s = settings.training;
  if (s.model.empty()) fail_setting(&Settings::model, s, "which model is audited?");
  if (s.data.empty())
    fail_setting(&Settings::data, s, "a file, or a folder with the task's files, is needed");
  check_task(s);
  if (distils(settings) && s.teacher.empty())
    fail_setting(&Settings::teacher, s,
                 "recovery distils its predictions and hidden states: which one is it?");
  if (s.teacher.empty() && s.prediction != Prediction::automatic)
    fail_setting(&Settings::prediction, s, "without {} exits learn from labels alone",
                 flag_of(&Settings::teacher));
  check_prediction(costeff_stage(settings.stage).uses, s);
  // Their product is a number of sentences.
  if (settings.batches < 1 || settings.batches > kMostBatches)
    fail_usage("batches {}: must be from 1 to {}", settings.batches, kMostBatches);
  if (s.batch < 1 || s.batch > kMostSequences)
    fail_setting(&Settings::batch, s, "must be from 1 to {} sentences", kMostSequences);
  if (settings.dtype != DType::f32 && settings.dtype != DType::f64)
    fail_usage("dtype {}: must be f32 or f64", name_of(settings.dtype));
}

// The model with its own exits, which must have been trained for this task; or with new ones.
Classifier load_audited(const Settings& s, const Task& task, DType dtype, const EncodedDataset& sample,
                        const std::function<void(const std::string& line)>& note) {
  const std::string folder = resolve_model(s.model);
  LoadReport report;
  if (!BertConfig::read(folder + "/config.json").exits) {
    note(fmt::format("{} has no exits: new ones, untrained, are put on it", folder));
    return load_student(costeff_stage("assist"), s, task, sample, &report, dtype);
  }
  Classifier classifier = load_classifier(s.model, {.dtype = dtype, .labels = class_names(task)}, &report);
  if (!report.initialised.empty()) {
    fail("{}: the model's classes are not those of the task; {} would have to be made anew", folder,
         report.initialised.front());
  }
  return classifier;
}

EncodedDataset load_sentences(const SubjectSettings& settings, const Task& task, const Tokenizer& tokenizer,
                              const std::function<void(const std::string& line)>& note) {
  const Settings& s = settings.training;
  const std::string file = split_file(task, s.data, split_named(settings.split));
  const Examples examples = load_examples(task, file);
  const EncodedDataset all = encode_dataset(tokenizer, examples.rows, static_cast<std::size_t>(s.max_length));
  const auto wanted = static_cast<std::size_t>(settings.batches * s.batch);
  EncodedDataset drawn = subset(all, draw(wanted, all.size(), s.seed, kAuditSample));
  const bool labelled =
      task.regression
          ? std::none_of(drawn.scores.begin(), drawn.scores.end(), [](double x) { return std::isnan(x); })
          : std::none_of(drawn.labels.begin(), drawn.labels.end(), [](std::int32_t x) { return x < 0; });
  if (!labelled) fail("{}: some sentences have no label", file);
  note(fmt::format("{} of {} sentences, {:.1f} tokens on average, from {}", drawn.size(), all.size(),
                   static_cast<double>(drawn.ids.size()) / static_cast<double>(drawn.size()), file));
  return drawn;
}

std::vector<Batch> cut(const EncodedDataset& data, std::int64_t size) {
  std::vector<Batch> batches;
  std::vector<std::int32_t> sequences;
  const auto count = static_cast<std::int64_t>(data.size());
  for (std::int64_t begin = 0; begin < count; begin += size) {
    sequences.clear();
    for (std::int64_t i = begin; i < std::min(begin + size, count); ++i)
      sequences.push_back(static_cast<std::int32_t>(i));
    fill_batch(data, sequences, std::nullopt, batches.emplace_back());
  }
  return batches;
}

}  // namespace

Variable Subject::loss(Forward& forward, const Batch& batch, const TokenBatch& tokens, bool equalise) const {
  Phase audited = phase;
  audited.equalise = equalise;
  return step_loss(audited, false, *student.model, teacher.get(), forward, batch, tokens);
}

Subject load_subject(const SubjectSettings& settings,
                     const std::function<void(const std::string& line)>& note) {
  check(settings);
  Settings s = settings.training;
  if (s.prediction == Prediction::automatic && !s.teacher.empty()) s.prediction = Prediction::soft;
  s = decided(costeff_stage(settings.stage), std::move(s));
  const std::string folder = resolve_model(s.model);
  check_positions(s, BertConfig::read(folder + "/config.json").max_position_embeddings);
  Task task = s.columns.empty() ? find_task(s.task) : custom_task(s.columns, s.labels);
  if (task.labels.empty() && !task.regression) task.labels = BertConfig::read(folder + "/config.json").labels;
  EncodedDataset data = load_sentences(settings, task, Tokenizer::from_folder(folder), note);
  Classifier student = load_audited(s, task, settings.dtype, data, note);
  std::unique_ptr<Teacher> teacher =
      s.teacher.empty() ? nullptr : load_teacher(s, task, student, distils(settings));
  Phase phase;
  phase.loss = teacher == nullptr ? std::vector{labels_term(1)} : prediction_terms(s, LossTerm::Exits::all);
  if (teacher != nullptr && distils(settings) && !s.no_features) phase.loss.push_back(states_term());
  std::vector<Batch> batches = cut(data, s.batch);
  return {std::move(s),       std::move(phase), std::move(task),   std::move(student),
          std::move(teacher), std::move(data),  std::move(batches)};
}

}  // namespace costeff::audit
