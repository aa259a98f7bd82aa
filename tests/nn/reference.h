// Models and inputs of the reference files: sizes from the metadata, weights under "w/", batches padded to
// the longest row.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "nn/bert.h"
#include "nn/safetensors.h"
#include "tests/device.h"
#include "tests/support.h"

namespace costeff::testing {

inline Tensor read_tensor(const SafetensorsFile& file, const std::string& name) {
  const TensorInfo& info = file.info(name);
  Shape shape;
  switch (info.shape.size()) {
    case 0:
      break;
    case 1:
      shape = {info.shape[0]};
      break;
    case 2:
      shape = {info.shape[0], info.shape[1]};
      break;
    case 3:
      shape = {info.shape[0], info.shape[1], info.shape[2]};
      break;
    default:
      shape = {info.shape[0], info.shape[1], info.shape[2], info.shape[3]};
  }
  Tensor t = Tensor::empty(shape, DType::f64);
  file.read_f64(name, t.data<double>(), t.numel());
  return t;
}

inline std::vector<std::int64_t> read_integers(const SafetensorsFile& file, const std::string& name) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(file.info(name).count()));
  file.read_i64(name, values.data(), static_cast<std::int64_t>(values.size()));
  return values;
}

inline nlohmann::json metadata(const SafetensorsFile& file, const std::string& key) {
  return nlohmann::json::parse(file.metadata().at(key));
}

inline BertConfig config_of(const nlohmann::json& c) {
  BertConfig config;
  config.vocab_size = c.at("vocab");
  config.hidden_size = c.at("hidden");
  config.head_dim = c.at("head_dim");
  config.heads = c.at("heads").get<std::vector<std::int64_t>>();
  config.ffn = c.at("ffn").get<std::vector<std::int64_t>>();
  config.embedding_rank = c.at("rank");
  config.max_position_embeddings = c.at("positions");
  config.type_vocab_size = c.at("types");
  config.layer_norm_eps = c.at("layer_norm_eps");
  config.labels.assign(c.at("classes").get<std::size_t>(), "");
  for (std::size_t i = 0; i < config.labels.size(); ++i) config.labels[i] = std::to_string(i);
  return config;
}

// The padded batch "in/PREFIXids", "in/PREFIXtypes", "in/PREFIXmask": packed, or with its padding rows.
inline TokenBatch read_batch(const SafetensorsFile& file, const std::string& prefix, bool padded = false) {
  const auto ids = read_integers(file, "in/" + prefix + "ids");
  const auto types = read_integers(file, "in/" + prefix + "types");
  const auto mask = read_integers(file, "in/" + prefix + "mask");
  const std::int64_t count = file.info("in/" + prefix + "ids").shape[0];
  const std::int64_t longest = file.info("in/" + prefix + "ids").shape[1];
  std::vector<std::int32_t> packed, packed_types, positions, offsets = {0}, lengths;
  for (std::int64_t s = 0; s < count; ++s) {
    std::int32_t real = 0;
    for (std::int64_t t = 0; t < longest; ++t) {
      const auto at = static_cast<std::size_t>(s * longest + t);
      real += static_cast<std::int32_t>(mask[at]);
      if (mask[at] == 0 && !padded) continue;
      packed.push_back(static_cast<std::int32_t>(ids[at]));
      packed_types.push_back(static_cast<std::int32_t>(types[at]));
      positions.push_back(static_cast<std::int32_t>(t));
    }
    lengths.push_back(real);
    offsets.push_back(static_cast<std::int32_t>(packed.size()));
  }
  const Shape rows{static_cast<std::int64_t>(packed.size())};
  const auto tensor = [&](const std::vector<std::int32_t>& v) {
    return Tensor::from(std::span<const std::int32_t>(v), rows);
  };
  return {tensor(packed), tensor(packed_types), tensor(positions), make_layout(offsets, lengths)};
}

// Fills every parameter that the file has; names that are absent keep what they hold.
inline void read_weights(const SafetensorsFile& file, const std::string& prefix, ParameterStore& parameters) {
  for (const NamedTensor& t : parameters.named()) {
    if (file.contains(prefix + t.name))
      t.value().copy_from(read_tensor(file, prefix + t.name).reshape(t.value().shape()));
  }
}

// The largest difference over the real rows of "out/NAME" [sequences, longest, width].
inline double row_error(const Tensor& found, const Tensor& expected, const Layout& layout) {
  const Tensor rows = found.to(kCpu);
  const std::int64_t longest = expected.shape()[1];
  const std::int64_t width = expected.shape()[2];
  double worst = 0;
  for (std::int64_t s = 0; s < layout.sequences(); ++s) {
    for (std::int64_t i = 0; i < layout.length(s) * width; ++i) {
      const double error =
          std::abs(rows.at(layout.offset(s) * width + i) - expected.at(s * longest * width + i));
      worst = worse(worst, error);
    }
  }
  return worst;
}

inline double largest_difference(const Tensor& found, const Tensor& expected) {
  EXPECT_EQ(found.numel(), expected.numel());
  const Tensor a = found.to(kCpu), b = expected.to(kCpu);
  double worst = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    const double error = std::abs(a.at(i) - b.at(i));
    worst = worse(worst, error);
  }
  return worst;
}

}  // namespace costeff::testing
