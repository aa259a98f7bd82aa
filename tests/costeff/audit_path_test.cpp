// The way from a loss to a weight: its entries against finite differences taken here, its factors against
// Eq. 3, what meets on it against the tape's own sums.
#include <fmt/format.h>

#include <cmath>
#include <set>

#include "autograd/op_support.h"
#include "costeff/audit/path.h"
#include "costeff/audit/path_entry.h"
#include "costeff/train/losses.h"
#include "nn/checkpoint_names.h"
#include "tests/costeff/support.h"

namespace costeff::audit {
namespace {

using namespace testing;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

double uniform(std::uint32_t i, std::uint32_t stream) {
  return std::ldexp(philox4x32({i, stream, 0, 0}, {11, 12})[0], -32);
}

// Every parameter random: BERT's own initialisation has biases of 0, and LayerNorms of 1.
std::unique_ptr<Bert> made(const BertConfig& config, std::uint64_t seed) {
  auto model = std::make_unique<Bert>(config, DType::f64);
  model->initialise(seed);
  std::uint32_t i = 0;
  for (const NamedTensor& t : model->parameters().named()) {
    const Tensor value = t.value();
    for (double& w : value.span<double>()) w += 0.3 * (uniform(i++, static_cast<std::uint32_t>(seed)) - 0.5);
  }
  return model;
}

BertConfig plain(std::int64_t layers = 3, const ExitConfig& exits = {}) {
  BertConfig c = BertConfig::plain(60, 24, layers, 4, 40);
  c.max_position_embeddings = 40;
  c.labels = {"a", "b", "c"};
  c.initializer_range = 0.1;
  c.exits = exits;
  return c;
}

// Layers of unequal widths, a factorised embedding, exits with a dense layer that read the mean of two
// states.
BertConfig slender() {
  BertConfig c =
      plain(3, {.pooling = Pooling::mean, .mode = HiddenMode::concat, .last_hidden = 2, .dense = true});
  c.heads = {1, 3, 2};
  c.ffn = {7, 12, 5};
  c.embedding_rank = 5;
  return c;
}

// A model, its teacher, a batch, and the losses of exits and layers on it.
struct Subject {
  explicit Subject(const BertConfig& config)
      : model(made(config, 3)), teacher(teach(*made(config, 4), tokens)) {}

  using Loss = std::function<Variable(const MultiExitOutputs& out)>;
  LossOf of(const Loss& loss) const {
    return [this, loss](Forward& forward, bool equalise) {
      return loss(multi_exit(*model, forward, tokens, equalise));
    };
  }
  Variable hard(const MultiExitOutputs& out) const { return hard_loss(out, batch); }
  Variable both(const MultiExitOutputs& out) const {
    return sum_of_terms(std::vector{logits_term(0.5, 2), labels_term(0.5)}, out, teacher, batch,
                        tokens.layout);
  }
  Variable everything(const MultiExitOutputs& out) const {
    return add(both(out), feature_loss(out, teacher, tokens.layout));
  }
  NamedTensor weight(std::string_view name) const { return find_weight(model->parameters(), name).value(); }

