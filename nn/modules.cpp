#include "nn/modules.h"

namespace costeff {
namespace {

NamedTensor piece_of(const ModuleRole& module, Piece piece) {
  WeightRole role = module.role;
  role.piece = piece;
  return {.name = module.name + (piece == Piece::weight ? ".weight" : ".bias"), .role = role};
}

Parameter& add(ParameterStore& store, const std::string& name, std::span<const ModuleRole> modules,
               Piece piece, const Shape& shape) {
  std::vector<NamedTensor> parts;
  for (const ModuleRole& module : modules) parts.push_back(piece_of(module, piece));
  return store.add_stacked(piece_of({name}, piece).name, shape, parts);
}

}  // namespace

Variable linear(const Forward& forward, const Variable& x, Parameter& weight, Parameter* bias) {
  const Variable w = forward.parameter(weight);
  if (bias == nullptr) return linear(x, w, forward.precision());
  return linear(x, w, forward.parameter(*bias), forward.precision());
}

Linear::Linear(ParameterStore& store, const ModuleRole& module, std::int64_t in, std::int64_t out)
    : Linear(store, module.name, std::span(&module, 1), in, out) {}

Linear::Linear(ParameterStore& store, const std::string& name, std::span<const ModuleRole> modules,
               std::int64_t in, std::int64_t out)
    : weight_(&add(store, name, modules, Piece::weight, {out, in})),
      bias_(&add(store, name, modules, Piece::bias, {out})) {}

Variable Linear::operator()(const Forward& forward, const Variable& x) const {
  return linear(forward, x, *weight_, bias_);
}

Variable Linear::without_bias(const Forward& forward, const Variable& x) const {
  return linear(forward, x, *weight_, nullptr);
}

LayerNorm::LayerNorm(ParameterStore& store, const ModuleRole& module, std::int64_t width, double epsilon)
    : weight_(&add(store, module.name, std::span(&module, 1), Piece::weight, {width})),
      bias_(&add(store, module.name, std::span(&module, 1), Piece::bias, {width})),
      epsilon_(epsilon) {}

Variable LayerNorm::operator()(const Forward& forward, const Variable& x) const {
  return layer_norm(x, forward.parameter(*weight_), forward.parameter(*bias_), epsilon_);
}

Variable LayerNorm::fused(const Forward& forward, const Variable& x, const Variable& bias,
                          const Dropout& dropout, const Variable& residual) const {
  return bias_dropout_residual_layer_norm(x, bias, dropout, residual, forward.parameter(*weight_),
                                          forward.parameter(*bias_), epsilon_);
}

}  // namespace costeff
