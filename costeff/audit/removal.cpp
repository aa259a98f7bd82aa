#include "costeff/audit/removal.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

#include "tensor/error.h"

namespace costeff::audit {
namespace {

// Columns of a matrix that are zero while this lives.
class ZeroedColumns {
 public:
  // Column place * width and the width - 1 after it, for each place.
  ZeroedColumns(Tensor matrix, std::span<const std::int64_t> places, std::int64_t width)
      : matrix_(std::move(matrix)), before_(matrix_.clone()) {
    dispatch(matrix_.dtype(), [&](auto element) {
      auto* row = matrix_.host<decltype(element)>();
      for (std::int64_t r = 0; r < matrix_.shape()[0]; ++r, row += matrix_.shape().cols()) {
        for (const std::int64_t place : places) std::fill_n(row + place * width, width, 0);
      }
    });
  }
  ~ZeroedColumns() { matrix_.copy_from(before_); }
  ZeroedColumns(const ZeroedColumns&) = delete;
  ZeroedColumns& operator=(const ZeroedColumns&) = delete;

 private:
  Tensor matrix_;
  Tensor before_;
};

}  // namespace

double SampleLoss::total() const {
  return std::accumulate(exits.begin(), exits.end(), 0.0);
}

RemovalSweep::RemovalSweep(const Subject& subject, std::string loss)
    : subject_(subject), model_(*subject.student.model), loss_(std::move(loss)) {
  const std::int64_t first = model_.config().first_exit(), layers = model_.config().layers();
  loss_of_all_.exits.assign(static_cast<std::size_t>(layers - first + 1), 0.0);
  const bool features = subject.teacher != nullptr && !subject.training.no_features;
  if (features) features_.assign(static_cast<std::size_t>(layers + 1), 0.0);
  std::chrono::duration<double> spent{0};
  for (const Batch& batch : subject.batches) {
    const TokenBatch tokens = token_batch(batch);
    BatchStates part{.batch = &batch, .layout = tokens.layout};
    if (subject.teacher != nullptr) part.target = (*subject.teacher)(batch, tokens);
    if (!features) part.target.hidden.clear();
    for (Tensor& logits : part.target.logits) logits = logits.to(DType::f64);
    const auto begin = std::chrono::steady_clock::now();
    Forward forward;
    part.hidden.push_back(model_.embed(forward, tokens));
    for (std::int64_t k = 1; k <= layers; ++k)
      part.hidden.push_back(model_.layer(forward, k, part.hidden.back(), part.layout));
    add_losses(part, part.hidden, 0, loss_of_all_.exits, features_);
    spent += std::chrono::steady_clock::now() - begin;
    parts_.push_back(std::move(part));
  }
  loss_of_all_.features = std::accumulate(features_.begin(), features_.end(), 0.0);
  seconds_per_layer_ = spent.count() / static_cast<double>(layers);
}

void RemovalSweep::add_losses(const BatchStates& part, std::span<const Variable> hidden, std::int64_t from,
                              std::vector<double>& exits, std::vector<double>& features) const {
  const double share =
      static_cast<double>(part.batch->sequences()) / static_cast<double>(subject_.data.size());
  const std::int64_t first = model_.config().first_exit();
  Forward forward;
  for (std::int64_t i = from; i <= model_.config().layers(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (!features.empty()) {
      const MultiExitOutputs state{i, {}, {Variable(hidden[at].value().to(DType::f64))}};
      const TeacherOutputs target{.hidden = {part.target.hidden[at].to(DType::f64)}};
      features[at] += share * feature_loss(state, target, part.layout).value().item();
    }
    if (i < first) continue;
    const Variable logits = model_.exit_logits(forward, i, hidden.first(at + 1), part.layout);
    const MultiExitOutputs exit{i, {Variable(logits.value().to(DType::f64))}, {}};
    const Variable loss = loss_ == "labels"
                              ? hard_loss(exit, *part.batch)
                              : prediction_loss(exit, part.target, subject_.training.temperature);
    exits[static_cast<std::size_t>(i - first)] += share * loss.value().item();
  }
}

SampleLoss RemovalSweep::change(Units units, std::int64_t k, std::span<const std::int64_t> places) const {
  const BertConfig& config = model_.config();
  const bool heads = units == Units::heads;
  const auto at = static_cast<std::size_t>(k - 1);
  const std::int64_t width = heads ? config.heads[at] : config.ffn[at];
  if (std::any_of(places.begin(), places.end(), [&](std::int64_t p) { return p < 0 || p >= width; }))
    fail("removal: layer {} has {} {}", k, width, heads ? "heads" : "neurons");
  const Part weight = heads ? Part::attention_output : Part::ffn_out;
  const ZeroedColumns removed(model_.parameters().find({.part = weight, .layer = k}).value(), places,
                              heads ? config.head_dim : 1);
  SampleLoss change{std::vector<double>(loss_of_all_.exits.size(), 0.0), 0};
  std::vector<double> features(features_.size(), 0.0);
  for (const BatchStates& part : parts_) {
    std::vector<Variable> hidden(part.hidden.begin(), part.hidden.begin() + k);
    Forward forward;
    for (std::int64_t j = k; j <= config.layers(); ++j)
      hidden.push_back(model_.layer(forward, j, hidden.back(), part.layout));
    add_losses(part, hidden, k, change.exits, features);
  }
  for (std::int64_t i = std::max(k, config.first_exit()); i <= config.layers(); ++i) {
    const auto exit = static_cast<std::size_t>(i - config.first_exit());
    change.exits[exit] -= loss_of_all_.exits[exit];
  }
  for (auto i = static_cast<std::size_t>(k); i < features.size(); ++i)
    change.features += features[i] - features_[i];
  return change;
}

std::size_t RemovalSweep::bytes() const {
  std::size_t bytes = 0;
  for (const BatchStates& part : parts_) {
    for (const Variable& h : part.hidden) bytes += h.value().bytes();
    for (const Tensor& h : part.target.hidden) bytes += h.bytes();
  }
  return bytes;
}

}  // namespace costeff::audit
