#include "costeff/audit/path_trace.h"

#include <algorithm>
#include <cmath>

#include "costeff/audit/loss_roots.h"
#include "tensor/error.h"

namespace costeff::audit {
namespace {

// "exit.3" means exit.3.soft and exit.3.hard, not exit.30.
bool names(std::string_view from, std::string_view term) {
  return from == "loss" ||
         (term.starts_with(from) && (term.size() == from.size() || term[from.size()] == '.'));
}

// While it lives all parameters but one are frozen.
class OnlyOneAsks {
 public:
  OnlyOneAsks(const ParameterStore& store, const Parameter* one) {
    for (Parameter* p : store.parameters()) {
      if (p == one || p->frozen) continue;
      p->frozen = true;
      frozen_.push_back(p);
    }
  }
  OnlyOneAsks(const OnlyOneAsks&) = delete;
  OnlyOneAsks& operator=(const OnlyOneAsks&) = delete;
  ~OnlyOneAsks() {
    for (Parameter* p : frozen_) p->frozen = false;
  }

 private:
  std::vector<Parameter*> frozen_;
};

}  // namespace

// ---- recording

Recording::Recording(const LossOf& loss, bool equalise, std::string_view from) {
  tape_.on_record([this](const Tape&, const Record& record, const Tensor& output) {
    if (output.numel() == 1) scalars_[record.output] = output.item();
  });
  Forward forward(tape_);
  std::string known;
  for (const LossRoot& root : loss_roots(tape_, loss(forward, equalise))) {
    const NodeId node = root.variable.node();
    known += (known.empty() ? "" : ", ") + root.id();
    if (names(from, root.id())) terms_.push_back({root.id(), node, scalars_.at(node), root.coefficient});
  }
  if (terms_.empty()) fail_usage("the loss has no term {}; it has {}", from, known);
}

double Recording::value() const {
  double sum = 0;
  for (const LossTerm& term : terms_) sum += term.coefficient * term.value;
  return sum;
}

// ---- weights

WeightPlace place_of(const WeightRole& role) {
  if (role.exit > 0) return {WeightPlace::Kind::exit, role.exit};
  return {role.layer == 0 ? WeightPlace::Kind::embeddings : WeightPlace::Kind::layer, role.layer};
}

std::string to_string(const WeightPlace& place, std::int64_t layers) {
  if (place.kind == WeightPlace::Kind::embeddings) return "the embeddings";
  const char* kind = place.kind == WeightPlace::Kind::layer ? "layer" : "exit";
  return fmt::format("{} {} of {}", kind, place.number, layers);
}

double equalisation_factor(const WeightPlace& place, std::int64_t layers) {
  if (place.kind == WeightPlace::Kind::exit) return 1;
  return 1.0 / static_cast<double>(layers - std::max<std::int64_t>(place.number, 1) + 1);
}

// ---- trace

Trace::Trace(const Bert& model, const LossOf& loss, const PathQuery& query, bool equalise)
    : recording_(
          [&](Forward& forward, bool equalised) {
            if (query.weight.parameter->frozen)
              fail("{} is frozen: it asks for no gradient, and no loss moves it", query.weight.name);
            const OnlyOneAsks one(model.parameters(), query.weight.parameter);
            return loss(forward, equalised);
          },
          equalise, query.from),
      weight_(query.weight) {
  Tape& tape = recording_.tape();
  const auto nodes = tape.nodes();
  for (std::size_t id = 0; id < nodes.size(); ++id) {
    if (nodes[id].parameter == query.weight.parameter) leaf_ = static_cast<NodeId>(id);
  }
  std::vector<Root> roots;
  std::vector<bool> leads(nodes.size(), false);  // reaches a root
  for (const LossTerm& term : recording_.terms()) {
    const Node& node = tape.node(term.node);
    if (!node.requires_gradient) continue;
    terms_.push_back(term);
    leads[static_cast<std::size_t>(term.node)] = true;
    roots.push_back({Variable(Tensor::scalar(term.value, node.dtype), &tape, term.node),
                     Tensor::scalar(term.coefficient, node.dtype)});
  }
  if (terms_.empty()) fail_unreached(query, model.config().layers());
  const auto all = tape.records();
  for (std::size_t i = all.size(); i-- > 0;) {
    const NodeId output = all[i].output;
    if (!leads[static_cast<std::size_t>(output)] || !on_the_way(output)) continue;
    records_.push_back(static_cast<std::int32_t>(i));
    for (const NodeId input : all[i].inputs) {
      if (input != kNoNode) leads[static_cast<std::size_t>(input)] = true;
    }
  }
  gradients_ = tape.backward(roots, {.retain_all = true});
}

void Trace::fail_unreached(const PathQuery& query, std::int64_t layers) const {
  const WeightPlace place = place_of(query.weight.role);
  const std::string what = fmt::format("nothing leads from {} to {}, a weight of {}", query.from,
                                       query.weight.name, to_string(place, layers));
  if (place.kind == WeightPlace::Kind::exit)
    fail_usage("{}: only the losses of exit {} itself move it (exit.{})", what, place.number, place.number);
  if (place.kind == WeightPlace::Kind::layer) {
    fail_usage(
        "{}: a loss at exit or layer k reads the states up to h_k, so only those at {} and above move it",
        what, place.number);
  }
  fail_usage("{}", what);
}

Tensor Trace::weight_gradient() const {
  return gradients_.of(leaf_).slice(weight_.begin, weight_.end);
}

Tensor Trace::passed(std::int32_t index, std::size_t input) const {
  const Record& r = record(index);
  const Tensor dy = gradients_.of(r.output);
  const Node& node = tape().node(r.inputs[input]);
  Tape alone;  // a tape of this record, on which that input alone is no constant
  const Variable leaf = alone.leaf(Tensor::empty(node.shape, node.dtype), "input");
  const Variable constant;
  std::vector<const Variable*> inputs(r.inputs.size(), &constant);
  inputs[input] = &leaf;
  const Root root[] = {{alone.record(*r.op, inputs, dy, r.details), dy}};
  return alone.backward(root).of(leaf);
}

double norm_of(const Tensor& tensor) {
  return dispatch(tensor.dtype(), [&](auto element) {
    double sum = 0;
    for (const auto x : tensor.span<const decltype(element)>())
      sum += static_cast<double>(x) * static_cast<double>(x);
    return std::sqrt(sum);
  });
}

}  // namespace costeff::audit
