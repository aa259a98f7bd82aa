// The audit of gradients against passes of their own and against faults that are planted in the loss.
#include <fmt/format.h>

#include <map>
#include <numeric>
#include <set>

#include "costeff/audit/gradient_view.h"
#include "costeff/audit/gradients.h"
#include "costeff/audit/identities.h"
#include "costeff/train/classifier.h"
#include "costeff/train/losses.h"
#include "tests/costeff/support.h"

namespace costeff::audit {
namespace {

using namespace costeff::testing;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int64_t kLayers = 12;

// A fault that somebody might make in the forward pass of a multi-exit model, at one layer.
enum class Planted {
  nothing,
  wrong_state,
  slightly_wrong,
  drifting,
  left_out,
  wrong_branch,
  tapped_exit,
  tapped_features,
  detached,
  clipped,
  poisoned,
  rescaled_embeddings
};

void clip_backward(const Record&, Backward& b) {
  const Slot dx = b.slot(0);
  if (!dx) return;
  double square = 0;
  for (std::int64_t i = 0; i < b.dy().numel(); ++i) square += b.dy().at(i) * b.dy().at(i);
  const double limit = 1e-3 / std::max(1e-3, std::sqrt(square));
  const Tensor clipped = scale(Variable(b.dy()), limit).value();
  dx.tensor.copy_from(dx.accumulate ? add(Variable(dx.tensor), Variable(clipped)).value() : clipped);
}
const Op kClip("clip_gradient", "y = x", clip_backward, Op::Listing::hidden);

void poison_backward(const Record&, Backward& b) {
  const Slot dx = b.slot(0);
  if (!dx) return;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  dx.tensor.copy_from(Tensor::full(b.dy().shape(), nan, b.dy().dtype()));
}
const Op kPoison("poison_gradient", "y = x", poison_backward, Op::Listing::hidden);

Variable pass(const Op& op, Forward& forward, const Variable& x) {
  const Variable* inputs[] = {&x};
  return forward.tape()->record(op, inputs, x.value(), {});
}

MultiExitOutputs forward_with(Planted fault, std::int64_t place, const Bert& model, Forward& forward,
                              const TokenBatch& tokens) {
  const std::int64_t layers = model.config().layers();
  MultiExitOutputs out{.first = model.config().first_exit()};
  const double tolerance = model.parameters().dtype() == DType::f64 ? 1e-12 : 1e-6;
  Variable embedded = model.embed(forward, tokens);
  if (fault == Planted::rescaled_embeddings) embedded = gradient_rescale(embedded, 0.5);
  out.hidden.push_back(embedded);
  Variable input = embedded;
  for (std::int64_t k = 1; k <= layers; ++k) {
    const bool here = k == place;
    const Variable state = model.layer(forward, k, input, tokens.layout);
    double s1 = 1.0 / static_cast<double>(layers - k + 1);
    double s2 = static_cast<double>(layers - k);
    if (here && fault == Planted::wrong_state) s1 *= 1.25;
    if (here && fault == Planted::slightly_wrong) s1 *= 1 + 10 * tolerance;
    if (fault == Planted::drifting) s1 *= 1 + 1.5 * tolerance;
    if (here && fault == Planted::left_out) s1 = 1;
    if (here && fault == Planted::wrong_branch) s2 += 1;
    Variable rescaled = gradient_rescale(state, s1);
    if (here && fault == Planted::clipped) rescaled = pass(kClip, forward, rescaled);
    if (here && fault == Planted::poisoned) rescaled = pass(kPoison, forward, rescaled);
    out.hidden.push_back(here && fault == Planted::tapped_features ? state : rescaled);
    Variable read = rescaled;
    if (here && fault == Planted::tapped_exit) read = state;
    if (here && fault == Planted::detached) read = detach(rescaled);
    if (k >= out.first) {
      std::vector<Variable> seen = out.hidden;
      seen.back() = read;
      out.logits.push_back(model.exit_logits(forward, k, seen, tokens.layout));
    }
    input = k < layers ? gradient_rescale(rescaled, s2) : rescaled;
  }
  return out;
}

class GradientAudits : public ::testing::TestWithParam<DType> {
 protected:
  std::unique_ptr<Bert> made(const ExitConfig& exits, std::uint64_t seed,
                             std::int64_t layers = kLayers) const {
    BertConfig c = BertConfig::plain(60, 24, layers, 4, 40);
    c.max_position_embeddings = 40;
    c.labels = {"a", "b", "c"};
    c.initializer_range = 0.2;
    c.exits = exits;
    auto model = std::make_unique<Bert>(c, GetParam());
    model->initialise(seed);
    return model;
  }

