#include "nn/parameters.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tensor/error.h"
#include "tensor/philox.h"

namespace costeff {
namespace {

// Tables by rows first, then weights that decay, then the rest.
int region(const Parameter& p) {
  return p.by_rows ? 0 : (p.decays ? 1 : 2);
}

}  // namespace

Parameter& ParameterStore::add(std::string name, const Shape& shape, const WeightRole& role) {
  const NamedTensor whole{.name = name, .role = role};
  return add_stacked(std::move(name), shape, std::span(&whole, 1));
}

Parameter& ParameterStore::add_stacked(std::string name, const Shape& shape,
                                       std::span<const NamedTensor> parts) {
  for (const Parameter& p : parameters_) {
    if (p.name == name) fail("two parameters named {}", name);
  }
  Parameter& p = parameters_.emplace_back();
  p.name = std::move(name);
  p.decays = decays(parts.front().role);
  shapes_.push_back(shape);
  const std::int64_t rows = shape[0] / static_cast<std::int64_t>(parts.size());
  std::int64_t begin = 0;
  for (const NamedTensor& part : parts) {
    named_.push_back({part.name, part.role, &p, begin, begin + rows});
    begin += rows;
  }
  return p;
}

Parameter& ParameterStore::add_table(std::string name, const Shape& shape, const WeightRole& role) {
  Parameter& p = add(std::move(name), shape, role);
  p.by_rows = true;
  p.touched = RowSet(shape[0]);
  return p;
}

void ParameterStore::allocate() {
  std::int64_t total = 0;
  for (const Shape& s : shapes_) total += s.numel();
  values_ = Tensor::empty({total}, dtype_, device_);
  place_values();
}

void ParameterStore::place_values() {
  std::int64_t begin = 0;
  order_.clear();
  for (int wanted = 0; wanted < 3; ++wanted) {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      Parameter& p = parameters_[i];
      if (region(p) != wanted) continue;
      p.value = values_.slice(begin, begin + shapes_[i].numel()).reshape(shapes_[i]);
      begin += shapes_[i].numel();
      order_.push_back(&p);
    }
  }
}

void ParameterStore::allocate_gradients() {
  if (gradients_.defined()) return;
  gradients_ = Tensor::zeros(values_.shape(), dtype_, device_);
  place_gradients();
}

void ParameterStore::place_gradients() {
  for (Parameter* p : order_) {
    const std::int64_t begin = offset(*p);
    p->gradient = gradients_.slice(begin, begin + p->value.numel()).reshape(p->value.shape());
  }
}

void ParameterStore::to(Device device) {
  device_ = device;
  values_ = values_.to(device);
  place_values();
  if (!gradients_.defined()) return;
  gradients_ = gradients_.to(device);
  place_gradients();
}

std::int64_t ParameterStore::count() const {
  return values_.numel();
}

const NamedTensor& ParameterStore::find(std::string_view name) const {
  for (const NamedTensor& t : named_) {
    if (t.name == name) return t;
  }
  fail("the model has no parameter {}", name);
}

const NamedTensor& ParameterStore::find(const WeightRole& role) const {
  for (const NamedTensor& t : named_) {
    if (t.role == role) return t;
  }
  fail("the model has no such parameter: part {}, layer {}, exit {}", static_cast<int>(role.part), role.layer,
       role.exit);
}

const WeightRole& ParameterStore::role(const Parameter& parameter) const {
  for (const NamedTensor& t : named_) {
    if (t.parameter == &parameter) return t.role;
  }
  fail("the model has no parameter {}", parameter.name);
}

std::int64_t ParameterStore::offset(const Parameter& parameter) const {
  const auto* first = static_cast<const std::byte*>(values_.raw());
  const auto* own = static_cast<const std::byte*>(parameter.value.raw());
  return (own - first) / static_cast<std::int64_t>(size_of(dtype_));
}

void ParameterStore::freeze(const std::function<bool(const WeightRole& role)>& which) {
  for (const NamedTensor& t : named_) t.parameter->frozen = which(t.role);
}

void ParameterStore::clear_gradients() const {
  for (Parameter* p : order_) p->has_gradient = false;
}

void initialise_normal(const Tensor& tensor, std::string_view name, double deviation, std::uint64_t seed) {
  std::uint64_t hash = 14695981039346656037u;  // FNV-1a of the name: a stream of its own for each tensor
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  const Tensor values = Tensor::empty({tensor.numel()}, DType::f64);
  const std::span<double> out = values.span<double>();
  for (std::size_t i = 0; i < out.size(); i += 2) {
    const auto r = philox4x32({low(i), high(i), low(hash), high(hash)}, {low(seed), high(seed)});
    // Box-Muller: two uniform numbers in (0, 1] make two normal ones.
    const double u = (static_cast<double>(r[0]) + 1) / 4294967296.0;
    const double angle = 2 * std::numbers::pi * static_cast<double>(r[1]) / 4294967296.0;
    const double radius = deviation * std::sqrt(-2 * std::log(u));
    out[i] = radius * std::cos(angle);
    if (i + 1 < out.size()) out[i + 1] = radius * std::sin(angle);
  }
  tensor.copy_from(values.reshape(tensor.shape()));
}

}  // namespace costeff
