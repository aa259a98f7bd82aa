#include "costeff/importance.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "costeff/classifier.h"
#include "tensor/error.h"

namespace costeff {
namespace {

// The parameters of layer k that its scores are made of, as rows of the parameters that hold them.
struct LayerTensors {
  NamedTensor query, key, value, query_bias, key_bias, value_bias;  // [A d, H] and [A d]
  NamedTensor output;                                               // W_O [H, A d]
  NamedTensor intermediate, intermediate_bias;                      // W_FI [F, H] and [F]
  NamedTensor ffn_output;                                           // W_FO [H, F]
};

LayerTensors layer_tensors(const ParameterStore& store, std::int64_t k) {
  const std::string layer = fmt::format("bert.encoder.layer.{}.", k - 1);
  const auto find = [&](const char* name) { return store.find(layer + name); };
  return {find("attention.self.query.weight"),   find("attention.self.key.weight"),
          find("attention.self.value.weight"),   find("attention.self.query.bias"),
          find("attention.self.key.bias"),       find("attention.self.value.bias"),
          find("attention.output.dense.weight"), find("intermediate.dense.weight"),
          find("intermediate.dense.bias"),       find("output.dense.weight")};
}

bool is_scored(std::string_view name) {
  return name.starts_with("bert.encoder.layer.") && name.find("LayerNorm") == std::string_view::npos &&
         !name.ends_with("output.dense.bias");
}

// total += weight * gradient, or its absolute value
void add_gradient(const Tensor& total, const Tensor& gradient, double weight, bool absolute) {
  dispatch(total.dtype(), [&](auto element) {
    using T = decltype(element);
    T* sum = total.data<T>();
    const T* g = gradient.data<T>();
    for (std::int64_t i = 0; i < total.numel(); ++i)
      sum[i] += absolute ? std::abs(g[i]) : static_cast<T>(weight) * g[i];
  });
}

}  // namespace

Importance::Importance(const Bert& model, Fidelity fidelity) : model_(model), fidelity_(fidelity) {
  for (const Parameter* p : model.parameters().parameters()) {
    sums_.push_back(is_scored(p->name) ? Tensor::zeros(p->value.shape(), p->value.dtype()) : Tensor());
  }
}

void Importance::add(const Batch& batch, const Loss& loss) {
  Tape tape;
  Forward forward(tape);
  const Variable value = loss(forward, batch, token_batch(batch));
  const Gradients gradients = tape.backward(value);
  const auto sequences = static_cast<double>(batch.sequences());
  const std::span<Parameter* const> parameters = model_.parameters().parameters();
  for (std::size_t i = 0; i < sums_.size(); ++i) {
    if (!sums_[i].defined()) continue;
    const Tensor gradient = gradients.of(tape.parameter(*parameters[i]));
    if (gradient.defined()) add_gradient(sums_[i], gradient, sequences, fidelity_ == Fidelity::release);
  }
  sequences_ += sequences;
}

ImportanceScores Importance::scores() const {
  if (sequences_ == 0) fail("importance: no calibration batch was given");
  const bool release = fidelity_ == Fidelity::release;
  const BertConfig& config = model_.config();
  const std::span<Parameter* const> parameters = model_.parameters().parameters();
  // Adds g w (paper) or |g w| (release) of each element to the score that its row or its column belongs to.
  const auto collect = [&](const NamedTensor& t, bool columns, std::int64_t width,
                           std::vector<double>& scores) {
    const auto at = std::find(parameters.begin(), parameters.end(), t.parameter) - parameters.begin();
    const Tensor g = sums_[static_cast<std::size_t>(at)].slice(t.begin, t.end);
    const Tensor w = t.value();
    const double factor = release ? 1 : 1 / sequences_;
    dispatch(w.dtype(), [&](auto element) {
      using T = decltype(element);
      const std::int64_t cols = columns ? w.shape().cols() : w.numel() / w.shape()[0];
      for (std::int64_t i = 0; i < w.numel(); ++i) {
        const double product =
            factor * static_cast<double>(g.data<T>()[i]) * static_cast<double>(w.data<T>()[i]);
        scores[static_cast<std::size_t>((columns ? i % cols : i / cols) / width)] +=
            release ? std::abs(product) : product;
      }
    });
  };
  ImportanceScores out;
  for (std::int64_t k = 1; k <= config.layers(); ++k) {
    const auto i = static_cast<std::size_t>(k - 1);
    const LayerTensors t = layer_tensors(model_.parameters(), k);
    std::vector<double>& heads = out.heads.emplace_back(static_cast<std::size_t>(config.heads[i]), 0.0);
    std::vector<double>& neurons = out.neurons.emplace_back(static_cast<std::size_t>(config.ffn[i]), 0.0);
    collect(t.output, true, config.head_dim, heads);
    collect(t.intermediate, false, 1, neurons);
    collect(t.ffn_output, true, 1, neurons);
    if (release) continue;
    for (const NamedTensor* rows : {&t.query, &t.key, &t.value, &t.query_bias, &t.key_bias, &t.value_bias}) {
      collect(*rows, false, config.head_dim, heads);
    }
    collect(t.intermediate_bias, false, 1, neurons);
    for (std::vector<double>* scores : {&heads, &neurons}) {
      for (double& score : *scores) score = std::abs(score);
    }
  }
  return out;
}

std::vector<std::int64_t> keep_top(std::span<const double> scores, std::int64_t count) {
  if (count < 1 || count > static_cast<std::int64_t>(scores.size())) {
    fail("cannot keep {} of {}", count, scores.size());
  }
  std::vector<std::int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  order.resize(static_cast<std::size_t>(count));
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace costeff
