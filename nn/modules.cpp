#include "nn/modules.h"

namespace costeff {

Linear::Linear(ParameterStore& store, const std::string& name, std::int64_t in, std::int64_t out)
    : weight_(&store.add(name + ".weight", {out, in})), bias_(&store.add(name + ".bias", {out})) {}

Linear Linear::stacked(ParameterStore& store, const std::string& name, std::int64_t in, std::int64_t out,
                       std::span<const std::string> names) {
  std::vector<Parameter::Part> weights;
  std::vector<Parameter::Part> biases;
  const std::int64_t rows = out / static_cast<std::int64_t>(names.size());
  std::int64_t begin = 0;
  for (const std::string& part : names) {
    weights.push_back({part + ".weight", begin, begin + rows});
    biases.push_back({part + ".bias", begin, begin + rows});
    begin += rows;
  }
  Linear linear;
  linear.weight_ = &store.add_stacked(name + ".weight", {out, in}, std::move(weights));
  linear.bias_ = &store.add_stacked(name + ".bias", {out}, std::move(biases));
  return linear;
}

Variable Linear::operator()(const Forward& forward, const Variable& x) const {
  return linear(x, forward.parameter(*weight_), forward.parameter(*bias_));
}

Variable Linear::without_bias(const Forward& forward, const Variable& x) const {
  return linear(x, forward.parameter(*weight_));
}

LayerNorm::LayerNorm(ParameterStore& store, const std::string& name, std::int64_t width, double epsilon)
    : weight_(&store.add(name + ".weight", {width})),
      bias_(&store.add(name + ".bias", {width})),
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
