// One backward pass from some terms of a loss to one weight, kept whole so that it can be walked.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "nn/bert.h"

namespace costeff::audit {

// Records a loss, a scalar, on forward's tape, with or without equalisation (costeff/multi_exit.h, Eq. 3);
// the same each time.
using LossOf = std::function<Variable(Forward& forward, bool equalise)>;

// A summand of a loss: what one exit or one layer gives to it.
struct LossTerm {
  std::string name;  // "exit.3.soft", "exit.3.hard", "features.2"
  NodeId node = kNoNode;
  double value = 0;
  double coefficient = 1;  // of the value in the sum
};

// A recorded loss, and those of its terms that `from` names: "loss" all, "exit.3" both losses of exit 3,
// "exit.3.soft" one of them, "features.2", "features". Throws UsageError, listing the terms, when none has
// that name.
class Recording {
 public:
  Recording(const LossOf& loss, bool equalise, std::string_view from);

  Tape& tape() { return tape_; }
  const Tape& tape() const { return tape_; }
  const std::vector<LossTerm>& terms() const { return terms_; }
  double value() const;  // sum of coefficient times value

 private:
  Tape tape_;
  std::unordered_map<NodeId, double> scalars_;  // values of the nodes of one element
  std::vector<LossTerm> terms_;
};

// Where a weight stands: in layer 1..L, at exit 1..L, or in the embeddings (number 0).
struct WeightPlace {
  enum class Kind : std::uint8_t { embeddings, layer, exit };
  Kind kind = Kind::embeddings;
  std::int64_t number = 0;
};
WeightPlace place_of(const WeightRole& role);
// "layer 3 of 12", "exit 5 of 12", "the embeddings"
std::string to_string(const WeightPlace& place, std::int64_t layers);
// What equalisation makes of a weight's gradient: 1/(L-m+1) in layer m, 1/L in the embeddings, 1 at an exit.
double equalisation_factor(const WeightPlace& place, std::int64_t layers);

struct PathQuery {
  std::string from;
  NamedTensor weight;
};

// Of all parameters the weight alone asks for a gradient here, so that what gets one is what lies on the way.
class Trace {
 public:
  // Throws UsageError saying why when no term that `from` names depends on the weight, Error when the weight
  // is frozen.
  Trace(const Bert& model, const LossOf& loss, const PathQuery& query, bool equalise);

  const Tape& tape() const { return recording_.tape(); }
  const Record& record(std::int32_t index) const { return tape().records()[static_cast<std::size_t>(index)]; }
  const std::vector<LossTerm>& terms() const { return terms_; }          // those that depend on the weight
  const std::vector<std::int32_t>& records() const { return records_; }  // on the way, from loss to weight
  NodeId leaf() const { return leaf_; }                                  // of the weight's whole parameter
  bool on_the_way(NodeId node) const { return node != kNoNode && tape().node(node).requires_gradient; }
  Tensor gradient(NodeId node) const { return gradients_.of(node); }  // of the terms' weighted sum
  Tensor weight_gradient() const;                                     // [weight's shape]
  // What a record hands to one of its inputs, apart from what others hand it: its rule alone, run again. The
  // input need not be on the way.
  Tensor passed(std::int32_t record, std::size_t input) const;

 private:
  [[noreturn]] void fail_unreached(const PathQuery& query, std::int64_t layers) const;

  Recording recording_;
  NamedTensor weight_;
  NodeId leaf_ = kNoNode;
  std::vector<LossTerm> terms_;
  Gradients gradients_;
  std::vector<std::int32_t> records_;
};

// Square root of the sum of squares, in f64.
double norm_of(const Tensor& tensor);

}  // namespace costeff::audit
