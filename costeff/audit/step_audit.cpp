#include "costeff/audit/step_audit.h"

#include <cmath>
#include <map>

#include "autograd/lanes.h"
#include "costeff/audit/groups.h"
#include "costeff/audit/loss_roots.h"
#include "costeff/audit/products.h"

namespace costeff::audit {
namespace {

Json conflict_of(const std::vector<LossRoot>& roots, const std::vector<double>& products) {
  const std::size_t lanes = roots.size() + 1;
  Json worst;
  double lowest = 2;
  for (std::size_t a = 0; a < roots.size(); ++a) {
    for (std::size_t b = a + 1; b < roots.size(); ++b) {
      const double squares = products[a * lanes + a] * products[b * lanes + b];
      if (roots[a].kind == "features" || roots[a].kind != roots[b].kind || squares <= 0) continue;
      const double cosine = products[a * lanes + b] / std::sqrt(squares);
      if (cosine >= lowest) continue;
      lowest = cosine;
      worst = {{"between", {roots[a].name(), roots[b].name()}}, {"cosine", cosine}};
    }
  }
  return worst;
}

}  // namespace

Json audit_step(Tape& tape, const Variable& loss, std::int64_t layers) {
  const std::vector<LossRoot> roots = loss_roots(tape, loss);
  const std::size_t count = roots.size() + 1;  // and the whole loss
  std::vector<Lane> lanes;
  lanes.reserve(count);
  for (const LossRoot& root : roots) {
    const Tensor coefficient = Tensor::full(root.variable.shape(), root.coefficient, root.variable.dtype());
    const bool moves = tape.node(root.variable.node()).requires_gradient;
    lanes.push_back({moves ? Root{root.variable, coefficient} : Root{}});
  }
  lanes.push_back({{loss, {}}});
  std::map<std::int64_t, std::vector<double>> products;  // by layer, [count, count]
  double square = 0;
  backward_lanes(tape, lanes, [&](const LaneGradients& g) {
    const Group group = group_of(g.parameter.name, layers);
    if (group.kind == Kind::exit) {
      const Tensor joint =
          g.values.slice(static_cast<std::int64_t>(count) - 1, static_cast<std::int64_t>(count));
      square += dot(joint, joint);
      return;
    }
    std::vector<double>& layer = products[group.layer];
    layer.resize(count * count, 0.0);
    std::vector<std::size_t> here;
    for (std::size_t lane = 0; lane < count; ++lane) {
      if (g.reached[lane] != 0) here.push_back(lane);
    }
    add_products(g.values, here, count, layer);
  });
  Json names = Json::array(), rows = Json::array();
  for (const LossRoot& root : roots) names.push_back(root.name());
  for (const auto& [layer, p] : products) {
    const double joint = p[(count - 1) * count + count - 1];
    square += joint;
    Json shares = Json::array();
    for (std::size_t j = 0; j + 1 < count; ++j)
      shares.push_back(joint > 0 ? Json(p[j * count + count - 1] / joint) : Json());
    rows.push_back({{"layer", layer},
                    {"norm", std::sqrt(joint)},
                    {"shares", shares},
                    {"conflict", conflict_of(roots, p)}});
  }
  return {{"roots", names}, {"norm", std::sqrt(square)}, {"layers", rows}};
}

}  // namespace costeff::audit
