// Models, batches and gradients of the reference files that the multi-exit method is compared with.
#pragma once

#include "costeff/exits/multi_exit.h"
#include "data/batches.h"
#include "tests/nn/reference.h"

namespace costeff::testing {

// A multi-exit model with the weights "w/PREFIX...", of the file's config.
inline std::unique_ptr<Bert> read_model(const SafetensorsFile& file, const std::string& prefix, DType dtype,
                                        const std::optional<ExitConfig>& exits = ExitConfig{}) {
  BertConfig config = config_of(metadata(file, "config"));
  config.exits = exits;
  auto model = std::make_unique<Bert>(std::move(config), dtype);
  model->initialise(0);
  read_weights(file, "w/" + prefix, model->parameters());
  model->to(test_device());
  return model;
}

// The padded batch "in/PREFIX...", packed, with its labels.
inline Batch read_packed(const SafetensorsFile& file, const std::string& prefix) {
  const TokenBatch tokens = read_batch(file, prefix);
  Batch batch;
  const auto values = [](const Tensor& t) {
    const auto span = t.span<const std::int32_t>();
    return std::vector<std::int32_t>(span.begin(), span.end());
  };
  batch.ids = values(tokens.ids);
  batch.token_types = values(tokens.token_types);
  batch.positions = values(tokens.positions);
  const auto offsets = tokens.layout->offsets();
  batch.offsets.assign(offsets.begin(), offsets.end());
  for (std::int64_t s = 0; s < tokens.layout->sequences(); ++s) {
    batch.lengths.push_back(static_cast<std::int32_t>(tokens.layout->length(s)));
  }
  for (const std::int64_t label : read_integers(file, "in/" + prefix + "labels")) {
    batch.labels.push_back(static_cast<std::int32_t>(label));
  }
  batch.scores.assign(batch.labels.size(), std::nan(""));
  return batch;
}

// The largest difference of the gradients from "out/NAME/PARAM", relative to the largest entry of the whole
// gradient: a key bias has none but rounding noise. A parameter that no root reached has gradient 0.
inline double gradient_error(const SafetensorsFile& file, const std::string& name, Tape& tape,
                             const Gradients& gradients, const ParameterStore& parameters) {
  double largest = 0;
  double worst = 0;
  for (const NamedTensor& t : parameters.named()) {
    const Tensor expected = read_tensor(file, "out/" + name + "/" + t.name);
    const Tensor whole = gradients.of(tape.parameter(*t.parameter));
    const Tensor zero = Tensor::zeros(t.value().shape(), DType::f64);
    const Tensor found = whole.defined() ? whole.slice(t.begin, t.end) : zero;
    largest = std::max(largest, largest_difference(expected.reshape(zero.shape()), zero));
    worst = worse(worst, largest_difference(found, expected));
  }
  return worst / largest;
}

}  // namespace costeff::testing
