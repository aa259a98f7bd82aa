#include "costeff/methods/distillation.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "costeff/methods/importance.h"
#include "costeff/train/stage_data.h"
#include "tensor/error.h"
#include "tensor/file.h"
#include "tensor/philox.h"

namespace costeff {
namespace {

constexpr std::uint32_t kCalibration = 2, kRandomScores = 3;

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

Batch batch_of(const EncodedDataset& data, std::span<const std::int32_t> sequences) {
  Batch batch;
  fill_batch(data, sequences, std::nullopt, batch);
  return batch;
}

// Scores drawn at random: what importance is compared with.
ImportanceScores random_scores(const BertConfig& config, std::uint64_t seed, std::int64_t round) {
  const auto low = static_cast<std::uint32_t>(seed), high = static_cast<std::uint32_t>(seed >> 32);
  std::uint32_t next = 0;
  const auto draw_layer = [&](std::int64_t width) {
    std::vector<double> scores;
    for (std::int64_t i = 0; i < width; ++i) {
      scores.push_back(
          philox4x32({next++, static_cast<std::uint32_t>(round), kRandomScores, 0}, {low, high})[0]);
    }
    return scores;
  };
  ImportanceScores scores;
  for (const std::int64_t width : config.heads) scores.heads.push_back(draw_layer(width));
  for (const std::int64_t width : config.ffn) scores.neurons.push_back(draw_layer(width));
  return scores;
}

MultiExitOutputs last_exit_of(const MultiExitOutputs& all) {
  return {all.last(), {all.logits.back()}, all.hidden};
}

ImportanceScores scores_for_round(const Settings& s, std::int64_t round, const Bert& student,
                                  const Teacher& teacher, const EncodedDataset& train) {
  if (s.importance == ImportanceKind::random) return random_scores(student.config(), s.seed, round);
  const bool release = s.importance == ImportanceKind::release;
  const bool last = s.importance == ImportanceKind::last_exit || s.exit_losses == ExitLosses::last;
  const auto purpose = static_cast<std::uint32_t>(kCalibration + (round << 8));
  const auto sample = draw(static_cast<std::size_t>(s.calibration), train.size(), s.seed, purpose);
  Importance importance(student, release ? UnitSum::release : UnitSum::paper);
  const auto batch = static_cast<std::size_t>(s.batch);
  for (std::size_t begin = 0; begin < sample.size(); begin += batch) {
    const auto rows = std::span(sample).subspan(begin, std::min(batch, sample.size() - begin));
    importance.add(batch_of(train, rows), [&](Forward& forward, const Batch& b, const TokenBatch& tokens) {
      const MultiExitOutputs all = multi_exit(student, forward, tokens, !s.no_equalise);
      return importance_loss(last ? last_exit_of(all) : all, teacher(b, tokens), b, tokens.layout,
                             s.temperature, s.importance_hard,
                             release ? FeatureMean::padded : FeatureMean::real_tokens);
    });
  }
  return importance.scores();
}

// How often each word piece occurs in the training data, and a little for those that do not.
std::vector<double> piece_weights(const EncodedDataset& train, std::int64_t vocabulary) {
  constexpr double kUnseen = 0.1;
  std::vector<double> weights(static_cast<std::size_t>(vocabulary), kUnseen);
  for (const std::int32_t id : train.ids) weights[static_cast<std::size_t>(id)] += 1;
  return weights;
}

}  // namespace

Classifier load_student(Stage stage, const Settings& s, const Task& task, const EncodedDataset& sample,
                        LoadReport* report, DType dtype) {
  LoadOptions options{.dtype = dtype, .labels = class_names(task), .seed = s.seed};
  if (stage == Stage::finetune) {
    options.own_exits = false;
    return load_classifier(s.model, options, report);
  }
  const std::string folder = resolve_model(s.model);
  const BertConfig stored = BertConfig::read(folder + "/config.json");
  const bool has_exits = stored.exits.has_value();
  if (stage == Stage::recover && !has_exits)
    fail("{}: the model has no exits; recovery trains a multi-exit model", folder);
  if (stage == Stage::assist || !has_exits) {
    if (s.exit_start > stored.layers())
      fail_setting(&Settings::exit_start, s, "the model has {} layers", stored.layers());
    options.own_exits = false;
    ExitConfig exits{.first = s.exit_start,
                     .mode = s.hidden_mode,
                     .last_hidden = s.last_n_hidden,
                     .dense = s.pooler_dense};
    if (s.pooling == PoolingChoice::automatic) {
      const Classifier backbone = load_classifier(s.model, {.labels = options.labels, .own_exits = false});
      exits.pooling = choose_pooling(*backbone.model, sample, s.exit_start);
    } else {
      exits.pooling = s.pooling == PoolingChoice::mean ? Pooling::mean : Pooling::cls;
    }
    options.exits = exits;
  }
  return load_classifier(s.model, options, report);
}

std::unique_ptr<Teacher> load_teacher(const Settings& s, const Task& task, const Classifier& student) {
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
  if (stored.layers() != config.layers() || stored.hidden_size != config.hidden_size) {
    fail("the teacher {} has {} layers of {} units, the student {} of {}", folder, stored.layers(),
         stored.hidden_size, config.layers(), config.hidden_size);
  }
  teacher->to(student.model->device());
  teacher->set_precision(student.model->precision());
  return std::make_unique<Teacher>(std::move(teacher));
}

Pooling choose_pooling(const Bert& model, const EncodedDataset& sample, std::int64_t first_exit) {
  constexpr std::size_t kSentences = 64;
  constexpr double kTelling = 0.1;
  std::vector<std::int32_t> rows(std::min(kSentences, sample.size()));
  std::iota(rows.begin(), rows.end(), 0);
  const TokenBatch tokens = token_batch(batch_of(sample, rows));
  Forward forward;
  Variable state = model.embed(forward, tokens);
  for (std::int64_t k = 1; k <= first_exit; ++k) state = model.layer(forward, k, state, tokens.layout);
  const double cls = deviation(first_rows(state, tokens.layout).value());
  const double mean = deviation(sequence_mean(state, tokens.layout).value());
  return cls >= kTelling * mean ? Pooling::cls : Pooling::mean;
}

void freeze_for(const Phase& phase, bool features_alone, Bert& model) {
  const auto is_exit = [](std::string_view name) {
    return name.starts_with("classifier.") || name.starts_with("bert.pooler.") ||
           name.starts_with("bert.encoder.highway.");
  };
  model.parameters().freeze([&](std::string_view name) {
    const bool last = is_exit(name) && !name.starts_with("bert.encoder.highway.");
    if (features_alone) return is_exit(name);
    switch (phase.trains) {
      case Phase::Trains::all:
        return false;
      case Phase::Trains::last_exit:
        return is_exit(name) && !last;
      case Phase::Trains::other_exits:
        return last || !is_exit(name);
    }
    return false;
  });
}

Variable step_loss(const Settings& s, const Phase& phase, bool features_alone, const Bert& student,
                   const Teacher* teacher, Forward& forward, const Batch& batch, const TokenBatch& tokens) {
  if (teacher == nullptr) {  // fine-tuning: one exit, and no row is computed that its logits do not read
    return hard_loss({student.config().layers(), {student.logits(forward, tokens)}, {}}, batch);
  }
  const TeacherOutputs target = (*teacher)(batch, tokens);
  const MultiExitOutputs all = multi_exit(student, forward, tokens, !s.no_equalise);
  if (features_alone) return feature_loss(all, target, tokens.layout);
  MultiExitOutputs trained = all;
  if (phase.trains == Phase::Trains::last_exit) trained = last_exit_of(all);
  if (phase.trains == Phase::Trains::other_exits) trained.logits.pop_back();
  Variable loss;
  if (s.prediction != Prediction::none) {
    const double hard = s.prediction == Prediction::both ? 0.5 : s.prediction == Prediction::hard ? 1 : 0;
    loss = assistant_loss(trained, target, batch, s.temperature, hard);
  }
  if (!phase.features) return loss;
  const Variable features = feature_loss(all, target, tokens.layout);
  return loss.value().defined() ? add(loss, features) : features;
}

std::unique_ptr<Bert> slenderise(const Settings& s, std::int64_t round, std::int64_t rounds,
                                 const SlenderSizes& full, const Bert& student, const Teacher& teacher,
                                 const EncodedDataset& train) {
  const SlenderSizes goal{s.heads, s.ffn, s.rank};
  const SlenderSizes sizes = sizes_after(round, rounds, full, goal);
  const ImportanceScores scores = scores_for_round(s, round, student, teacher, train);
  const Kept kept = s.budget == Budget::global ? keep_globally(scores, sizes.heads, sizes.ffn)
                                               : keep_per_layer(scores, sizes.heads, sizes.ffn);
  std::unique_ptr<Bert> slender = prune(student, kept);
  if (sizes.rank < 0) return slender;
  std::vector<double> weights;
  if (s.embedding == EmbeddingKind::weighted) weights = piece_weights(train, student.config().vocab_size);
  return factorise(*slender, sizes.rank, weights);
}

}  // namespace costeff
