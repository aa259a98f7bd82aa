#include "costeff/audit/moments.h"

#include <cmath>

#include "nn/safetensors.h"
#include "tensor/backend.h"

namespace costeff::audit {

Moments::Moments(const ParameterStore& store, const AdamWOptions& options)
    : store_(store), options_(options) {}

void Moments::allocate() {
  m_ = Tensor::zeros(store_.values().shape(), store_.dtype());
  v_ = Tensor::zeros(store_.values().shape(), store_.dtype());
}

void Moments::read(const std::string& checkpoint, std::int64_t steps) {
  const SafetensorsFile file(checkpoint + "/training.safetensors");
  allocate();
  file.read("first_moments", m_);
  file.read("second_moments", v_);
  steps_ = steps;
}

void Moments::begin() {
  ++steps_;
  if (!m_.defined()) return allocate();
  dispatch(store_.dtype(), [&](auto element) {
    using T = decltype(element);
    const Kernels<T>& k = kernels<T>(m_.device());
    k.scale(m_.numel(), static_cast<T>(options_.beta1), m_.data<T>(), T(0), m_.data<T>());
    k.scale(v_.numel(), static_cast<T>(options_.beta2), v_.data<T>(), T(0), v_.data<T>());
  });
}

template <class F>
void Moments::for_each_element(const LaneGradients& g, F&& f) const {
  const std::int64_t offset = store_.offset(g.parameter);
  if (g.rows.empty()) {
    const std::int64_t n = g.parameter.value.numel();
    for (std::int64_t i = 0; i < n; ++i) f(i, offset + i);
    return;
  }
  const std::int64_t cols = g.parameter.value.shape().cols();
  std::int64_t i = 0;
  for (const std::int32_t row : g.rows) {
    for (std::int64_t c = 0; c < cols; ++c) f(i++, offset + row * cols + c);
  }
}

void Moments::add(const LaneGradients& gradients, std::size_t lane, double clip) {
  dispatch(store_.dtype(), [&](auto element) {
    using T = decltype(element);
    const auto at = static_cast<std::int64_t>(lane);
    const T* g = gradients.values.slice(at, at + 1).template host<T>();
    T* m = m_.host<T>();
    T* v = v_.host<T>();
    const auto one = static_cast<T>((1 - options_.beta1) * clip);
    const auto two = static_cast<T>((1 - options_.beta2) * clip * clip);
    for_each_element(gradients, [&](std::int64_t i, std::int64_t flat) {
      m[flat] += one * g[i];
      v[flat] += two * g[i] * g[i];
    });
  });
}

Moments::Next Moments::next(const LaneGradients& gradients, std::size_t lane, double clip) const {
  constexpr double kFelt = 100;
  const auto t = static_cast<double>(steps_ + 1);
  const double bias1 = 1 - std::pow(options_.beta1, t), bias2 = 1 - std::pow(options_.beta2, t);
  const std::int64_t n = gradients.values.shape()[1];
  // In transformers' AdamW epsilon is added before v is corrected for its bias.
  const double epsilon =
      options_.variant == AdamVariant::transformers ? options_.epsilon / std::sqrt(bias2) : options_.epsilon;
  Next next{Tensor::empty({n}, DType::f64), Tensor::empty({n}, DType::f64), Tensor::empty({n}, DType::f64)};
  dispatch(store_.dtype(), [&](auto element) {
    using T = decltype(element);
    const auto at = static_cast<std::int64_t>(lane);
    const T* g = gradients.values.slice(at, at + 1).template host<T>();
    const T* m = steps_ > 0 ? m_.host<T>() : nullptr;
    const T* v = steps_ > 0 ? v_.host<T>() : nullptr;
    double* history = next.history.host<double>();
    double* gain = next.gain.host<double>();
    double* damping = next.damping.host<double>();
    for_each_element(gradients, [&](std::int64_t i, std::int64_t flat) {
      const double step = clip * static_cast<double>(g[i]);
      const double before = v == nullptr ? 0 : static_cast<double>(v[flat]);
      const double second = options_.beta2 * before + (1 - options_.beta2) * step * step;
      const double root = std::sqrt(second / bias2);
      const double divisor = bias1 * (root + epsilon);
      history[i] = m == nullptr ? 0 : options_.beta1 * static_cast<double>(m[flat]) / divisor;
      gain[i] = (1 - options_.beta1) * clip / divisor;
      damping[i] = root > 0 ? root / (root + epsilon) : 1;
      if (root < kFelt * epsilon) ++next.near_epsilon;
    });
  });
  return next;
}

}  // namespace costeff::audit
