#include "costeff/audit/path.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "autograd/ops.h"
#include "costeff/exits/multi_exit.h"
#include "tensor/error.h"

namespace costeff::audit {
namespace {

PathPart part_of(const Tags& tags, const std::string& term) {
  using Kind = PathPart::Kind;
  const std::int64_t layer = tags.layer;
  if (!term.empty()) return {Kind::loss, -1, term};
  if (tags.part == &kExitPart) return {Kind::exit, tags.exit, fmt::format("exit {}", tags.exit)};
  if (tags.part == &kRescaledState) return {Kind::rescale, layer, fmt::format("h_{}", layer)};
  if (tags.part == &kRescaledBranch)
    return {Kind::rescale, layer, fmt::format("h_{} to layer {}", layer, layer + 1)};
  if (tags.part == &kEmbeddingsPart) return {Kind::embeddings, layer, "embeddings"};
  if (tags.part == &kFfnPart) return {Kind::ffn, layer, fmt::format("layer {} ffn", layer)};
  return {Kind::attention, layer, fmt::format("layer {} attention", layer)};
}

// Walks a trace's records from the loss to the weight. All readers of a node come before the record that made
// it.
class Walk {
 public:
  Walk(const Trace& trace, const NamedTensor& weight) : trace_(trace), weight_(weight) {
    for (const LossTerm& term : trace.terms()) {
      factors_[term.node] = {1, 1};
      terms_[term.node] = term.name;
    }
    for (const std::int32_t index : trace.records()) step(index);
    path_.readers = readers(trace.leaf(), std::nullopt);
    path_.least_factor = factors_.at(trace.leaf()).least;
    path_.largest_factor = factors_.at(trace.leaf()).largest;
  }

  WeightPath take() { return std::move(path_); }

 private:
  struct Factors {
    double least = std::numeric_limits<double>::infinity();
    double largest = 0;
  };
  struct Passed {
    PathEdge edge;
    std::size_t part;  // of the reader
    Tensor gradient;
  };

  void step(std::int32_t index) {
    const Record& r = trace_.record(index);
    PathStep s{.record = index, .op = r.op, .path = trace_.tape().path(r.path), .tags = r.tags};
    const Node& output = trace_.tape().node(r.output);
    s.output = output.shape;
    s.node = r.output;
    s.gradient = norm_of(trace_.gradient(r.output));
    if (r.op == &kGradientRescale) s.factor = std::get<0>(r.attributes<1>());
    s.part = enter_part(r, s);
    s.readers = readers(r.output, s.part);
    for (std::size_t i = 0; i < r.inputs.size(); ++i) {
      const NodeId input = r.inputs[i];
      if (input == kNoNode) continue;
      s.inputs.push_back(trace_.tape().node(input).shape);
      if (trace_.on_the_way(input)) s.passes.push_back(pass(s, i, input));
    }
    path_.steps.push_back(std::move(s));
  }

  std::size_t enter_part(const Record& record, const PathStep& s) {
    const auto term = terms_.find(record.output);
    PathPart part = part_of(record.tags, term == terms_.end() ? "" : term->second);
    const auto [place, is_new] = parts_.try_emplace(part.name, path_.parts.size());
    if (is_new) {
      part.gradient = s.gradient;
      part.factor = s.factor;
      path_.parts.push_back(std::move(part));
    }
    path_.parts[place->second].steps.push_back(path_.steps.size());
    return place->second;
  }

  PathEdge pass(const PathStep& s, std::size_t i, NodeId input) {
    Tensor gradient = trace_.passed(s.record, i);
    if (input == trace_.leaf()) gradient = gradient.slice(weight_.begin, weight_.end);
    const PathEdge edge{s.record, i, input, norm_of(gradient)};
    const Factors above = factors_.at(s.node);
    Factors& f = factors_[input];
    f.least = std::min(f.least, above.least * s.factor.value_or(1));
    f.largest = std::max(f.largest, above.largest * s.factor.value_or(1));
    passed_[input].push_back({edge, s.part, std::move(gradient)});
    return edge;
  }

