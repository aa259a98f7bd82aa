#include "costeff/audit/loss_roots.h"

#include <algorithm>
#include <array>

#include "autograd/ops.h"
#include "costeff/train/losses.h"
#include "tensor/error.h"

namespace costeff::audit {
namespace {

std::size_t order_of(std::string_view kind) {
  constexpr std::array<std::string_view, 3> kinds = {"soft", "hard", "features"};
  return static_cast<std::size_t>(std::find(kinds.begin(), kinds.end(), kind) - kinds.begin());
}

}  // namespace

std::string LossRoot::name() const {
  return kind == "features" ? fmt::format("features {}", place) : fmt::format("exit {} {}", place, kind);
}

std::string LossRoot::id() const {
  return kind == "features" ? fmt::format("features.{}", place) : fmt::format("exit.{}.{}", place, kind);
}

std::vector<LossRoot> loss_roots(Tape& tape, const Variable& loss) {
  if (loss.tape() != &tape) fail("audit: the loss is not on this tape");
  std::vector<double> coefficients(tape.nodes().size(), 0.0);
  coefficients[static_cast<std::size_t>(loss.node())] = 1;
  std::vector<LossRoot> roots;
  for (auto id = loss.node(); id >= 0; --id) {
    const double c = coefficients[static_cast<std::size_t>(id)];
    const std::int32_t producer = tape.node(id).producer;
    if (c == 0 || producer < 0) continue;
    const Record& record = tape.records()[static_cast<std::size_t>(producer)];
    if (record.op == &kAdd || record.op == &kScale) {
      const double factor = record.op == &kScale ? std::get<0>(record.attributes<1>()) : 1;
      for (const NodeId input : record.inputs) {
        if (input != kNoNode) coefficients[static_cast<std::size_t>(input)] += c * factor;
      }
      continue;
    }
    const Symbol* kind = record.tags.loss;
    const bool exit = kind == &kSoftLoss || kind == &kHardLoss;
    if (!exit && kind != &kFeatureLoss) {
      fail("audit: '{}' is a term of the loss, and nothing says which: its record has no loss tag",
           tape.path(record.path));
    }
    const Node& node = tape.node(id);
    roots.push_back({Variable(Tensor::zeros(node.shape, node.dtype), &tape, id), std::string(kind->name),
                     exit ? record.tags.exit : record.tags.layer, c});
  }
  std::stable_sort(roots.begin(), roots.end(), [](const LossRoot& a, const LossRoot& b) {
    return std::pair(order_of(a.kind), a.place) < std::pair(order_of(b.kind), b.place);
  });
  return roots;
}

std::vector<Lane> lanes_of(std::span<const LossRoot> roots, const Variable& loss, bool rescale) {
  const Op* identity = rescale ? nullptr : &kGradientRescale;
  std::vector<Lane> lanes;
  lanes.reserve(roots.size() + 1);
  for (const LossRoot& root : roots) {
    const Variable& term = root.variable;
    const bool moves = term.tape()->node(term.node()).requires_gradient;
    const Tensor coefficient = Tensor::full(term.shape(), root.coefficient, term.dtype());
    lanes.push_back({moves ? Root{term, coefficient} : Root{}, identity});
  }
  lanes.push_back({{loss, {}}, identity});
  return lanes;
}

}  // namespace costeff::audit
