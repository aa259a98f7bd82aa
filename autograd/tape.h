// The tape: what was computed, in order, as a value that can be printed, walked, and differentiated.
//
// A tape is a flat, append-only list of records in topological order. Operations (autograd/ops.h) append to
// it; `backward` walks it in reverse and returns its own gradients, so it may run many times over one forward
// pass. Nothing changes a gradient silently: scaling is a record, persistent gradients change only where the
// caller says so.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "autograd/inline_array.h"
#include "autograd/parameter.h"
#include "tensor/layout.h"
#include "tensor/tensor.h"

namespace costeff {

class Tape;
class Backward;
class LaneStore;
struct Lane;
struct LaneGradients;
struct Record;

using NodeId = std::int32_t;  // a value on the tape
using PathId = std::int32_t;  // an interned name path
inline constexpr NodeId kNoNode = -1;

// A tensor and its place on a tape. Without a tape it is a constant: operations on constants alone record
// nothing.
class Variable {
 public:
  Variable() = default;
  explicit(false) Variable(Tensor value) : value_(std::move(value)) {}
  Variable(Tensor value, Tape* tape, NodeId node) : value_(std::move(value)), tape_(tape), node_(node) {}

  const Tensor& value() const { return value_; }
  const Shape& shape() const { return value_.shape(); }
  DType dtype() const { return value_.dtype(); }
  Tape* tape() const { return tape_; }
  NodeId node() const { return node_; }

 private:
  Tensor value_;
  Tape* tape_ = nullptr;
  NodeId node_ = kNoNode;
};

// An operation as the tape knows it: one static object beside its forward and backward.
struct Op {
  using Rule = void (*)(const Record& record, Backward& backward);
  enum class Listing : bool { hidden, listed };

  // Enters the list of all_ops() unless hidden (tests plant wrong operations).
  Op(std::string_view name, std::string_view formula, Rule backward, Listing listing = Listing::listed);

  std::string_view name;     // "layer_norm"
  std::string_view formula;  // "y = gamma (x - mean) / sqrt(var + eps) + beta"
  Rule backward;             // null: refuses to be recorded where a gradient is wanted
  const Op* next = nullptr;  // in the list
};

std::vector<const Op*> all_ops();  // by name

// A word that is compared by its address: one constant for each, declared by whoever uses it.
struct Symbol {
  std::string_view name;
};

// What a record says about its role, beside its path.
struct Tags {
  std::int32_t layer = -1;       // 1..L; 0 the embeddings; -1 none
  std::int32_t exit = -1;        // 1..L; -1 none
  const Symbol* part = nullptr;  // of the model: kFfn, ... (nn/bert.h)
  const Symbol* loss = nullptr;  // which term of a loss: kSoft, ... (costeff/train/losses.h)
};

struct Saved {
  std::string_view name;
  Tensor value;
};

struct Attribute {
  std::string_view name;
  double value = 0;
};

// What an operation keeps for its backward, and for the reader.
struct Details {
  InlineArray<Saved, 6> saved;
  InlineArray<Attribute, 4> attributes;
  Dropout dropout;
  LayoutPtr layout;
  double flops = 0;  // of the forward: 2 for a multiply-add, matrix products only, as the cost model counts
};

inline constexpr std::size_t kMostInputs = 6;  // of a record

struct Record {
  const Op* op = nullptr;
  PathId path = 0;
  Tags tags;
  InlineArray<NodeId, kMostInputs> inputs;  // kNoNode where an input is a constant
  NodeId output = kNoNode;
  Details details;

