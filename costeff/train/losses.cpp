#include "costeff/train/losses.h"

#include "tensor/error.h"

namespace costeff {
namespace {

// Adds to a sum that may not have begun.
void include(Variable& total, const Variable& term) {
  total = total.value().defined() ? add(total, term) : term;
}

// Calls term(i, z_i) for each exit and adds up, each under the exit's tags.
template <class F>
Variable over_exits(const MultiExitOutputs& student, const Symbol& loss, ExitWeights weights, F&& term) {
  const auto depths =
      static_cast<double>((student.first + student.last()) * (student.last() - student.first + 1)) / 2;
  Variable total;
  for (std::int64_t i = student.first; i <= student.last(); ++i) {
    const Variable& logits = student.exit(i);
    const Scope scope(logits.tape(), "loss", {.exit = static_cast<std::int32_t>(i), .loss = &loss});
    const Variable value = term(i, logits);
    include(total, weights == ExitWeights::equal ? value : scale(value, static_cast<double>(i) / depths));
  }
  return total;
}

// What a row of the batch counts in a feature loss: 1 / divisor(s) on the real rows of sequence s, 0 on
// padding; of the dtype and on the device of `like`.
template <class F>
Tensor row_weights(const Layout& layout, const Tensor& like, F&& divisor) {
  const Tensor weights = Tensor::zeros({layout.tokens()}, like.dtype());
  dispatch(like.dtype(), [&](auto element) {
    using T = decltype(element);
    T* w = weights.host<T>();
    for (std::int64_t s = 0; s < layout.sequences(); ++s) {
      const double share = 1 / divisor(s);
      for (std::int64_t t = 0; t < layout.length(s); ++t) w[layout.offset(s) + t] = static_cast<T>(share);
    }
  });
  return weights.to(like.device());
}

Variable weighted_features(const MultiExitOutputs& student, const TeacherOutputs& teacher,
                           const Tensor& weights, std::span<const std::int64_t> layer_map) {
  if (layer_map.empty() ? student.hidden.size() != teacher.hidden.size()
                        : student.hidden.size() != layer_map.size()) {
    fail("feature distillation: the student has {} layers, the teacher {}", student.hidden.size() - 1,
         teacher.hidden.size() - 1);
  }
  const auto taught_by = [&](std::size_t i) {
    return layer_map.empty() ? i : static_cast<std::size_t>(layer_map[i]);
  };
  Variable total;
  for (std::size_t i = 0; i < student.hidden.size(); ++i) {
    const Variable& h = student.hidden[i];
    const Scope scope(h.tape(), "loss", {.layer = static_cast<std::int32_t>(i), .loss = &kFeatureLoss});
    include(total, weighted_squared_error(h, Variable(teacher.hidden[taught_by(i)]), weights));
  }
  return total;
}

// The exits that a term reads.
MultiExitOutputs read_by(const LossTerm& term, const MultiExitOutputs& all) {
  if (term.exits == LossTerm::Exits::last) return {all.last(), {all.logits.back()}, all.hidden};
  MultiExitOutputs read = all;
  if (term.exits == LossTerm::Exits::early) read.logits.pop_back();
  return read;
}

Variable term_loss(const LossTerm& term, const MultiExitOutputs& student, const TeacherOutputs& teacher,
                   const Batch& batch, const LayoutPtr& layout) {
  switch (term.kind) {
    case LossTerm::Kind::labels:
      return hard_loss(read_by(term, student), batch, term.exit_weights);
    case LossTerm::Kind::teacher_logits:
      return prediction_loss(read_by(term, student), teacher, term.temperature, term.exit_weights);
    case LossTerm::Kind::hidden_states:
      return feature_loss(student, teacher, layout, term.mean, term.layer_map);
  }
  return {};
}

}  // namespace

const Tensor& TeacherOutputs::exit(std::int64_t i) const {
  return i < first ? logits.back() : logits[static_cast<std::size_t>(i - first)];
}

TeacherOutputs teach(const Bert& teacher, const TokenBatch& batch, Precision precision) {
  Forward forward(precision);
  const MultiExitOutputs out = multi_exit(teacher, forward, batch, false);
  TeacherOutputs values{.first = out.first};
  for (const Variable& z : out.logits) values.logits.push_back(z.value());
  for (const Variable& h : out.hidden) values.hidden.push_back(h.value());
  return values;
}

Variable hard_loss(const MultiExitOutputs& student, const Batch& batch, ExitWeights weights) {
  const auto rows = static_cast<std::int64_t>(batch.sequences());
  const Variable& any = student.logits.front();
  if (any.shape()[1] == 1) {
    const Tensor scores =
        Tensor::from(std::span(batch.scores), {rows, 1}).to(any.dtype()).to(any.value().device());
    return over_exits(student, kHardLoss, weights,
                      [&](std::int64_t, const Variable& z) { return mean_squared_error(z, scores); });
  }
  const Tensor labels = Tensor::from(std::span(batch.labels), {rows});
  return over_exits(student, kHardLoss, weights,
                    [&](std::int64_t, const Variable& z) { return cross_entropy(z, labels); });
}

Variable prediction_loss(const MultiExitOutputs& student, const TeacherOutputs& teacher, double temperature,
                         ExitWeights weights) {
  return over_exits(student, kSoftLoss, weights, [&](std::int64_t i, const Variable& z) {
    const Tensor& target = teacher.exit(i);
    return z.shape()[1] == 1 ? mean_squared_error(z, Variable(target))
                             : soft_cross_entropy(z, target, temperature);
  });
}

Variable feature_loss(const MultiExitOutputs& student, const TeacherOutputs& teacher, const LayoutPtr& layout,
                      FeatureMean mean, std::span<const std::int64_t> layer_map) {
  const Variable& any = student.hidden.front();
  std::int64_t longest = 0;
  for (std::int64_t s = 0; s < layout->sequences(); ++s) longest = std::max(longest, layout->length(s));
  const auto per_row = static_cast<double>(any.shape()[1] * layout->sequences());
  const Tensor weights = row_weights(*layout, any.value(), [&](std::int64_t s) {
    const std::int64_t rows = mean == FeatureMean::padded ? longest : layout->length(s);
    return per_row * static_cast<double>(rows);
  });
  return weighted_features(student, teacher, weights, layer_map);
}

LossTerm labels_term(double weight, LossTerm::Exits exits) {
  return {.kind = LossTerm::Kind::labels, .weight = weight, .exits = exits};
}
LossTerm logits_term(double weight, double temperature, LossTerm::Exits exits) {
  return {
      .kind = LossTerm::Kind::teacher_logits, .weight = weight, .exits = exits, .temperature = temperature};
}
LossTerm states_term(FeatureMean mean) {
  return {.kind = LossTerm::Kind::hidden_states, .mean = mean};
}

Variable sum_of_terms(std::span<const LossTerm> terms, const MultiExitOutputs& student,
                      const TeacherOutputs& teacher, const Batch& batch, const LayoutPtr& layout) {
  Variable total;
  for (const LossTerm& term : terms) {
    Variable loss = term_loss(term, student, teacher, batch, layout);
    if (term.weight != 1) loss = scale(loss, term.weight);
    total = total.value().defined() ? add(total, loss) : loss;
  }
  return total;
}

}  // namespace costeff
