#include "costeff/audit/gradients.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "autograd/lanes.h"
#include "costeff/audit/moments.h"
#include "costeff/audit/products.h"
#include "costeff/exits/multi_exit.h"
#include "tensor/backend.h"
#include "tensor/error.h"

namespace costeff::audit {
namespace {

using Norms = std::array<double, 2>;  // by Variant

// y += alpha x
void add_scaled(double alpha, const Tensor& x, const Tensor& y) {
  dispatch(x.dtype(), [&](auto element) {
    using T = decltype(element);
    kernels<T>(x.device()).scale(x.numel(), static_cast<T>(alpha), x.data<T>(), T(1), y.data<T>());
  });
}

// The lanes of a walk: terms 0..R-1 and the whole loss, plain; then the same, equalised.
class LaneOrder {
 public:
  explicit LaneOrder(std::size_t roots) : roots_(roots) {}
  std::size_t of(Variant v, std::size_t root) const { return v * (roots_ + 1) + root; }
  std::size_t joint(Variant v) const { return of(v, roots_); }

 private:
  std::size_t roots_;
};

class GradientAuditor {
 public:
  GradientAuditor(const Bert& model, const AuditedLoss& loss, const GradientSettings& settings);
  void warm_up(const Batch& batch);
  void add(const Batch& batch);
  GradientAudit result() &&;

 private:
  // The whole loss alone, both ways.
  static std::array<Lane, 2> joint_lanes(const Variable& loss) {
    return {Lane{{loss, {}}, &kGradientRescale}, Lane{{loss, {}}}};
  }
  Variable record(Tape& tape, const Batch& batch) const;
  Norms norms(Tape& tape, const Variable& loss) const;
  void adopt(std::span<const LossRoot> found);
  void fold(const LaneGradients& g, const LaneOrder& order, const Norms& clip);
  void fold_updates(const LaneGradients& g, const LaneOrder& order, const Norms& clip, GroupSums& sums) const;
  Tensor fold_update(const LaneGradients& g, const LaneOrder& order, Variant v, double clip,
                     GroupSums::Sums& sums) const;
  GroupSums& group(const Parameter& p);
  Norms clip_of(const Norms& norm);