  // The first N that were saved, to be named where they are read: const auto [xhat, rstd] = r.saved<2>();
  template <std::size_t N>
  auto saved() const {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return std::tie(details.saved[I].value...);
    }
    (std::make_index_sequence<N>{});
  }
  // Likewise on a device: rules of ops that take scalars too (Backward) read them where dy is.
  template <std::size_t N>
  std::array<Tensor, N> saved(Device device) const {
    std::array<Tensor, N> moved;
    for (std::size_t i = 0; i < N; ++i) moved[i] = details.saved[i].value.to(device);
    return moved;
  }
  // The first N attributes.
  template <std::size_t N>
  auto attributes() const {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return std::tie(details.attributes[I].value...);
    }
    (std::make_index_sequence<N>{});
  }
  const Tensor& saved(std::size_t i) const { return details.saved[i].value; }
  // What was saved by a name; undefined where nothing was.
  Tensor saved_if(std::string_view name) const;
};

struct Node {
  Shape shape;
  DType dtype = DType::f32;
  bool requires_gradient = false;
  Parameter* parameter = nullptr;  // of a parameter's leaf
  PathId path = 0;
  std::int32_t producer = -1;  // index of its record; -1 for leaves
  Device device;               // of its value
};

// The gradients of one backward pass.
class Gradients {
 public:
  // Of a variable the pass retained (leaves always); undefined where no root reached it. With into_parameters
  // a parameter's is its own buffer: the sum over earlier passes too, and it changes with later ones.
  Tensor of(const Variable& variable) const { return of(variable.node()); }
  Tensor of(NodeId node) const;

 private:
  friend class Backward;
  friend void backward_lanes(Tape& tape, std::span<const Lane> lanes,
                             const std::function<void(const LaneGradients& gradients)>& fold);
  CachedVector<Tensor> by_node_;
};

struct Root {
  Variable variable;
  Tensor cotangent;  // undefined: ones; on any device
};

struct BackwardOptions {
  bool retain_all = false;  // keep the gradient of every node, not of leaves alone
  // Parameters' gradients go right into Parameter::gradient: written where has_gradient is false, added where
  // it is true, which it then becomes. Otherwise the pass leaves parameters alone; `accumulate` adds them
  // later.
  bool into_parameters = false;
};

// Called with every record: when it is appended, with its output; in backward before its rule runs, with the
// output's gradient.
using Hook = std::function<void(const Tape& tape, const Record& record, const Tensor& tensor)>;

class Tape {
 public:
  Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  // ---- leaves
  Variable leaf(Tensor value, std::string_view name, bool requires_gradient = true);
  Variable parameter(Parameter& parameter);  // the same leaf each time, until clear()

  // ---- records; `record` throws Error when a gradient is wanted through an op without a backward
  Variable record(const Op& op, std::span<const Variable* const> inputs, Tensor output, Details details);
  std::span<const Record> records() const { return records_; }
  std::span<const Node> nodes() const { return nodes_; }
  const Node& node(NodeId id) const { return nodes_[static_cast<std::size_t>(id)]; }
  double flops() const;  // of all records
  std::size_t saved_bytes() const;

  // ---- names: records made while a Scope lives have its name in their path
  std::string path(PathId id) const;

  // ---- differentiation. Throws Error when a root is not on this tape or has no gradient to give, when a
  // cotangent is not of its root's shape and dtype, with into_parameters when a parameter has no gradient
  // buffer, and with check_finite at the first gradient that is not finite.
  Gradients backward(std::span<const Root> roots, const BackwardOptions& options = {});
  Gradients backward(const Variable& root, const BackwardOptions& options = {});

  void clear();  // forgets records and leaves, keeps names, hooks and memory

  // ---- observation
  void on_record(Hook hook) { record_hooks_.push_back(std::move(hook)); }
  void on_backward(Hook hook) { backward_hooks_.push_back(std::move(hook)); }
  bool check_finite =
      false;  // stop at the first NaN or infinity, in either pass, naming op, path, shapes and input ranges

 private:
  friend class Scope;
  friend class Backward;
  struct Name {
    PathId parent;
    std::string text;
  };
  PathId intern(PathId parent, std::string_view name);
  void require_finite(const Record& record, const Tensor& tensor, std::string_view pass) const;
  void require_finite_inputs(const Record& record, const Gradients& gradients) const;
  std::string describe_inputs(const Record& record) const;

