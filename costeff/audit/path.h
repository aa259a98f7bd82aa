// The way from a loss to a weight: the records through which the one moves the other, from the loss on, with
// the gradient that comes into each and what it hands on.
#pragma once

#include "costeff/audit/path_trace.h"

namespace costeff::audit {

// What one record hands to one of its inputs that lies on the way.
struct PathEdge {
  std::int32_t reader = -1;  // the record
  std::size_t input = 0;     // which of its inputs
  NodeId node = kNoNode;     // the input: a node on the tape, or the weight's leaf
  double gradient = 0;       // norm; at the weight of its own rows alone, where it is part of a parameter
};

struct PathStep {
  std::int32_t record = -1;  // index on the tape
  const Op* op = nullptr;
  std::string path;  // in the model
  Tags tags;
  std::vector<Shape> inputs;  // of all inputs on the tape
  Shape output;
  NodeId node = kNoNode;          // of the output
  std::optional<double> factor;   // of a gradient_rescale
  double gradient = 0;            // norm of dL / d output, the sum over its readers
  std::vector<PathEdge> passes;   // to its inputs on the way
  std::vector<PathEdge> readers;  // of its output, on the way: where there are several, ways meet here
  std::size_t part = 0;
};

// The records of one part of a layer, or of an exit: what a picture shows as one box.
struct PathPart {
  enum class Kind : std::uint8_t { loss, exit, rescale, ffn, attention, embeddings };
  Kind kind = Kind::loss;
  std::int64_t number = -1;  // of the layer or exit; -1 of losses, which have names
  std::string name;  // "exit.3.soft", "exit 3", "h_3" (the rescaled state, s1 of Eq. 3), "h_3 to layer 4"
                     // (s2), "layer 3 ffn"
  std::vector<std::size_t> steps;
  double gradient = 0;  // norm of dL / d what it computes
  std::optional<double> factor;
};

// The gradient that one part hands to another, or to the weight.
struct PartEdge {
  std::size_t from = 0;
  std::optional<std::size_t> to;  // nothing: the weight
  double gradient = 0;
};

struct WeightPath {
  std::vector<LossTerm> terms;  // that move the weight
  std::string weight;
  WeightRole role;  // of the weight
  Shape shape;
  WeightPlace place;
  std::int64_t layers = 0;
  bool equalised = true;
  std::vector<PathStep> steps;    // from the loss to the weight
  std::vector<PathEdge> readers;  // of the weight
  std::vector<PathPart> parts;    // in the order of the steps
  std::vector<PartEdge> edges;
  double gradient = 0;  // norm of dL / d weight
  // The product of the rescale factors on a way from loss to weight: the smallest and the largest over all
  // ways. One number where Eq. 3 speaks of it; two where an exit or a feature loss reads h_0, which nothing
  // rescales.
  double least_factor = 1;
  double largest_factor = 1;
  double plain_gradient = 0;  // norm of dL / d weight without equalisation, measured in a pass of its own
  // The largest difference between the gradient and largest_factor times the plain one, relative to the
  // gradient's largest entry.
  double deviation = 0;
  // The gradient is 0 but for rounding, as that of a key's bias is, which adds the same to all scores of a
  // query: it is that small beside the gradient of the parameter that the weight is a part of.
  bool vanishes = false;

  // The gradient is largest_factor times the plain one within rounding: to 1e-4 of its largest entry in f32
  // and 1e-9 in f64, and to what rounding leaves of the whole parameter's gradient.
  bool scaled = true;

  bool one_factor() const { return largest_factor - least_factor <= 1e-12 * largest_factor; }
};

// What is wrong with the equalisation of a weight, by Eq. 3; nothing where it is right. The embeddings may
// have two factors, or 1 alone: h_0 itself is not rescaled.
std::optional<std::string> equalisation_fault(const WeightPath& path);

// Throws as Trace does.
WeightPath trace_path(const Bert& model, const LossOf& loss, const PathQuery& query, bool equalise);

}  // namespace costeff::audit