  struct Audited {
    GradientAudit audit;
    Identities identities;
  };
  // The recovery loss (soft and features), or with `hard` the labels' alone.
  Audited audited(const Bert& model, bool hard, Planted fault = Planted::nothing, std::int64_t place = 5,
                  bool twice = false) const {
    const auto teacher = made(ExitConfig{}, 99, model.config().layers());
    const AuditedLoss loss = [&](Forward& forward, const Batch& batch, const TokenBatch& tokens) {
      const MultiExitOutputs out = forward_with(fault, place, model, forward, tokens);
      if (hard) return hard_loss(out, batch);
      const TeacherOutputs target = teach(*teacher, tokens);
      Variable total = add(prediction_loss(out, target, 1), feature_loss(out, target, tokens.layout));
      const MultiExitOutputs again{place, {out.exit(std::max(place, out.first))}, {}};
      return twice ? add(total, prediction_loss(again, target, 1)) : total;
    };
    ExpectedLoss expected{.first_exit = model.config().first_exit(),
                          .last_hidden = model.config().exits->last_hidden};
    (hard ? expected.hard : expected.soft) = 1;
    if (!hard) expected.features = 1;
    Audited a{audit_gradients(model, batches_, warm_, loss, {}), {}};
    a.identities = check_identities(a.audit, expected);
    return a;
  }
  std::vector<Fault> faults(Planted fault, std::int64_t place = 5, bool twice = false) const {
    return audited(*made({}, 3), false, fault, place, twice).identities.faults;
  }