  CachedVector<Record> records_;
  CachedVector<Node> nodes_;
  CachedVector<Tensor> values_;  // of each node, only while check_finite: for the error message
  CachedVector<NodeId> parameter_nodes_;
  std::vector<Name> names_;
  std::vector<Hook> record_hooks_;
  std::vector<Hook> backward_hooks_;
  PathId path_ = 0;
  Tags tags_;
};

// While it lives, records of the tape have `name` appended to their path, and the tags it was given. Without
// a tape it does nothing.
class Scope {
 public:
  Scope(Tape* tape, std::string_view name);
  Scope(Tape* tape, std::string_view name, const Tags& tags);
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  ~Scope();

 private:
  Tape* tape_;
  PathId previous_path_ = 0;
  Tags previous_tags_;
};

// Where a backward rule puts the gradient of one input: `accumulate` says that something is there already, to
// be added to. An empty slot is a null target.
struct Slot {
  Tensor tensor;
  bool accumulate = false;

  explicit operator bool() const { return tensor.defined(); }
  template <class T>
  T* data() const {
    return tensor.defined() ? tensor.data<T>() : nullptr;
  }
  template <class T>
  T keep() const {  // of kernels
    return accumulate ? T(1) : T(0);
  }
  template <class T>
  explicit(false) operator Target<T>() const {
    return {data<T>(), keep<T>()};
  }
};

// The same for a table of which only some rows get a gradient, always to be added to: that of the i-th row
// that was asked for belongs to row rows[i] of the tensor.
struct TableSlot {
  Tensor tensor;
  Tensor rows;  // i32

  explicit operator bool() const { return tensor.defined(); }
};

// What a backward rule sees: the gradient of its output, and a slot for each input that wants a gradient.
//
// A gradient is on the device of its value, but for those of scalars (rank 0), which are on the CPU: from a
// loss down its sums to its terms the pass is arithmetic with numbers that the host knows, and no rule waits
// for a device to learn its factor.
class Backward {
 public:
  const Tensor& dy() const { return dy_; }
  bool wants(std::size_t input) const;
  // The slot of an input; empty when it wants none. To be asked for once per call of the rule, and then
  // written to. Of two inputs that are one variable, each has a buffer of its own: the pass adds them up.
  Slot slot(std::size_t input);
  // Of a table that was read by `rows`, on the CPU; rows_there are the same on the table's device.
  TableSlot row_slot(std::size_t input, const Tensor& rows, const Tensor& rows_there);

 private:
  friend class Tape;
  friend void accumulate(const Tape& tape, const Gradients& gradients);
  friend void backward_lanes(Tape& tape, std::span<const Lane> lanes,
                             const std::function<void(const LaneGradients& gradients)>& fold);
  Backward(Tape& tape, Gradients& gradients, const BackwardOptions& options);
  void begin(const Root& root);     // puts its cotangent in place
  void walk(const Record& record);  // runs the rule, where the record's output has a gradient
  Slot slot_of(NodeId node);
  static void add(const Tensor& gradient, const Slot& to);
  static Device device_of(const Node& node) { return node.shape.rank() == 0 ? kCpu : node.device; }
  Tape& tape_;
  Gradients& gradients_;
  const BackwardOptions& options_;
  LaneStore* lanes_ = nullptr;  // of a pass beside others: holds its gradients of parameters
  std::size_t lane_ = 0;
  const Op* identity_ = nullptr;  // records of this op pass gradients on as they are
  const Record* record_ = nullptr;
  InlineArray<std::size_t, kMostInputs> asked_;    // inputs whose slots the running rule has
  InlineArray<std::size_t, kMostInputs> doubled_;  // those of them that are an earlier one's variable,
  InlineArray<Tensor, kMostInputs> apart_;         // and their buffers
  Tensor dy_;
};

// Adds a pass's gradients of parameters to their persistent ones.
void accumulate(const Tape& tape, const Gradients& gradients);
// Throws Error naming the first parameter that is to be trained and has no gradient: no root reached it.
void require_gradients(std::span<Parameter* const> parameters);

}  // namespace costeff
