#include "nn/modules.h"

namespace costeff {

Variable linear(const Forward& forward, const ParameterStore& store, const Variable& x, Parameter& weight,
                Parameter* bias) {
  const Variable w = forward.parameter(weight);
  const bool bf16 = store.precision() == Precision::bf16;
  if (bias == nullptr) return bf16 ? linear_bf16(x, w) : linear(x, w);
  const Variable b = forward.parameter(*bias);
  return bf16 ? linear_bf16(x, w, b) : linear(x, w, b);
}

Linear::Linear(ParameterStore& store, const std::string& name, std::int64_t in, std::int64_t out)
    : store_(&store),
      weight_(&store.add(name + ".weight", {out, in})),
      bias_(&store.add(name + ".bias", {out})) {}

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
  Linear linear(store);
  linear.weight_ = &store.add_stacked(name + ".weight", {out, in}, std::move(weights));
  linear.bias_ = &store.add_stacked(name + ".bias", {out}, std::move(biases));
  return linear;
}

Variable Linear::operator()(const Forward& forward, const Variable& x) const {
  return linear(forward, *store_, x, *weight_, bias_);
}

Variable Linear::without_bias(const Forward& forward, const Variable& x) const {
  return linear(forward, *store_, x, *weight_, nullptr);
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
