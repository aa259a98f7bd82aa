#include "autograd/tape.h"

#include <algorithm>

#include "autograd/lane_store.h"
#include "tensor/backend.h"
#include "tensor/error.h"

namespace costeff {
namespace {

Range range_of(const Tensor& t) {
  if (t.numel() == 0) return {};
  return dispatch(t.dtype(), [&](auto element) {
    using T = decltype(element);
    return kernels<T>(t.device()).range(t.numel(), t.data<T>());
  });
}

std::string describe_range(const Range& r) {
  return fmt::format("from {:.6g} to {:.6g}{}", r.smallest, r.largest,
                     r.non_finite == 0 ? "" : fmt::format(", {} not finite", r.non_finite));
}

constinit const Op* first_op = nullptr;  // grows while the program loads, constant afterwards

}  // namespace

Op::Op(std::string_view op_name, std::string_view op_formula, Rule rule, Listing listing)
    : name(op_name), formula(op_formula), backward(rule) {
  if (listing == Listing::hidden) return;
  next = first_op;
  first_op = this;
}

std::vector<const Op*> all_ops() {
  std::vector<const Op*> ops;
  for (const Op* op = first_op; op != nullptr; op = op->next) ops.push_back(op);
  std::sort(ops.begin(), ops.end(), [](const Op* a, const Op* b) { return a->name < b->name; });
  return ops;
}

Tensor Record::saved_if(std::string_view name) const {
  for (const Saved& s : details.saved) {
    if (s.name == name) return s.value;
  }
  return {};
}

Tensor Gradients::of(NodeId node) const {
  if (node < 0 || static_cast<std::size_t>(node) >= by_node_.size()) return {};
  return by_node_[static_cast<std::size_t>(node)];
}

Tape::Tape() {
  names_.push_back({-1, ""});
}

Variable Tape::leaf(Tensor value, std::string_view name, bool requires_gradient) {
  const auto id = static_cast<NodeId>(nodes_.size());
  nodes_.push_back(
      {value.shape(), value.dtype(), requires_gradient, nullptr, intern(path_, name), -1, value.device()});
  if (check_finite) {
    values_.resize(nodes_.size());
    values_.back() = value;
  }
  return {std::move(value), this, id};
}

Variable Tape::parameter(Parameter& parameter) {
  for (const NodeId id : parameter_nodes_) {
    if (node(id).parameter == &parameter) return {parameter.value, this, id};
  }
  Variable v = leaf(parameter.value, parameter.name, !parameter.frozen);
  Node& n = nodes_.back();
  n.parameter = &parameter;
  n.path = intern(0, parameter.name);
  parameter_nodes_.push_back(v.node());
  return v;
}

Variable Tape::record(const Op& op, std::span<const Variable* const> inputs, Tensor output, Details details) {
  Record r{&op, path_, tags_, {}, static_cast<NodeId>(nodes_.size()), std::move(details)};
  bool wanted = false;
  for (const Variable* input : inputs) {
    if (input->tape() != nullptr && input->tape() != this) fail("op {}: inputs from two tapes", op.name);
    r.inputs.push_back(input->tape() == nullptr ? kNoNode : input->node());
    wanted = wanted || (input->tape() != nullptr && node(input->node()).requires_gradient);
  }
  if (wanted && op.backward == nullptr) {
    fail(
        "op {} at '{}' has no backward, and a gradient is wanted through it; detach its input to say that "
        "none should pass",
        op.name, path(path_));
  }
  nodes_.push_back({output.shape(), output.dtype(), wanted, nullptr, path_,
                    static_cast<std::int32_t>(records_.size()), output.device()});
  records_.push_back(std::move(r));
  if (check_finite) {
    values_.resize(nodes_.size());
    values_.back() = output;
    require_finite(records_.back(), output, "output");
  }
  for (const Hook& hook : record_hooks_) hook(*this, records_.back(), output);
  return {std::move(output), this, records_.back().output};
}

double Tape::flops() const {
  double sum = 0;
  for (const Record& r : records_) sum += r.details.flops;
  return sum;
}

std::size_t Tape::saved_bytes() const {
  std::size_t sum = 0;
  for (const Record& r : records_) {
    for (const Saved& s : r.details.saved) sum += s.value.bytes();
  }
  return sum;
}

std::string Tape::path(PathId id) const {
  const Name& name = names_[static_cast<std::size_t>(id)];
  if (name.parent < 0) return "";
  const std::string parent = path(name.parent);
  return parent.empty() ? name.text : fmt::format("{}.{}", parent, name.text);
}

PathId Tape::intern(PathId parent, std::string_view name) {
  for (std::size_t i = 1; i < names_.size(); ++i) {
    if (names_[i].parent == parent && names_[i].text == name) return static_cast<PathId>(i);
  }
  names_.push_back({parent, std::string(name)});
  return static_cast<PathId>(names_.size() - 1);
}

Gradients Tape::backward(const Variable& root, const BackwardOptions& options) {
  const Root roots[] = {{root, {}}};
  return backward(roots, options);
}

Gradients Tape::backward(std::span<const Root> roots, const BackwardOptions& options) {
  Gradients gradients;
  Backward pass(*this, gradients, options);
  for (const Root& root : roots) pass.begin(root);
  for (std::size_t i = records_.size(); i-- > 0;) pass.walk(records_[i]);
  return gradients;
}

void Tape::clear() {
  records_.clear();
  nodes_.clear();
  values_.clear();
  parameter_nodes_.clear();
}

void Tape::require_finite(const Record& record, const Tensor& tensor, std::string_view what) const {
  const Range r = range_of(tensor);
  if (r.non_finite == 0) return;
  std::string tags;
  if (record.tags.layer >= 0) tags += fmt::format(", layer {}", record.tags.layer);
  if (record.tags.exit >= 0) tags += fmt::format(", exit {}", record.tags.exit);
  fail("op {} at '{}'{}: its {} {} has {} values that are not finite; inputs: {}", record.op->name,
       path(record.path), tags, what, to_string(tensor.shape()), r.non_finite, describe_inputs(record));
}

void Tape::require_finite_inputs(const Record& record, const Gradients& gradients) const {
  for (const NodeId id : record.inputs) {
    const Tensor gradient = gradients.of(id);
    if (!gradient.defined()) continue;
    require_finite(record, gradient, fmt::format("gradient of '{}'", path(node(id).path)));
  }
}

std::string Tape::describe_inputs(const Record& record) const {
  std::string text;
  for (const NodeId id : record.inputs) {
    if (!text.empty()) text += "; ";
    if (id == kNoNode) {
      text += "a constant";
      continue;
    }
    const Node& n = node(id);
    text += fmt::format("'{}' {}", path(n.path), to_string(n.shape));
    const auto index = static_cast<std::size_t>(id);
    if (index < values_.size() && values_[index].defined()) {
      text += fmt::format(" {}", describe_range(range_of(values_[index])));
    }
  }
  return text;
}

Scope::Scope(Tape* tape, std::string_view name) : Scope(tape, name, tape == nullptr ? Tags{} : tape->tags_) {}

Scope::Scope(Tape* tape, std::string_view name, const Tags& tags) : tape_(tape) {
  if (tape_ == nullptr) return;
  previous_path_ = tape_->path_;
  previous_tags_ = tape_->tags_;
  tape_->path_ = tape_->intern(tape_->path_, name);
  tape_->tags_ = tags;
}

Scope::~Scope() {
  if (tape_ == nullptr) return;
  tape_->path_ = previous_path_;
  tape_->tags_ = previous_tags_;
}

Backward::Backward(Tape& tape, Gradients& gradients, const BackwardOptions& options)
    : tape_(tape), gradients_(gradients), options_(options) {
  gradients_.by_node_.resize(tape_.nodes_.size());
}

void Backward::begin(const Root& root) {
  const Tensor& value = root.variable.value();
  if (root.variable.tape() != &tape_) fail("backward: a root is not on this tape");
  if (!tape_.node(root.variable.node()).requires_gradient) {
    fail("backward: the root at '{}' depends on nothing that wants a gradient",
         tape_.path(tape_.node(root.variable.node()).path));
  }
  const Device device = device_of(tape_.node(root.variable.node()));
  dy_ = root.cotangent.defined() ? root.cotangent.to(device)
                                 : Tensor::full(value.shape(), 1, value.dtype(), device);
  if (!(dy_.shape() == value.shape()) || dy_.dtype() != value.dtype()) {
    fail("backward: a cotangent {} for a root {}", describe(dy_), describe(value));
  }
  add(dy_, slot_of(root.variable.node()));
}

void Backward::add(const Tensor& gradient, const Slot& to) {
  dispatch(gradient.dtype(), [&](auto element) {
    using T = decltype(element);
    kernels<T>(gradient.device())
        .scale(gradient.numel(), T(1), gradient.data<T>(), to.keep<T>(), to.data<T>());
  });
}

void Backward::walk(const Record& r) {
  Tensor& adjoint = gradients_.by_node_[static_cast<std::size_t>(r.output)];
  if (!tape_.node(r.output).requires_gradient || !adjoint.defined()) return;
  record_ = &r;
  dy_ = adjoint;
  if (tape_.check_finite) tape_.require_finite(r, dy_, "gradient of the output");
  if (lanes_ == nullptr) {
    for (const Hook& hook : tape_.backward_hooks_) hook(tape_, r, dy_);
  }
  if (r.op == identity_) {
    if (const Slot slot = this->slot(0)) add(dy_, slot);
  } else {
    r.op->backward(r, *this);
  }
  for (std::size_t i = 0; i < doubled_.size(); ++i) add(apart_[i], slot_of(r.inputs[doubled_[i]]));
  asked_.clear();
  doubled_.clear();
  apart_.clear();
  if (tape_.check_finite) tape_.require_finite_inputs(r, gradients_);
  if (!options_.retain_all) adjoint = Tensor();
  dy_ = Tensor();
}

bool Backward::wants(std::size_t input) const {
  const NodeId id = record_->inputs[input];
  return id != kNoNode && tape_.node(id).requires_gradient;
}

namespace {

// The persistent gradient of a parameter.
const Tensor& gradient_buffer(const Parameter& p) {
  if (!p.gradient.defined()) {
    fail("parameter {} has nowhere to keep a gradient: ParameterStore::allocate_gradients() comes first",
         p.name);
  }
  return p.gradient;
}

}  // namespace

Slot Backward::slot(std::size_t input) {
  if (!wants(input)) return {};
  const NodeId id = record_->inputs[input];
  for (const std::size_t earlier : asked_) {
    if (record_->inputs[earlier] != id) continue;
    const Node& n = tape_.node(id);
    doubled_.push_back(input);
    apart_.push_back(Tensor::empty(n.shape, n.dtype, device_of(n)));
    return {apart_[apart_.size() - 1], false};
  }
  asked_.push_back(input);
  return slot_of(id);
}

Slot Backward::slot_of(NodeId id) {
  const Node& n = tape_.node(id);
  Parameter* p = options_.into_parameters ? n.parameter : nullptr;
  if (p != nullptr && p->by_rows) {
    fail("parameter {}: a gradient for all rows where only rows that were read should have one", p->name);
  }
  Tensor& adjoint = gradients_.by_node_[static_cast<std::size_t>(id)];
  if (adjoint.defined()) return {adjoint, true};
  if (lanes_ != nullptr && n.parameter != nullptr) {
    adjoint = lanes_->row(id, lane_, n.device);
    return {adjoint, false};
  }
  if (p == nullptr) {
    adjoint = Tensor::empty(n.shape, n.dtype, device_of(n));
    return {adjoint, false};
  }
  adjoint = gradient_buffer(*p);
  const bool accumulate = p->has_gradient;
  p->has_gradient = true;
  return {adjoint, accumulate};
}

TableSlot Backward::row_slot(std::size_t input, const Tensor& rows, const Tensor& rows_there) {
  if (!wants(input)) return {};
  const NodeId id = record_->inputs[input];
  const Node& n = tape_.node(id);
  Tensor& adjoint = gradients_.by_node_[static_cast<std::size_t>(id)];
  if (lanes_ != nullptr && n.parameter != nullptr) {
    TableSlot slot = lanes_->table(id, lane_, rows, rows_there, !adjoint.defined());
    adjoint = slot.tensor;
    return slot;
  }
  Parameter* p = options_.into_parameters ? n.parameter : nullptr;
  if (!adjoint.defined()) {
    if (p == nullptr) {
      adjoint = Tensor::zeros(n.shape, n.dtype, n.device);
    } else {
      adjoint = gradient_buffer(*p);
      if (!p->has_gradient && p->by_rows && n.device != kCpu) {
        adjoint.fill(0);  // one long clearing is faster there than many short ones
        p->touched.clear();
      } else if (!p->has_gradient && p->by_rows) {
        for (const std::int32_t row : p->touched.rows()) adjoint.slice(row, row + 1).fill(0);
        p->touched.clear();
      } else if (!p->has_gradient) {
        adjoint.fill(0);
      }
      p->has_gradient = true;
    }
  }
  if (p != nullptr && p->by_rows) p->touched.add(rows.host<std::int32_t>(), rows.numel());
  return {adjoint, rows_there};
}

void accumulate(const Tape& tape, const Gradients& gradients) {
  for (std::size_t id = 0; id < tape.nodes().size(); ++id) {
    Parameter* p = tape.nodes()[id].parameter;
    const Tensor g = gradients.of(static_cast<NodeId>(id));
    if (p == nullptr || !g.defined()) continue;
    Backward::add(g, {gradient_buffer(*p), p->has_gradient});
    p->has_gradient = true;
    if (p->by_rows) p->touched.add_all();
  }
}

void require_gradients(std::span<Parameter* const> parameters) {
  for (const Parameter* p : parameters) {
    if (!p->frozen && !p->fixed && !p->has_gradient) {
      fail("parameter {} got no gradient: no loss depends on it; freeze it if that is meant", p->name);
    }
  }
}

}  // namespace costeff