  EncodedDataset data_ = random_dataset(12);
  std::vector<Batch> batches_ = {batch_of(data_, 0, 5), batch_of(data_, 5, 8)};
  std::vector<Batch> warm_ = {batch_of(data_, 8, 12)};
};

auto fault_at(const std::string& place, const std::string& what) {
  return AllOf(Field(&Fault::place, place), Field(&Fault::what, HasSubstr(what)));
}

TEST_P(GradientAudits, IdentitiesHold) {
  const double tolerance = GetParam() == DType::f64 ? 1e-12 : 1e-6;
  for (const ExitConfig& exits :
       {ExitConfig{}, ExitConfig{.first = 5}, ExitConfig{.pooling = Pooling::mean, .last_hidden = 2}}) {
    for (const bool hard : {true, false}) {
      const Audited a = audited(*made(exits, 3), hard);
      EXPECT_THAT(a.identities.faults, IsEmpty())
          << a.identities.faults.front().place << ": " << a.identities.faults.front().what;
      EXPECT_LE(a.identities.worst_factor, tolerance);
      EXPECT_LE(a.identities.worst_share_sum, tolerance);
      EXPECT_LE(a.identities.worst_gap, 10 * tolerance);
      EXPECT_EQ(a.audit.roots.size(),
                static_cast<std::size_t>((kLayers - exits.first + 1) + (hard ? 0 : kLayers + 1)));
    }
  }
}

// Norms and inner products, of a batch, against passes of their own that keep all gradients.
TEST_P(GradientAudits, SumsAreThoseOfSeparatePasses) {
  const auto model = made({}, 3, 3);
  const AuditedLoss loss = [&](Forward& forward, const Batch& batch, const TokenBatch& tokens) {
    return hard_loss(multi_exit(*model, forward, tokens, true), batch);
  };
  const std::span<const Batch> one(batches_.data(), 1);
  const GradientAudit audit = audit_gradients(*model, one, {}, loss, {});
  using Flat = std::vector<double>;
  std::map<Group, std::vector<Flat>> plain_gradients;
  for (std::int64_t i = 1; i <= 3; ++i) {
    Tape tape;
    Forward forward(tape);
    const MultiExitOutputs out = multi_exit(*model, forward, token_batch(batches_[0]), false);
    const Gradients g = tape.backward(hard_loss({i, {out.exit(i)}, {}}, batches_[0]));
    for (Parameter* p : model->parameters().parameters()) {
      std::vector<Flat>& flat = plain_gradients[group_of(model->parameters().role(*p))];
      flat.resize(3);
      const Tensor x = g.of(tape.parameter(*p));
      for (std::int64_t e = 0; e < p->value.numel(); ++e)
        flat[static_cast<std::size_t>(i - 1)].push_back(x.defined() ? x.at(e) : 0);
    }
  }
  const double tolerance = GetParam() == DType::f64 ? 1e-12 : 2e-5;
  ASSERT_EQ(audit.groups.size(), plain_gradients.size());
  for (const GroupSums& sums : audit.groups) {
    const std::vector<Flat>& g = plain_gradients.at(sums.group);
    const auto dot = [&](std::size_t a, std::size_t b) {
      return std::inner_product(g[a].begin(), g[a].end(), g[b].begin(), 0.0);
    };
    for (std::size_t a = 0; a < 3; ++a) {
      double with_joint = 0;
      const double size = std::sqrt(dot(a, a));
      for (std::size_t b = 0; b < 3; ++b) {
        with_joint += dot(a, b);
        EXPECT_NEAR(sums.gram[a * 3 + b], dot(a, b), tolerance * (size * std::sqrt(dot(b, b)) + 1e-12));
      }
      EXPECT_NEAR(sums.of[plain].square[a], dot(a, a), tolerance * dot(a, a));
      EXPECT_NEAR(sums.of[plain].joint_with[a], with_joint,
                  tolerance * (size * std::sqrt(sums.of[plain].joint) + 1e-12));
    }
  }
}

// Adam's next step, from the optimiser itself: an optimiser warmed on the same gradients, with a learning
// rate of zero, then one step whose change of the weights is the direction.
TEST_P(GradientAudits, UpdateIsTheOptimisers) {
  const auto model = made({}, 3, 3);
  ParameterStore& store = model->parameters();
  const Tensor before = store.values().clone();
  const auto loss_of = [&](bool equalise) -> AuditedLoss {
    return [&model, equalise](Forward& forward, const Batch& batch, const TokenBatch& tokens) {
      return hard_loss(multi_exit(*model, forward, tokens, equalise), batch);
    };
  };
  for (const AdamVariant adam_variant : {AdamVariant::torch, AdamVariant::transformers}) {
    // Epsilon as large as the gradients, where the two of them are far apart.
    GradientSettings settings{.max_norm = 0.05, .adam = {.variant = adam_variant, .epsilon = 1e-3}};
    settings.adam.weight_decay = 0;
    const std::span<const Batch> one(batches_.data(), 1);
    const GradientAudit audit = audit_gradients(*model, one, warm_, loss_of(true), settings);
    std::array<std::map<Group, std::vector<double>>, 2> updates;
    for (const Variant v : kVariants) {
      SCOPED_TRACE(fmt::format("{} {}", name_of(adam_variant), v == plain ? "plain" : "equalised"));
      EXPECT_EQ(audit.steps[v], 1);
      store.allocate_gradients();
      AdamW adam(store, settings.adam);
      double norm = 0;
      for (const Batch* batch : {&warm_[0], &batches_[0]}) {
        store.clear_gradients();
        Tape tape;
        Forward forward(tape);
        adam.catch_up(token_batch(*batch).ids);
        const Root root{loss_of(v == equalised)(forward, *batch, token_batch(*batch)), {}};
        tape.backward(std::span(&root, 1), {.into_parameters = true});
        norm = gradient_norm(store);
        adam.step(batch == &warm_[0] ? 0 : 1, clip_scale(norm, settings.max_norm));
      }
      EXPECT_LT(clip_scale(norm, settings.max_norm), 0.9);
      EXPECT_NEAR(audit.norm[v], norm, 1e-6 * norm);
      EXPECT_NEAR(audit.clip[v], clip_scale(norm, settings.max_norm), 1e-6);
      const std::set<std::int32_t> read(batches_[0].ids.begin(), batches_[0].ids.end());
      std::map<Group, double> moved;
      for (const Parameter* p : store.parameters()) {
        const std::int64_t offset = store.offset(*p), cols = p->value.shape().cols();
        for (std::int64_t e = 0; e < p->value.numel(); ++e) {
          // Of a table the audit speaks of the rows that the batch reads.
          if (p->by_rows && !read.contains(static_cast<std::int32_t>(e / cols))) continue;
          const double d = p->value.at(e) - before.at(offset + e);
          moved[group_of(model->parameters().role(*p))] += d * d;
          updates[v][group_of(model->parameters().role(*p))].push_back(d);
        }
      }
      store.values().copy_from(before);
      for (const GroupSums& sums : audit.groups) {
        const GroupSums::Sums& s = sums.of[v];
        const double size = std::sqrt(moved[sums.group]);
        EXPECT_NEAR(std::sqrt(s.update), size, 2e-4 * size) << sums.group.name();
        EXPECT_NEAR(s.clipped, audit.clip[v] * audit.clip[v] * s.joint, 1e-6 * s.clipped);
        double whole = s.history_with;
        for (const double share : s.update_with) whole += share;
        EXPECT_NEAR(whole / s.update, 1, GetParam() == DType::f64 ? 1e-12 : 1e-5) << sums.group.name();
      }
    }
    for (const GroupSums& sums : audit.groups) {
      const std::vector<double>&a = updates[plain][sums.group], &b = updates[equalised][sums.group];
      const double product = std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
      EXPECT_NEAR(sums.updates_crossed, product,
                  4e-4 * std::sqrt(sums.of[plain].update * sums.of[equalised].update))
          << sums.group.name();
    }
  }
}

// Adam takes a constant factor out: what is left of Eq. 3 comes through epsilon and clipping, and through
// nothing else. Without epsilon the update is that of an optimiser whose epsilon is next to nothing.
TEST_P(GradientAudits, WithoutClippingAndEpsilonNothingIsLeft) {
  const auto model = made({}, 3, 3);
  const AuditedLoss loss = [&](Forward& forward, const Batch& batch, const TokenBatch& tokens) {
    return hard_loss(multi_exit(*model, forward, tokens, true), batch);
  };
  const auto audit_with = [&](double max_norm, double epsilon) {
    const GradientSettings settings{.max_norm = max_norm, .adam = {.epsilon = epsilon}};
    return audit_gradients(*model, batches_, warm_, loss, settings);
  };
  const double tolerance = GetParam() == DType::f64 ? 1e-9 : 1e-3;
  const GradientAudit unclipped = audit_with(0, 1e-2), damped = audit_with(0.05, 1e-2),
                      sharp = audit_with(0.05, 1e-30), bare = audit_with(0, 1e-30);
  for (std::size_t i = 0; i < bare.groups.size(); ++i) {
    const Group& group = bare.groups[i].group;
    // A key's bias has gradient 0 but for rounding, which an optimiser without epsilon blows up.
    if (group.kind == Kind::attention) continue;
    SCOPED_TRACE(group.name());
    const Survival left = survival(unclipped.groups[i]);
    EXPECT_NEAR(left.undamped, 1, tolerance);
    const bool rescaled = group.kind != Kind::exit && group.layer < 3;
    EXPECT_LT(left.update, rescaled ? 0.95 : 1 + tolerance);
    for (const Variant v : kVariants) {
      const GroupSums::Sums &a = damped.groups[i].of[v], &b = sharp.groups[i].of[v];
      EXPECT_NEAR(a.undamped / b.update, 1, tolerance);
      EXPECT_LT(a.update, 0.9 * a.undamped);
    }
    EXPECT_NEAR(survival(bare.groups[i]).update, 1, tolerance);
    EXPECT_NEAR(survival(bare.groups[i]).turn, 1, tolerance);
  }
}

TEST_P(GradientAudits, InnerProductsOfEachBatchAreThoseOfItAlone) {
  const auto model = made({}, 3, 3);
  const AuditedLoss loss = [&](Forward& forward, const Batch& batch, const TokenBatch& tokens) {
    return hard_loss(multi_exit(*model, forward, tokens, true), batch);
  };
  ASSERT_GT(batches_.size(), 1);
  const GradientAudit all = audit_gradients(*model, batches_, {}, loss, {});
  for (std::size_t b = 0; b < batches_.size(); ++b) {
    const GradientAudit one = audit_gradients(*model, std::span(batches_).subspan(b, 1), {}, loss, {});
    for (std::size_t i = 0; i < all.groups.size(); ++i) {
      ASSERT_EQ(all.groups[i].batch_grams.size(), batches_.size());
      EXPECT_EQ(all.groups[i].batch_grams[b], one.groups[i].gram) << all.groups[i].group.name();
    }
  }
}

TEST_P(GradientAudits, WrongFactor) {
  EXPECT_THAT(faults(Planted::wrong_state),
              ::testing::ElementsAre(fault_at("layer 5", "the rescale of h_5, meant to be 0.125")));
  EXPECT_THAT(faults(Planted::wrong_branch),
              ::testing::ElementsAre(fault_at("layer 5", "branch from h_5 to layer 6, meant to be 7")));
}

// Faults hardly above what rounding does.
TEST_P(GradientAudits, FactorSlightlyWrong) {
  EXPECT_THAT(faults(Planted::slightly_wrong),
              ::testing::ElementsAre(fault_at("layer 5", "the rescale of h_5, meant to be 0.125")));
}

TEST_P(GradientAudits, FactorsThatDriftFromLayerToLayer) {
  const Audited a = audited(*made({}, 3), false, Planted::drifting);
  EXPECT_GT(a.identities.worst_factor, 10 * a.identities.tolerance);
  EXPECT_THAT(a.identities.faults,
              Contains(fault_at("exit 12 soft", "its factor at layer 12 is 1 and misses")));
  EXPECT_THAT(a.identities.faults,
              Contains(fault_at("features 3", "its factor at layer 3 is 0.1 and misses")));
  for (const Factor& factor : a.identities.factors) {
    if (factor.fits) continue;
    EXPECT_THAT(a.identities.faults, Contains(Field(&Fault::place, a.audit.roots[factor.root].name)));
  }
}

TEST_P(GradientAudits, EmbeddingsRescaled) {
  EXPECT_THAT(faults(Planted::rescaled_embeddings),
              ::testing::ElementsAre(
                  fault_at("embeddings", "scaled by 0.5 too much: h_0 is rescaled, and should not")));
}

// The projection on the plain gradient is right, and what is beside it is not.
TEST_P(GradientAudits, GradientTurnedByEqualisation) {
  Audited a = audited(*made({}, 3), true);
  const auto group = std::find_if(a.audit.groups.begin(), a.audit.groups.end(), [](const GroupSums& s) {
    return s.group == Group{3, Kind::ffn};
  });
  double& square = group->of[equalised].square[6];
  square += 0.01 * square;
  const Identities found = check_identities(a.audit, {.hard = 1, .first_exit = 1, .last_hidden = 1});
  EXPECT_THAT(found.faults, ::testing::ElementsAre(fault_at("exit 7 hard", "turns its gradient at layer 3")));
  EXPECT_GT(found.worst_sideways, found.tolerance);
}

TEST_P(GradientAudits, GradientThatIsNotFinite) {
  const Audited a = audited(*made({}, 3), false, Planted::poisoned);
  EXPECT_THAT(a.identities.faults,
              ::testing::ElementsAre(fault_at("layer 5 LayerNorm", "gradient of exit 5 soft is not finite")));
  EXPECT_EQ(a.identities.worst_gap, std::numeric_limits<double>::infinity());
}

TEST_P(GradientAudits, RescaleLeftOut) {
  EXPECT_THAT(faults(Planted::left_out),
              ::testing::ElementsAre(fault_at("layer 5", "scaled by 8 too much: the rescale of h_5")));
}

TEST_P(GradientAudits, LossTappedBeforeTheRescale) {
  EXPECT_THAT(faults(Planted::tapped_exit),
              ::testing::ElementsAre(fault_at("exit 5 soft", "it reads h_5 before that is rescaled")));
  EXPECT_THAT(faults(Planted::tapped_features, 7),
              ::testing::ElementsAre(fault_at("features 7", "it reads h_7 before that is rescaled")));
}

TEST_P(GradientAudits, DetachedExit) {
  EXPECT_THAT(faults(Planted::detached), ::testing::ElementsAre(fault_at("exit 5 soft", "detached")));
}

TEST_P(GradientAudits, ClippingBeforeEqualisation) {
  const std::vector<Fault> found = faults(Planted::clipped);
  EXPECT_THAT(found, Contains(fault_at("layer 5 FFN", "clipping before equalisation")));
  for (const Fault& fault : found)
    EXPECT_THAT(fault.place, ::testing::Not(HasSubstr("layer 6"))) << fault.what;
}

// A term at its minimum reaches the model with a gradient of 0: no fault.
TEST_P(GradientAudits, TermAtItsMinimum) {
  const auto model = made({}, 3);
  const AuditedLoss loss = [&](Forward& forward, const Batch& batch, const TokenBatch& tokens) {
    const MultiExitOutputs out = multi_exit(*model, forward, tokens, true);
    TeacherOutputs itself;
    for (const Variable& h : out.hidden) itself.hidden.push_back(h.value());
    return add(hard_loss(out, batch), feature_loss(out, itself, tokens.layout));
  };
  const GradientAudit audit = audit_gradients(*model, batches_, {}, loss, {});
  const Identities found = check_identities(audit, {.hard = 1, .features = 1});
  EXPECT_THAT(found.faults, IsEmpty());
  ASSERT_EQ(found.still.size(), static_cast<std::size_t>(kLayers + 1));
  for (const std::size_t root : found.still) EXPECT_EQ(audit.roots[root].kind, "features");
}

TEST_P(GradientAudits, GradientCountedTwice) {
  EXPECT_THAT(faults(Planted::nothing, 4, true),
              ::testing::ElementsAre(fault_at("exit 4 soft", "counted twice")));
}

INSTANTIATE_TEST_SUITE_P(, GradientAudits, ::testing::Values(DType::f64, DType::f32),
                         [](const auto& precision) { return std::string(name_of(precision.param)); });

}  // namespace
}  // namespace costeff::audit
