#include "costeff/train/student.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "costeff/train/stage_data.h"
#include "tensor/error.h"
#include "tensor/file.h"

namespace costeff {
namespace {

// The mean over units of the standard deviation over rows of x [rows, units].
double deviation(const Tensor& x) {
  const std::int64_t rows = x.shape()[0], units = x.shape()[1];
  double total = 0;
  for (std::int64_t u = 0; u < units; ++u) {
    double sum = 0, squares = 0;
    for (std::int64_t r = 0; r < rows; ++r) sum += x.at(r * units + u);
    const double mean = sum / static_cast<double>(rows);
    for (std::int64_t r = 0; r < rows; ++r) squares += std::pow(x.at(r * units + u) - mean, 2);
    total += std::sqrt(squares / static_cast<double>(rows));
  }
  return total / static_cast<double>(units);
}

// The exits that the settings ask for; their pooling, where it is to be chosen, is left at [CLS].
ExitConfig fresh_exits(const Settings& s) {
  ExitConfig exits{
      .first = s.exit_start, .mode = s.hidden_mode, .last_hidden = s.last_n_hidden, .dense = s.pooler_dense};
  if (s.pooling != PoolingChoice::automatic)
    exits.pooling = s.pooling == PoolingChoice::mean ? Pooling::mean : Pooling::cls;
  return exits;
}

}  // namespace

Classifier load_student(const StageSpec& stage, const Settings& s, const Task& task,
                        const EncodedDataset& sample, LoadReport* report, DType dtype) {
  LoadOptions options{.dtype = dtype, .labels = class_names(task), .seed = s.seed};
  const std::string folder = resolve_model(s.model);
  const BertConfig stored = BertConfig::read(folder + "/config.json");
  if (stage.exits == StudentExits::required && !stored.exits)
    fail("{}: the model has no exits; {} trains a multi-exit model", folder, stage.name);
  const bool fresh =
      stage.exits == StudentExits::fresh || (stage.exits == StudentExits::own && !stored.exits);
  options.own_exits = stage.exits != StudentExits::none && !fresh;
  if (fresh) {
    if (s.exit_start > stored.layers())
      fail_setting(&Settings::exit_start, s, "the model has {} layers", stored.layers());
    options.exits = fresh_exits(s);
    // The stored exits stay if they are the very ones that are asked for, which pooling decides, too.
    if (s.pooling == PoolingChoice::automatic && stored.exits) {
      const Classifier backbone = load_classifier(s.model, {.labels = options.labels, .own_exits = false});
      options.exits->pooling = choose_pooling(*backbone.model, sample, s.exit_start);
    }
  }
  Classifier student = load_classifier(s.model, options, report);
  student.model->config().exit_threshold.reset();  // of the model as it was
  if (!fresh) return student;
  if (s.pooling == PoolingChoice::automatic && !stored.exits)
    student.model->config().exits->pooling = choose_pooling(*student.model, sample, s.exit_start);
  if (stage.prepare) stage.prepare(s, *student.model);
  return student;
}

std::unique_ptr<Teacher> load_teacher(const Settings& s, const Task& task, const Classifier& student,
                                      bool hidden_states) {
  const std::string folder = resolve_model(s.teacher);
  const std::vector<std::string> names = class_names(task);
  const BertConfig stored = BertConfig::read(folder + "/config.json");
  if (stored.num_labels() != static_cast<std::int64_t>(names.size())) {
    fail("the teacher {} has {} classes, the task {}", folder, stored.num_labels(), names.size());
  }
  if (read_text(folder + "/vocab.txt") != read_text(student.folder + "/vocab.txt")) {
    fail("the teacher {} and the model {} have different vocabularies", folder, student.folder);
  }
  LoadReport report;
  const DType dtype = student.model->parameters().dtype();
  auto teacher = load_bert(folder, {.dtype = dtype, .labels = names}, &report);
  if (!report.initialised.empty()) {
    fail("the teacher {} lacks {}: it is not fine-tuned (costeff finetune makes a teacher)", folder,
         report.initialised.front());
  }
  const BertConfig& config = student.model->config();
  if (hidden_states && (stored.layers() != config.layers() || stored.hidden_size != config.hidden_size)) {
    fail("the teacher {} has {} layers of {} units, the student {} of {}: hidden states cannot be distilled",
         folder, stored.layers(), stored.hidden_size, config.layers(), config.hidden_size);
  }
  teacher->to(student.model->device());
  return std::make_unique<Teacher>(std::move(teacher), s.precision);
}

Pooling choose_pooling(const Bert& model, const EncodedDataset& sample, std::int64_t first_exit) {
  constexpr std::size_t kSentences = 64;
  constexpr double kTelling = 0.1;
  std::vector<std::int32_t> rows(std::min(kSentences, sample.size()));
  std::iota(rows.begin(), rows.end(), 0);
  Batch batch;
  fill_batch(sample, rows, std::nullopt, batch);
  const TokenBatch tokens = token_batch(batch);
  Forward forward;
  Variable state = model.embed(forward, tokens);
  for (std::int64_t k = 1; k <= first_exit; ++k) state = model.layer(forward, k, state, tokens.layout);
  const double cls = deviation(first_rows(state, tokens.layout).value());
  const double mean = deviation(sequence_mean(state, tokens.layout).value());
  return cls >= kTelling * mean ? Pooling::cls : Pooling::mean;
}

}  // namespace costeff
