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
Variable over_exits(const MultiExitOutputs& student, std::string_view loss, F&& term) {
  Variable total;
  for (std::int64_t i = student.first; i <= student.last(); ++i) {
    const Variable& logits = student.exit(i);
    const Scope scope(logits.tape(), "loss", {.exit = static_cast<std::int32_t>(i), .loss = loss});
    include(total, term(i, logits));
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
                           const Tensor& weights) {
  if (student.hidden.size() != teacher.hidden.size()) {
    fail("feature distillation: the student has {} layers, the teacher {}", student.hidden.size() - 1,
         teacher.hidden.size() - 1);
  }
  Variable total;
  for (std::size_t i = 0; i < student.hidden.size(); ++i) {
    const Variable& h = student.hidden[i];
    const Scope scope(h.tape(), "loss", {.layer = static_cast<std::int32_t>(i), .loss = "features"});
    include(total, weighted_squared_error(h, Variable(teacher.hidden[i]), weights));
  }
  return total;
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

Variable hard_loss(const MultiExitOutputs& student, const Batch& batch) {
  const auto rows = static_cast<std::int64_t>(batch.sequences());
  const Variable& any = student.logits.front();
  if (any.shape()[1] == 1) {
    const Tensor scores =
        Tensor::from(std::span(batch.scores), {rows, 1}).to(any.dtype()).to(any.value().device());
    return over_exits(student, "hard",
                      [&](std::int64_t, const Variable& z) { return mean_squared_error(z, scores); });
  }
  const Tensor labels = Tensor::from(std::span(batch.labels), {rows});
  return over_exits(student, "hard",
                    [&](std::int64_t, const Variable& z) { return cross_entropy(z, labels); });
}

Variable prediction_loss(const MultiExitOutputs& student, const TeacherOutputs& teacher, double temperature) {
  return over_exits(student, "soft", [&](std::int64_t i, const Variable& z) {
    const Tensor& target = teacher.exit(i);
    return z.shape()[1] == 1 ? mean_squared_error(z, Variable(target))
                             : soft_cross_entropy(z, target, temperature);
  });
}

Variable feature_loss(const MultiExitOutputs& student, const TeacherOutputs& teacher,
                      const LayoutPtr& layout) {
  const Variable& any = student.hidden.front();
  const auto per_sequence = static_cast<double>(any.shape()[1] * layout->sequences());
  return weighted_features(student, teacher, row_weights(*layout, any.value(), [&](std::int64_t s) {
                             return per_sequence * static_cast<double>(layout->length(s));
                           }));
}

Variable padded_feature_loss(const MultiExitOutputs& student, const TeacherOutputs& teacher,
                             const LayoutPtr& layout) {
  const Variable& any = student.hidden.front();
  std::int64_t longest = 0;
  for (std::int64_t s = 0; s < layout->sequences(); ++s) longest = std::max(longest, layout->length(s));
  const auto entries = static_cast<double>(any.shape()[1] * layout->sequences() * longest);
  return weighted_features(student, teacher,
                           row_weights(*layout, any.value(), [&](std::int64_t) { return entries; }));
}

Variable assistant_loss(const MultiExitOutputs& student, const TeacherOutputs& teacher, const Batch& batch,
                        double temperature, double hard) {
  if (hard == 1) return hard_loss(student, batch);
  const Variable soft = prediction_loss(student, teacher, temperature);
  return hard == 0 ? soft : add(scale(soft, 1 - hard), scale(hard_loss(student, batch), hard));
}

Variable importance_loss(const MultiExitOutputs& student, const TeacherOutputs& teacher, const Batch& batch,
                         const LayoutPtr& layout, double temperature, double hard, FeatureMean features) {
  return add(assistant_loss(student, teacher, batch, temperature, hard),
             features == FeatureMean::padded ? padded_feature_loss(student, teacher, layout)
                                             : feature_loss(student, teacher, layout));
}

}  // namespace costeff
