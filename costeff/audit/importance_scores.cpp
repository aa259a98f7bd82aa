#include "costeff/audit/importance_scores.h"

#include <algorithm>

#include "tensor/error.h"

namespace costeff::audit {
namespace {

// The loss of a batch, in the terms that sources are made of.
struct Terms {
  std::int64_t first = 1;             // the exit of the first of each list
  std::vector<Variable> predictions;  // empty without a teacher
  std::vector<Variable> labels;
  std::vector<Variable> features;  // one sum over layers, or none
};

Terms record_terms(const Subject& subject, Forward& forward, const Batch& batch, bool equalise) {
  const TokenBatch tokens = token_batch(batch);
  const MultiExitOutputs all = multi_exit(*subject.student.model, forward, tokens, equalise);
  Terms terms{.first = all.first};
  for (std::int64_t i = all.first; i <= all.last(); ++i)
    terms.labels.push_back(hard_loss({i, {all.exit(i)}, all.hidden}, batch));
  if (subject.teacher == nullptr) return terms;
  const TeacherOutputs target = (*subject.teacher)(batch, tokens);
  const double temperature = subject.training.temperature;
  for (std::int64_t i = all.first; i <= all.last(); ++i) {
    terms.predictions.push_back(prediction_loss({i, {all.exit(i)}, all.hidden}, target, temperature));
  }
  if (!subject.training.no_features) terms.features.push_back(feature_loss(all, target, tokens.layout));
  return terms;
}

std::vector<Root> roots_of(const Source& source, const Terms& terms, const std::string& exits_loss) {
  const std::vector<Variable>& exits = exits_loss == "labels" ? terms.labels : terms.predictions;
  std::vector<Root> roots;
  const auto take = [&](const std::vector<Variable>& of) {
    for (const Variable& term : of) roots.push_back({term, {}});
  };
  if (source.exit > 0) roots.push_back({exits[static_cast<std::size_t>(source.exit - terms.first)], {}});
  if (source.name == "predictions" || source.name == "all") take(terms.predictions);
  if (source.name == "labels") take(terms.labels);
  if (source.name == "features" || source.name == "all") take(terms.features);
  return roots;
}

}  // namespace

std::string exits_loss(const Subject& subject, std::string_view asked) {
  const bool taught = subject.teacher != nullptr;
  if (asked == "auto") return taught ? "predictions" : "labels";
  if (asked == "labels") return "labels";
  if (asked != "predictions") fail_usage("loss {}: must be predictions or labels", asked);
  if (!taught)
    fail_usage("loss predictions needs {}, whose predictions the exits learn from",
               flag_of(&Settings::teacher));
  return "predictions";
}

std::vector<Source> loss_sources(const Subject& subject, const std::string& exits_loss) {
  const BertConfig& config = subject.student.model->config();
  std::vector<Source> sources = {{exits_loss, 0}};
  const std::int64_t last = config.layers();
  for (std::int64_t i = config.first_exit(); i <= last && config.first_exit() < last; ++i)
    sources.push_back({fmt::format("exit {}", i), i});
  if (subject.teacher == nullptr) return sources;
  sources.push_back({exits_loss == "labels" ? "predictions" : "labels", 0});
  if (subject.training.no_features) return sources;
  sources.push_back({"features", 0});
  sources.push_back({"all", 0});
  return sources;
}

std::vector<SourceScores> score_sources(const Subject& subject, const std::vector<Source>& sources,
                                        const std::string& exits_loss, bool equalise, const Watch& watch) {
  const Bert& model = *subject.student.model;
  const ImportanceScores zero = zero_scores(model.config());
  std::vector<SourceScores> scores;
  scores.reserve(sources.size());
  for (const Source& source : sources) scores.push_back({source, zero, zero, zero});
  const auto total = static_cast<double>(subject.data.size());
  std::int64_t done = 0;
  for (const Batch& batch : subject.batches) {
    Tape tape;
    Forward forward(tape);
    const Terms terms = record_terms(subject, forward, batch, equalise);
    const double share = static_cast<double>(batch.sequences()) / total;
    for (SourceScores& s : scores) {
      const Gradients gradients = tape.backward(roots_of(s.source, terms, exits_loss));
      const auto of = [&](Parameter& p) { return gradients.of(tape.parameter(p)); };
      add_unit_sums(model, UnitSum::paper, share, of, s.paper);
      add_unit_sums(model, UnitSum::release, 1, of, s.release);
      add_unit_sums(model, UnitSum::gate, share, of, s.gate);
      watch(++done, static_cast<std::int64_t>(subject.batches.size() * sources.size()));
    }
  }
  return scores;
}

}  // namespace costeff::audit