  const Bert& model_;
  const AuditedLoss& loss_;
  const GradientSettings& settings_;
  std::array<Moments, 2> moments_;
  std::map<Group, GroupSums> groups_;
  GradientAudit audit_;
};

GradientAuditor::GradientAuditor(const Bert& model, const AuditedLoss& loss, const GradientSettings& settings)
    : model_(model),
      loss_(loss),
      settings_(settings),
      moments_{Moments(model.parameters(), settings.adam), Moments(model.parameters(), settings.adam)} {
  audit_.layers = model.config().layers();
  audit_.dtype = model.parameters().dtype();
  audit_.learning_rate = settings.learning_rate;
  audit_.max_norm = settings.max_norm;
  audit_.adam = settings.adam;
  audit_.has_moments = {true, true};
  if (settings.checkpoint.empty()) return;
  moments_[settings.checkpoint_of].read(settings.checkpoint, settings.checkpoint_steps);
  audit_.has_moments[settings.checkpoint_of == plain ? equalised : plain] = false;
}

Variable GradientAuditor::record(Tape& tape, const Batch& batch) const {
  Forward forward(tape);
  return loss_(forward, batch, token_batch(batch));
}

Norms GradientAuditor::norms(Tape& tape, const Variable& loss) const {
  Norms squares = {};
  backward_lanes(tape, joint_lanes(loss), [&](const LaneGradients& g) {
    for (const Variant v : kVariants) {
      const Tensor x = g.values.slice(v, v + 1);
      squares[v] += dot(x, x);
    }
  });
  return {std::sqrt(squares[plain]), std::sqrt(squares[equalised])};
}

Norms GradientAuditor::clip_of(const Norms& norm) {
  Norms clip = {};
  for (const Variant v : kVariants) {
    clip[v] = clip_scale(norm[v], settings_.max_norm);
    audit_.least_clip[v] = std::min(audit_.least_clip[v], clip[v]);
    audit_.most_clip[v] = std::max(audit_.most_clip[v], clip[v]);
  }
  return clip;
}

void GradientAuditor::warm_up(const Batch& batch) {
  Tape tape;
  const Variable loss = record(tape, batch);
  const Norms clip = clip_of(norms(tape, loss));
  for (Moments& m : moments_) m.begin();
  backward_lanes(tape, joint_lanes(loss), [&](const LaneGradients& g) {
    for (const Variant v : kVariants) {
      if (g.reached[v] != 0) moments_[v].add(g, v, clip[v]);
    }
  });
}

// The terms of the first batch's loss; every other batch must have the same.
void GradientAuditor::adopt(std::span<const LossRoot> found) {
  std::vector<AuditedRoot> roots;
  roots.reserve(found.size());
  for (const LossRoot& root : found) roots.push_back({root.name(), root.kind, root.place, root.coefficient});
  if (audit_.roots.empty()) {
    audit_.roots = std::move(roots);
    return;
  }
  const bool same = std::equal(roots.begin(), roots.end(), audit_.roots.begin(), audit_.roots.end(),
                               [](const AuditedRoot& a, const AuditedRoot& b) {
                                 return a.name == b.name && a.coefficient == b.coefficient;
                               });
  if (!same) fail("audit: the loss of one batch has other terms than that of another");
}

void GradientAuditor::add(const Batch& batch) {
  Tape tape;
  const Variable loss = record(tape, batch);
  const std::vector<LossRoot> roots = loss_roots(tape, loss);
  adopt(roots);
  const Norms norm = norms(tape, loss);
  const Norms clip = clip_of(norm);
  for (const Variant v : kVariants) {
    audit_.norm[v] += norm[v] * norm[v];
    audit_.clip[v] += clip[v];
  }
  ++audit_.batches;
  std::vector<Lane> lanes = lanes_of(roots, loss, false);
  const std::vector<Lane> rescaled = lanes_of(roots, loss, true);
  lanes.insert(lanes.end(), rescaled.begin(), rescaled.end());
  const LaneOrder order(roots.size());
  backward_lanes(tape, lanes, [&](const LaneGradients& g) { fold(g, order, clip); });
}

GroupSums& GradientAuditor::group(const Parameter& p) {
  const Group id = group_of(model_.parameters().role(p));
  const auto [at, added] = groups_.try_emplace(id);
  GroupSums& sums = at->second;
  if (added) {
    const std::size_t roots = audit_.roots.size();
    sums.group = id;
    sums.crossed.assign(roots, 0.0);
    sums.gram.assign(roots * roots, 0.0);
    for (GroupSums::Sums& s : sums.of) {
      s.square.assign(roots, 0.0);
      s.joint_with.assign(roots, 0.0);
      s.update_with.assign(roots, 0.0);
    }
  }
  return sums;
}

void GradientAuditor::fold(const LaneGradients& g, const LaneOrder& order, const Norms& clip) {
  GroupSums& sums = group(g.parameter);
  const Tensor weights = g.weights();
  const double square = dot(weights, weights);
  sums.parameters += g.values.shape()[1];
  sums.weights += square;
  if (g.parameter.decays) sums.decayed += square;
  const std::size_t roots = audit_.roots.size();
  const auto lane = [&](std::size_t l) {
    return g.values.slice(static_cast<std::int64_t>(l), static_cast<std::int64_t>(l) + 1);
  };
  for (const Variant v : kVariants) {
    GroupSums::Sums& s = sums.of[v];
    const Tensor joint = lane(order.joint(v));
    const double joint_square = dot(joint, joint);
    s.joint += joint_square;
    s.clipped += clip[v] * clip[v] * joint_square;
    Tensor gap = Tensor::empty(joint.shape(), joint.dtype());
    gap.copy_from(joint);
    for (std::size_t j = 0; j < roots; ++j) {
      if (g.reached[order.of(v, j)] == 0) continue;
      const Tensor own = lane(order.of(v, j));
      s.square[j] += dot(own, own);
      s.joint_with[j] += dot(own, joint);
      if (v == equalised && g.reached[order.of(plain, j)] != 0)
        sums.crossed[j] += dot(own, lane(order.of(plain, j)));
      add_scaled(-1, own, gap);
    }
    s.gap += dot(gap, gap);
  }
  fold_updates(g, order, clip, sums);
  std::vector<std::size_t> here;  // plain lanes come first, so a lane is its root's number
  for (std::size_t j = 0; j < roots; ++j) {
    if (g.reached[order.of(plain, j)] == 0) continue;
    here.push_back(order.of(plain, j));
    if (sums.group.kind != Kind::exit) audit_.roots[j].reaches = true;
  }
  sums.batch_grams.resize(static_cast<std::size_t>(audit_.batches), std::vector<double>(roots * roots, 0.0));
  add_products(g.values, here, roots, sums.batch_grams.back());
}

void GradientAuditor::fold_updates(const LaneGradients& g, const LaneOrder& order, const Norms& clip,
                                   GroupSums& sums) const {
  std::array<Tensor, 2> updates;
  for (const Variant v : kVariants) {
    if (audit_.has_moments[v] && g.reached[order.joint(v)] != 0)
      updates[v] = fold_update(g, order, v, clip[v], sums.of[v]);
  }
  if (updates[plain].defined() && updates[equalised].defined())
    sums.updates_crossed += dot(updates[plain], updates[equalised]);
}

// Returns Adam's update.
Tensor GradientAuditor::fold_update(const LaneGradients& g, const LaneOrder& order, Variant v, double clip,
                                    GroupSums::Sums& sums) const {
  const Moments::Next next = moments_[v].next(g, order.joint(v), clip);
  const std::int64_t n = g.values.shape()[1];
  const double* history = next.history.host<const double>();
  const double* gain = next.gain.host<const double>();
  const double* damping = next.damping.host<const double>();
  Tensor update = Tensor::empty({n}, DType::f64);
  double* to = update.host<double>();
  dispatch(g.values.dtype(), [&](auto element) {
    using T = decltype(element);
    const T* values = g.values.host<T>();
    const T* joint = values + static_cast<std::int64_t>(order.joint(v)) * n;
    // <u_j, u> = sum_i g_j[i] (gain[i] u[i])
    const Tensor weighted = Tensor::empty({n}, g.values.dtype());
    T* w = weighted.host<T>();
    for (std::int64_t i = 0; i < n; ++i) {
      const double u = history[i] + gain[i] * static_cast<double>(joint[i]);
      to[i] = u;
      sums.update += u * u;
      sums.undamped += u * u / (damping[i] * damping[i]);
      sums.history_with += history[i] * u;
      w[i] = static_cast<T>(gain[i] * u);
    }
    for (std::size_t j = 0; j < sums.update_with.size(); ++j) {
      if (g.reached[order.of(v, j)] == 0) continue;
      double product = 0;
      kernels<T>(g.values.device())
          .dot(n, values + static_cast<std::int64_t>(order.of(v, j)) * n, w, &product);
      sums.update_with[j] += product;
    }
  });
  sums.near_epsilon += static_cast<double>(next.near_epsilon);
  sums.elements += static_cast<double>(n);
  return update;
}

GradientAudit GradientAuditor::result() && {
  for (const Variant v : kVariants) {
    audit_.norm[v] = std::sqrt(audit_.norm[v] / static_cast<double>(audit_.batches));
    audit_.clip[v] /= static_cast<double>(audit_.batches);
    audit_.steps[v] = moments_[v].steps();
  }
  audit_.groups.reserve(groups_.size());
  for (auto& [id, sums] : groups_) {
    const auto batches = static_cast<double>(audit_.batches);
    sums.parameters /= audit_.batches;
    sums.weights /= batches;
    sums.decayed /= batches;
    sums.batch_grams.resize(static_cast<std::size_t>(audit_.batches),
                            std::vector<double>(sums.gram.size(), 0.0));
    for (const std::vector<double>& gram : sums.batch_grams) {
      for (std::size_t i = 0; i < gram.size(); ++i) sums.gram[i] += gram[i];
    }
    audit_.groups.push_back(std::move(sums));
  }
  return std::move(audit_);
}

}  // namespace

GradientAudit audit_gradients(const Bert& model, std::span<const Batch> batches, std::span<const Batch> warm,
                              const AuditedLoss& loss, const GradientSettings& settings) {
  if (batches.empty()) fail("audit: no batch was given");
  GradientAuditor auditor(model, loss, settings);
  const auto total = static_cast<std::int64_t>(batches.size() + warm.size());
  std::int64_t done = 0;
  const auto next = [&] {
    if (settings.stop != nullptr && settings.stop->load()) fail("audit: interrupted");
    if (settings.progress) settings.progress(done, total);
    ++done;
  };
  for (const Batch& batch : warm) {
    next();
    auditor.warm_up(batch);
  }
  for (const Batch& batch : batches) {
    next();
    auditor.add(batch);
  }
  if (settings.progress) settings.progress(total, total);
  return std::move(auditor).result();
}

}  // namespace costeff::audit
