#include "costeff/audit/step_audit.h"

#include <cmath>
#include <map>

#include "autograd/lanes.h"
#include "costeff/audit/gradient_view.h"
#include "costeff/audit/loss_roots.h"
#include "costeff/audit/products.h"

namespace costeff::audit {
namespace {

Json conflict_of(const std::vector<LossRoot>& roots, const std::vector<double>& products) {
  std::vector<std::string> kinds;
  kinds.reserve(roots.size());
  for (const LossRoot& root : roots) kinds.push_back(root.kind);
  const auto worst = worst_pair(kinds, products, roots.size() + 1);
  if (!worst) return {};
  return {{"between", {roots[worst->a].name(), roots[worst->b].name()}}, {"cosine", worst->cosine}};
}

}  // namespace

Json audit_step(Tape& tape, const Variable& loss, const ParameterStore& parameters) {
  const std::vector<LossRoot> roots = loss_roots(tape, loss);
  const std::size_t count = roots.size() + 1;            // and the whole loss
  std::map<std::int64_t, std::vector<double>> products;  // by layer, [count, count]
  double square = 0;
  backward_lanes(tape, lanes_of(roots, loss, true), [&](const LaneGradients& g) {
    const Group group = group_of(parameters.role(g.parameter));
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