  // The readers of a node that `part` made, or of the weight; what each part hands over is summed up.
  std::vector<PathEdge> readers(NodeId node, std::optional<std::size_t> part) {
    std::vector<PathEdge> all;
    std::map<std::size_t, Tensor> by_part;
    for (const Passed& p : passed_[node]) {
      all.push_back(p.edge);
      Tensor& sum = by_part[p.part];
      sum = sum.defined() ? add(Variable(sum), Variable(p.gradient)).value() : p.gradient;
    }
    passed_.erase(node);
    for (const auto& [reader, gradient] : by_part) {
      if (reader != part) path_.edges.push_back({reader, part, norm_of(gradient)});
    }
    return all;
  }

  const Trace& trace_;
  const NamedTensor& weight_;
  std::map<NodeId, std::string> terms_;
  std::map<NodeId, Factors> factors_;
  std::map<NodeId, std::vector<Passed>> passed_;  // of nodes whose record is still to come
  std::map<std::string, std::size_t> parts_;
  WeightPath path_;
};

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Deviation {
  double largest = 0;     // of the scaled gradient's entries
  double difference = 0;  // the largest from factor times the plain one

  double relative() const { return largest > 0 ? difference / largest : difference; }
};

Deviation deviation(const Tensor& scaled, const Tensor& plain, double factor) {
  Deviation d;
  for (std::int64_t i = 0; i < scaled.numel(); ++i) {
    d.largest = std::max(d.largest, std::abs(scaled.at(i)));
    const double difference = std::abs(scaled.at(i) - factor * plain.at(i));
    d.difference = std::max(d.difference, std::isfinite(difference) ? difference : kInfinity);
  }
  return d;
}

// What rounding may leave of a gradient where it is 0 but for that, beside the norm of its whole parameter.
double rounding_of(double whole, DType dtype) {
  const double epsilon = dtype == DType::f64 ? std::numeric_limits<double>::epsilon()
                                             : static_cast<double>(std::numeric_limits<float>::epsilon());
  return 100 * epsilon * whole;
}

}  // namespace

WeightPath trace_path(const Bert& model, const LossOf& loss, const PathQuery& query, bool equalise) {
  const Trace trace(model, loss, query, equalise);
  WeightPath path = Walk(trace, query.weight).take();
  path.terms = trace.terms();
  path.weight = query.weight.name;
  path.role = query.weight.role;
  path.shape = query.weight.value().shape();
  path.layers = model.config().layers();
  path.place = place_of(path.role);
  path.equalised = equalise;
  const Tensor gradient = trace.weight_gradient();
  path.gradient = norm_of(gradient);
  const double rounding = rounding_of(norm_of(trace.gradient(trace.leaf())), gradient.dtype());
  path.vanishes = std::isfinite(rounding) && path.gradient <= rounding;
  const Tensor plain = equalise ? Trace(model, loss, query, false).weight_gradient() : gradient;
  path.plain_gradient = norm_of(plain);
  const Deviation d = deviation(gradient, plain, path.largest_factor);
  const double tolerance = gradient.dtype() == DType::f64 ? 1e-9 : 1e-4;
  path.deviation = d.relative();
  path.scaled = std::isfinite(d.difference) && d.difference <= tolerance * d.largest + rounding;
  return path;
}

std::optional<std::string> equalisation_fault(const WeightPath& path) {
  if (!path.equalised) return std::nullopt;
  const double closed = equalisation_factor(path.place, path.layers);
  const auto fits = [&](double factor) {
    const bool unscaled = path.place.kind == WeightPlace::Kind::embeddings && factor == 1;
    return unscaled || std::abs(factor - closed) <= 1e-12 * closed;
  };
  const std::string where = to_string(path.place, path.layers);
  if (!fits(path.least_factor) || !fits(path.largest_factor)) {
    return path.one_factor()
               ? fmt::format("the factors on the way to {} multiply to {:.6g}, where Eq. 3 has {:.6g}", where,
                             path.largest_factor, closed)
               : fmt::format(
                     "the factors multiply to {:.6g} on one way to {} and to {:.6g} on another, where "
                     "Eq. 3 has {:.6g}",
                     path.least_factor, where, path.largest_factor, closed);
  }
  if (path.one_factor() && !path.scaled) {
    return fmt::format(
        "the gradient is not {:.6g} times the one without equalisation: an entry is off by {:.2g} of the "
        "largest",
        path.largest_factor, path.deviation);
  }
  return std::nullopt;
}

}  // namespace costeff::audit