  Batch batch = batch_of(random_dataset(3), 0, 3);
  TokenBatch tokens = token_batch(batch);
  std::unique_ptr<Bert> model;
  TeacherOutputs teacher;
};

const Subject& plain_subject() {
  static const Subject subject(plain());
  return subject;
}

const Subject& slender_subject() {
  static const Subject subject(slender());
  return subject;
}

// f'(x) to the sixth order: a stencil of its own, at a fixed step.
template <class F>
double derivative(F&& f, double& x) {
  const double old = x, h = 4e-3;
  const auto difference = [&](double by) {
    x = old + by;
    const double above = f();
    x = old - by;
    const double below = f();
    x = old;
    return above - below;
  };
  return (45 * difference(h) - 9 * difference(2 * h) + difference(3 * h)) / (60 * h);
}

// The name without the number of its layer: one kind of weight.
std::string kind_of(const std::string& name) {
  std::string kind;
  for (const char c : name) {
    if (std::isdigit(static_cast<unsigned char>(c)) == 0 || name.find("word_") != std::string::npos)
      kind += c;
  }
  return kind;
}

// ---- entries

// Audits `each` random entries of every tensor of the model; row of a table is one that the batch reads.
void check_entries(const Subject& s, const std::string& from, const Subject::Loss& loss,
                   const Subject::Loss& named_loss, int each, int* compared) {
  std::set<std::string> kinds;
  std::uint32_t draw = 0;
  for (const NamedTensor& t : s.model->parameters().named()) {
    const Shape shape = t.value().shape();
    for (int k = 0; k < each; ++k) {
      auto row = static_cast<std::int64_t>(uniform(draw++, 77) * static_cast<double>(shape[0]));
      if (t.parameter->by_rows) row = s.batch.ids[static_cast<std::size_t>(row) % s.batch.tokens()];
      const std::int64_t cols = shape.rank() == 1 ? 1 : shape[1];
      const auto col = static_cast<std::int64_t>(uniform(draw++, 78) * static_cast<double>(cols));
      SCOPED_TRACE(fmt::format("{} [{},{}] from {}", t.name, row, col, from));
      const EntryAudit e = audit_entry(*s.model, s.of(loss), {from, t}, true, row, col);
      const double numeric = derivative(
          [&] {
            Forward forward;
            return named_loss(multi_exit(*s.model, forward, s.tokens, false)).value().item();
          },
          t.value().data<double>()[row * cols + col]);
      EXPECT_NEAR(e.plain, numeric, 1e-6 * e.scale);
      EXPECT_NEAR(e.numeric, numeric, 1e-6 * e.scale);
      EXPECT_TRUE(e.agrees()) << e.error;
      EXPECT_LT(e.error, 1e-6);
      double sum = 0;
      for (const EntryReading& reading : e.readings) {
        for (const EntryTerm& term : reading.terms) {
          sum += term.product;
          EXPECT_NEAR(term.gradient * term.factor, term.product, 1e-15 + 1e-12 * std::abs(term.product));
        }
      }
      EXPECT_NEAR(sum, e.gradient, 1e-9 * e.scale);
      EXPECT_NEAR(e.sum_error, std::abs(sum - e.gradient) / e.scale, 1e-12);
      kinds.insert(kind_of(t.name));
      ++*compared;
    }
  }
  EXPECT_GE(kinds.size(), 23U) << ::testing::PrintToString(kinds);
}

TEST(AuditPath, EntriesOfEveryKindAreDerivatives) {
  const Subject& s = plain_subject();
  int compared = 0;
  const auto hard = [&](const MultiExitOutputs& out) { return s.hard(out); };
  check_entries(s, "loss", hard, hard, 1, &compared);
  EXPECT_GE(compared, 50);
}

TEST(AuditPath, EntriesOfASlenderModelWithATeacherAreDerivatives) {
  const Subject& s = slender_subject();
  int compared = 0;
  const auto loss = [&](const MultiExitOutputs& out) { return s.everything(out); };
  check_entries(s, "loss", loss, loss, 1, &compared);
  EXPECT_GE(compared, 50);
}

// What `from` names is that exit's loss, as it stands in the sum: half of it.
TEST(AuditPath, ATermIsTheLossItNames) {
  const Subject& s = plain_subject();
  const auto exit_alone = [](const MultiExitOutputs& out, std::int64_t i) {
    return MultiExitOutputs{i, {out.exit(i)}, out.hidden};
  };
  const std::vector<std::pair<std::string, Subject::Loss>> cases = {
      {"exit.2", [&](const MultiExitOutputs& out) { return s.both(exit_alone(out, 2)); }},
      {"exit.3.hard", [&](const MultiExitOutputs& out) { return scale(s.hard(exit_alone(out, 3)), 0.5); }},
      {"features.1", [&](const MultiExitOutputs& out) {
         MultiExitOutputs one = out;
         for (const std::size_t i : {0U, 2U, 3U}) one.hidden[i] = Variable(s.teacher.hidden[i]);
         return feature_loss(one, s.teacher, s.tokens.layout);
       }}};
  for (const auto& [from, named] : cases) {
    for (const char* name :
         {"layer.0.attention.query.weight", "layer.0.output.bias", "position_embeddings.weight"}) {
      SCOPED_TRACE(fmt::format("{} {}", from, name));
      const NamedTensor weight = s.weight(name);
      const auto loss = s.of([&](const MultiExitOutputs& out) { return s.everything(out); });
      const std::int64_t col = weight.value().shape().rank() == 1 ? 0 : 5;
      const EntryAudit e = audit_entry(*s.model, loss, {from, weight}, true, 1, col);
      const double numeric = derivative(
          [&, &f = named] {
            Forward forward;
            return f(multi_exit(*s.model, forward, s.tokens, false)).value().item();
          },
          weight.value()
              .data<double>()[weight.value().shape().cols() * (col == 0 ? 0 : 1) + (col == 0 ? 1 : col)]);
      EXPECT_NE(numeric, 0);
      EXPECT_NEAR(e.plain, numeric, 1e-6 * e.scale);
      EXPECT_NEAR(e.numeric, numeric, 1e-6 * e.scale);
    }
  }
}

TEST(AuditPath, AnEntryNobodyReadsHasNoGradient) {
  const Subject& s = plain_subject();
  const auto loss = s.of([&](const MultiExitOutputs& out) { return s.hard(out); });
  const EntryAudit e =
      audit_entry(*s.model, loss, {"exit.1", s.weight("position_embeddings.weight")}, true, 39, 3);
  EXPECT_EQ(e.plain, 0);
  EXPECT_EQ(e.numeric, 0);
  EXPECT_TRUE(e.agrees());
  EXPECT_TRUE(e.readings.at(0).terms.empty());
}

// An entry is put back, and other parameters ask for gradients again.
TEST(AuditPath, LeavesTheModelAsItWas) {
  const Subject& s = plain_subject();
  const Tensor before = s.model->parameters().values().clone();
  const auto loss = s.of([&](const MultiExitOutputs& out) { return s.hard(out); });
  audit_entry(*s.model, loss, {"exit.1", s.weight("layer.0.intermediate.weight")}, true, 1, 2);
  EXPECT_EQ(largest_difference(before, s.model->parameters().values()), 0);
  for (const Parameter* p : s.model->parameters().parameters()) EXPECT_FALSE(p->frozen) << p->name;
}

// dx = 1.00001 dy where y = x: an error of 1e-5.
const Op kWrong(
    "wrong", "y = x",
    [](const Record&, Backward& b) {
      const Slot slot = b.slot(0);
      if (!slot) return;
      compute(b.dy(), [&]<class T>(const Kernels<T>& k) {
        k.scale(b.dy().numel(), T(1.00001), b.dy().template data<T>(), slot.keep<T>(), slot.data<T>());
      });
    },
    Op::Listing::hidden);

TEST(AuditPath, AWrongBackwardDisagrees) {
  const Subject& s = plain_subject();
  const auto loss = s.of([&](const MultiExitOutputs& out) {
    MultiExitOutputs wrong = out;
    wrong.logits[1] = record(kWrong, {&out.logits[1]}, out.logits[1].value(), {});
    return s.hard(wrong);
  });
  const NamedTensor weight = s.weight("layer.0.intermediate.weight");
  const EntryAudit e = audit_entry(*s.model, loss, {"exit.2", weight}, true, 3, 3);
  EXPECT_FALSE(e.agrees());
  EXPECT_NEAR(e.error, 1e-5, 1e-7);
  EXPECT_TRUE(audit_entry(*s.model, loss, {"exit.1", weight}, true, 3, 3).agrees());
}

// What is wrong with the equalised gradient alone does not show in the differences.
TEST(AuditPath, AWrongEqualisedEntryDisagrees) {
  const Subject& s = plain_subject();
  const LossOf loss = [&](Forward& forward, bool equalise) {
    MultiExitOutputs out = multi_exit(*s.model, forward, s.tokens, equalise);
    if (equalise) out.logits[1] = record(kWrong, {&out.logits[1]}, out.logits[1].value(), {});
    return s.hard(out);
  };
  const PathQuery query{"exit.2", s.weight("layer.0.intermediate.weight")};
  const EntryAudit e = audit_entry(*s.model, loss, query, true, 3, 3, 1.0 / 3);
  EXPECT_LT(e.error, 1e-6);
  EXPECT_NEAR(e.scaled_error, 1e-5 / 3, 1e-7);
  EXPECT_FALSE(e.agrees());
  EXPECT_TRUE(audit_entry(*s.model, loss, {"exit.1", query.weight}, true, 3, 3, 1.0 / 3).agrees());
  EXPECT_FALSE(EntryAudit{.sum_error = 1e-5}.agrees());
  const WeightPath path = trace_path(*s.model, loss, query, true);
  EXPECT_FALSE(path.scaled);
  EXPECT_THAT(equalisation_fault(path).value_or(""), HasSubstr("not 0.333333 times the one without"));
}

// ---- factors

// The logits of exit 2 on two ways, of which one is rescaled by `first` and the other by `second`.
LossOf with_rescaled_exit(const Subject& s, double first, double second) {
  return [&s, first, second](Forward& forward, bool equalise) {
    MultiExitOutputs out = multi_exit(*s.model, forward, s.tokens, equalise);
    const Variable half = scale(out.logits[1], 0.5);
    if (equalise) out.logits[1] = add(gradient_rescale(half, first), gradient_rescale(half, second));
    return s.hard(out);
  };
}

TEST(AuditPath, WrongEqualisationIsAFault) {
  const Subject& s = plain_subject();
  const auto fault = [&](const LossOf& loss, const char* from, const char* to) {
    return equalisation_fault(trace_path(*s.model, loss, {from, s.weight(to)}, true)).value_or("");
  };
  const char* weight = "layer.0.intermediate.weight";
  const char* head = "highway.1.classifier.weight";
  EXPECT_THAT(fault(with_rescaled_exit(s, 0.5, 0.5), "exit.2", weight),
              HasSubstr("layer 1 of 3 multiply to 0.166667, where Eq. 3 has 0.333333"));
  EXPECT_THAT(fault(with_rescaled_exit(s, 0.5, 0.5), "exit.2", head),
              HasSubstr("exit 2 of 3 multiply to 0.5"));
  EXPECT_THAT(fault(with_rescaled_exit(s, 3, 3), "exit.2", weight), HasSubstr("multiply to 1, where Eq. 3"));
  EXPECT_THAT(fault(with_rescaled_exit(s, 1, 0.5), "exit.2", weight),
              HasSubstr("0.166667 on one way to layer 1 of 3 and to 0.333333 on another"));
  EXPECT_THAT(fault(with_rescaled_exit(s, 1, 0.5), "exit.2", "word_embeddings.weight"),
              HasSubstr("0.166667"));
  EXPECT_EQ(fault(with_rescaled_exit(s, 0.5, 0.5), "exit.1", weight), "");
  const auto loss = s.of([&](const MultiExitOutputs& out) { return s.everything(out); });
  for (const char* from : {"loss", "features", "features.0"})
    EXPECT_EQ(fault(loss, from, "word_embeddings.weight"), "") << from;
  for (const char* to : {weight, "layer.0.attention.key.bias", "classifier.weight"})
    EXPECT_EQ(fault(loss, "loss", to), "") << to;
}

TEST(AuditPath, FactorsAreThoseOfEquation3) {
  const Subject s(plain(4));
  const auto loss = s.of([&](const MultiExitOutputs& out) { return s.hard(out); });
  for (std::int64_t exit = 1; exit <= 4; ++exit) {
    for (std::int64_t layer = 0; layer <= exit; ++layer) {
      SCOPED_TRACE(fmt::format("exit {} layer {}", exit, layer));
      const std::string name =
          layer == 0 ? "word_embeddings.weight" : fmt::format("layer.{}.attention.value.weight", layer - 1);
      const WeightPath path =
          trace_path(*s.model, loss, {fmt::format("exit.{}", exit), s.weight(name)}, true);
      const double expected = 1.0 / static_cast<double>(4 - std::max<std::int64_t>(layer, 1) + 1);
      EXPECT_NEAR(path.least_factor, expected, 1e-15);
      EXPECT_NEAR(path.largest_factor, expected, 1e-15);
      EXPECT_EQ(equalisation_factor(path.place, 4), expected);
      EXPECT_NEAR(path.gradient, expected * path.plain_gradient, 1e-12 * path.gradient);
      EXPECT_LT(path.deviation, 1e-12);
      EXPECT_FALSE(path.vanishes);
    }
  }
  const WeightPath head =
      trace_path(*s.model, loss, {"exit.2", s.weight("highway.1.classifier.weight")}, true);
  EXPECT_EQ(head.least_factor, 1);
  EXPECT_EQ(head.largest_factor, 1);
  EXPECT_EQ(equalisation_factor(head.place, 4), 1);
}

// h_0 is read before any rescale: by its feature loss, and by an exit that reads two states.
TEST(AuditPath, WaysPastTheRescalesAreSeen) {
  const Subject& s = plain_subject();
  const auto loss = s.of([&](const MultiExitOutputs& out) { return s.everything(out); });
  const NamedTensor weight = s.weight("word_embeddings.weight");
  const WeightPath all = trace_path(*s.model, loss, {"features", weight}, true);
  EXPECT_NEAR(all.least_factor, 1.0 / 3, 1e-15);
  EXPECT_EQ(all.largest_factor, 1);
  EXPECT_FALSE(all.one_factor());
  EXPECT_TRUE(trace_path(*s.model, loss, {"features.2", weight}, true).one_factor());

  const Subject& two = slender_subject();
  const auto hard = two.of([&](const MultiExitOutputs& out) { return two.hard(out); });
  const NamedTensor table = two.weight("word_embeddings1.weight");
  EXPECT_FALSE(trace_path(*two.model, hard, {"exit.1", table}, true).one_factor());
  EXPECT_TRUE(trace_path(*two.model, hard, {"exit.2", table}, true).one_factor());
}

TEST(AuditPath, AKeysBiasHasNoGradient) {
  const Subject& s = plain_subject();
  const auto loss = s.of([&](const MultiExitOutputs& out) { return s.hard(out); });
  EXPECT_TRUE(trace_path(*s.model, loss, {"exit.2", s.weight("layer.1.attention.key.bias")}, true).vanishes);
  EXPECT_FALSE(
      trace_path(*s.model, loss, {"exit.2", s.weight("layer.1.attention.query.bias")}, true).vanishes);
}

// ---- the way

// What readers hand to a node adds up to the gradient that the tape has of it.
TEST(AuditPath, WhatMeetsAddsUp) {
  for (const Subject* s : {&plain_subject(), &slender_subject()}) {
    for (const bool equalise : {true, false}) {
      const auto loss = s->of([&](const MultiExitOutputs& out) { return s->everything(out); });
      const Trace trace(*s->model, loss, {"loss", s->weight("position_embeddings.weight")}, equalise);
      std::map<NodeId, Tensor> sums;
      for (const std::int32_t index : trace.records()) {
        const Record& r = trace.record(index);
        for (std::size_t i = 0; i < r.inputs.size(); ++i) {
          if (!trace.on_the_way(r.inputs[i])) continue;
          Tensor& sum = sums[r.inputs[i]];
          const Variable passed(trace.passed(index, i));
          sum = sum.defined() ? add(Variable(sum), passed).value() : passed.value();
        }
      }
      EXPECT_GT(sums.size(), 30U);
      for (const auto& [node, sum] : sums) {
        const Tensor gradient = trace.gradient(node);
        EXPECT_LT(largest_difference(sum, gradient), 1e-13 * (1e-3 + norm_of(gradient))) << node;
      }
    }
  }
}

TEST(AuditPath, WaysMeetWhereStatesAreReadTwice) {
  const Subject& s = plain_subject();
  const auto loss = s.of([&](const MultiExitOutputs& out) { return s.everything(out); });
  const WeightPath path = trace_path(*s.model, loss, {"loss", s.weight("layer.0.output.weight")}, true);
  std::map<std::string, std::size_t> readers;  // of what each part computes
  for (const PathPart& part : path.parts) readers[part.name] = path.steps[part.steps.front()].readers.size();
  EXPECT_EQ(readers.at("h_3"), 2U) << "the exit and features; there is no layer 4";
  EXPECT_EQ(readers.at("h_1"), 3U) << "the exit, layer 2, features";
  EXPECT_EQ(readers.at("h_1 to layer 2"), 2U) << "attention and its residual";
  EXPECT_EQ(readers.at("layer 2 attention"), 2U) << "the FFN and its residual";
  EXPECT_EQ(readers.at("exit 2"), 2U) << "soft and hard";
  EXPECT_EQ(readers.at("layer 2 ffn"), 1U);
  EXPECT_EQ(readers.at("features.2"), 0U);
  EXPECT_EQ(path.readers.size(), 1U);
}

// What exit 2 hands to h_2 in the whole loss is what comes into h_2 when there is exit 2 alone.
TEST(AuditPath, EdgesBetweenPartsAreWhatEachPartBrings) {
  const Subject& s = plain_subject();
  const auto loss = s.of([&](const MultiExitOutputs& out) { return s.everything(out); });
  const NamedTensor weight = s.weight("layer.0.output.weight");
  for (const bool equalise : {true, false}) {
    const WeightPath whole = trace_path(*s.model, loss, {"loss", weight}, equalise);
    const WeightPath alone = trace_path(*s.model, loss, {"exit.2", weight}, equalise);
    const auto name_of_state = equalise ? "h_2" : "layer 2 ffn";
    const auto edge = [](const WeightPath& path, const std::string& from, const std::string& to) {
      for (const PartEdge& e : path.edges) {
        if (path.parts[e.from].name == from && e.to && path.parts[*e.to].name == to) return e.gradient;
      }
      return std::nan("");
    };
    const double brought = edge(whole, "exit 2", name_of_state);
    EXPECT_GT(brought, 0);
    EXPECT_NEAR(brought, edge(alone, "exit 2", name_of_state), 1e-14);
    for (const PathPart& part : alone.parts) {
      if (part.name == name_of_state) {
        EXPECT_NEAR(part.gradient, brought, 1e-14);
      }
    }
  }
  // Without rescale records the residual and the projection of layer 3 read h_2 itself: one edge, their sum.
  const WeightPath plain_way = trace_path(*s.model, loss, {"exit.3", weight}, false);
  for (const PartEdge& e : plain_way.edges) {
    if (plain_way.parts[e.from].name == "layer 3 attention") {
      EXPECT_NEAR(e.gradient, plain_way.parts[*e.to].gradient, 1e-14);
    }
  }
}

TEST(AuditPath, TheRecordsGoFromTheLossToTheWeight) {
  const Subject& s = plain_subject();
  const auto loss = s.of([&](const MultiExitOutputs& out) { return s.hard(out); });
  for (const bool equalise : {true, false}) {
    const WeightPath path =
        trace_path(*s.model, loss, {"exit.2", s.weight("layer.1.attention.query.weight")}, equalise);
    std::vector<std::string> ops;
    for (const PathStep& step : path.steps) ops.emplace_back(step.op->name);
    std::vector<std::string> expected = {"cross_entropy", "linear", "tanh", "gather_rows"};
    if (equalise) expected.emplace_back("gradient_rescale");
    for (const char* op : {"bias_dropout_residual_layer_norm", "linear", "bias_gelu", "linear",
                           "bias_dropout_residual_layer_norm", "linear", "attention", "linear"})
      expected.emplace_back(op);
    EXPECT_EQ(ops, expected);
    EXPECT_EQ(path.steps.front().gradient, 1);
    EXPECT_EQ(path.steps.back().passes.size(), 1U);
    EXPECT_EQ(path.steps.back().passes[0].gradient, path.gradient);
    std::vector<std::string> parts;
    for (const PathPart& part : path.parts) parts.push_back(part.name);
    if (equalise) {
      EXPECT_THAT(parts, ElementsAre("exit.2.hard", "exit 2", "h_2", "layer 2 ffn", "layer 2 attention"));
    } else {
      EXPECT_THAT(parts, ElementsAre("exit.2.hard", "exit 2", "layer 2 ffn", "layer 2 attention"));
    }
  }
}

// The gradient of a part of a stacked parameter is that part's own.
TEST(AuditPath, TheGradientIsTheTapesOwn) {
  const Subject& s = slender_subject();
  const auto loss = s.of([&](const MultiExitOutputs& out) { return s.everything(out); });
  Tape tape;
  Forward forward(tape);
  const Gradients gradients = tape.backward(loss(forward, true));
  for (const NamedTensor& t : s.model->parameters().named()) {
    const WeightPath path = trace_path(*s.model, loss, {"loss", t}, true);
    const double expected = norm_of(gradients.of(tape.parameter(*t.parameter)).slice(t.begin, t.end));
    EXPECT_NEAR(path.gradient, expected, 1e-14 + 1e-12 * expected) << t.name;
  }
}

// ---- terms and names

TEST(AuditPath, TermsAddUpToTheLoss) {
  const Subject s(plain(12));
  const auto loss = s.of([&](const MultiExitOutputs& out) { return s.everything(out); });
  Forward forward;
  const Recording all(loss, true, "loss");
  EXPECT_EQ(all.terms().size(), 12U + 12U + 13U);
  EXPECT_NEAR(all.value(), loss(forward, true).value().item(), 1e-13);
  const auto names = [&](const char* from) {
    std::vector<std::string> found;
    const Recording recording(loss, true, from);
    for (const LossTerm& term : recording.terms()) found.push_back(term.name);
    return found;
  };
  EXPECT_THAT(names("exit.1"), ElementsAre("exit.1.soft", "exit.1.hard"));
  EXPECT_THAT(names("exit.12.hard"), ElementsAre("exit.12.hard"));
  EXPECT_THAT(names("features.0"), ElementsAre("features.0"));
  EXPECT_EQ(names("features").size(), 13U);
  EXPECT_EQ(names("exit").size(), 24U);
  EXPECT_EQ(Recording(loss, true, "exit.1.soft").terms()[0].coefficient, 0.5);
  EXPECT_EQ(Recording(loss, true, "features.1").terms()[0].coefficient, 1);
  for (const char* wrong : {"exit.13", "exit.", "ex", "soft", "", "loss.1"}) {
    EXPECT_THAT(message_of<UsageError>([&] { Recording(loss, true, wrong); }),
                AllOf(HasSubstr("exit.12.hard"), HasSubstr("features.0")))
        << wrong;
  }
}

TEST(AuditPath, WeightsHaveShortNames) {
  const Subject& s = plain_subject();
  const ParameterStore& store = s.model->parameters();
  const auto found = [&](const char* name) {
    const auto weight = find_weight(store, name);
    return weight ? weight->name : "";
  };
  for (const char* name : {"bert.encoder.layer.1.attention.self.query.weight",
                           "encoder.layer.1.attention.self.query.weight", "layer.1.attention.query.weight"})
    EXPECT_EQ(found(name), "bert.encoder.layer.1.attention.self.query.weight") << name;
  EXPECT_EQ(found("encoder.layer.0.intermediate.weight"), "bert.encoder.layer.0.intermediate.dense.weight");
  EXPECT_EQ(found("layer.0.attention.output.weight"), "bert.encoder.layer.0.attention.output.dense.weight");
  EXPECT_EQ(found("layer.0.output.LayerNorm.bias"), "bert.encoder.layer.0.output.LayerNorm.bias");
  EXPECT_EQ(found("word_embeddings.weight"), "bert.embeddings.word_embeddings.weight");
  EXPECT_EQ(found("classifier.weight"), "classifier.weight");
  EXPECT_EQ(found("highway.0.classifier.bias"), "bert.encoder.highway.0.classifier.bias");
  for (const char* name : {"intermediate.weight", "layer.9.output.weight", "weight", "", "mbeddings.weight"})
    EXPECT_EQ(found(name), "") << name;
  // No two weights share a name.
  for (const Subject* each : {&s, &slender_subject()}) {
    for (const NamedTensor& t : each->model->parameters().named())
      EXPECT_EQ(find_weight(each->model->parameters(), short_name(t.name))->name, t.name);
  }
}

TEST(AuditPath, SaysWhyNothingLeadsThere) {
  const Subject& s = plain_subject();
  const auto loss = s.of([&](const MultiExitOutputs& out) { return s.everything(out); });
  const auto message = [&](const char* from, const char* to) {
    return message_of<UsageError>([&] { trace_path(*s.model, loss, {from, s.weight(to)}, true); });
  };
  EXPECT_THAT(
      message("exit.1", "layer.1.intermediate.weight"),
      AllOf(HasSubstr("nothing leads from exit.1"), HasSubstr("layer 2 of 3"), HasSubstr("at 2 and above")));
  EXPECT_THAT(message("features.2", "layer.2.output.LayerNorm.bias"), HasSubstr("layer 3 of 3"));
  EXPECT_THAT(message("exit.3", "highway.0.classifier.weight"),
              AllOf(HasSubstr("exit 1 of 3"), HasSubstr("(exit.1)")));
  EXPECT_THAT(message("features", "classifier.bias"), HasSubstr("exit 3 of 3"));
  trace_path(*s.model, loss, {"features.3", s.weight("layer.2.output.LayerNorm.bias")}, true);
}

TEST(AuditPath, RefusesWhatItCannotAudit) {
  const Subject& s = plain_subject();
  const auto loss = s.of([&](const MultiExitOutputs& out) { return s.hard(out); });
  const NamedTensor weight = s.weight("layer.0.intermediate.weight");
  for (const auto& [row, col] : std::vector<std::pair<int, int>>{{40, 0}, {-1, 0}, {0, 24}, {0, -1}}) {
    EXPECT_THAT(message_of<UsageError>([&, r = row, c = col] {
                  audit_entry(*s.model, loss, {"loss", weight}, true, r, c);
                }),
                HasSubstr("[40, 24]"));
  }
  weight.parameter->frozen = true;
  EXPECT_THAT(message_of<Error>([&] {
                trace_path(*s.model, loss, {"loss", weight}, true);
              }),
              AllOf(HasSubstr(weight.name), HasSubstr("frozen")));
  weight.parameter->frozen = false;
  Bert single(plain(), DType::f32);
  single.initialise(1);
  const auto in_f32 = [&](Forward& forward, bool equalise) {
    return hard_loss(multi_exit(single, forward, s.tokens, equalise), s.batch);
  };
  const PathQuery query{"loss", *find_weight(single.parameters(), "layer.0.intermediate.weight")};
  EXPECT_THAT(message_of<Error>([&] { audit_entry(single, in_f32, query, true, 0, 0); }), HasSubstr("f32"));
  EXPECT_LT(trace_path(single, in_f32, query, true).deviation, 1e-5);
}

}  // namespace
}  // namespace costeff::audit
