// What the tests of this room share: the default backbone, a small model, and made-up sentences of token ids.
#pragma once

#include <cstdlib>

#include "costeff/train/classifier.h"
#include "costeff/train/trainer.h"
#include "tests/nn/reference.h"

namespace costeff::testing {

// The default backbone, where tools/fetch_backbone.sh puts it; COSTEFF_BACKBONE names another place.
inline std::string backbone_folder() {
  if (const char* folder = std::getenv("COSTEFF_BACKBONE")) return folder;
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  const std::string base = cache != nullptr ? cache : std::string(home != nullptr ? home : "") + "/.cache";
  return base + "/costeff/minilm-l6";
}

inline BertConfig small_config(std::int64_t labels = 3) {
  BertConfig c = BertConfig::plain(60, 24, 3, 4, 40);
  c.max_position_embeddings = 40;
  c.labels.resize(static_cast<std::size_t>(labels));
  for (std::size_t i = 0; i < c.labels.size(); ++i) c.labels[i] = std::to_string(i);
  c.initializer_range = 0.2;
  return c;
}

inline EncodedDataset random_dataset(std::size_t sequences, std::int32_t labels = 3,
                                     std::uint32_t longest = 12) {
  EncodedDataset data;
  for (std::uint32_t s = 0; s < sequences; ++s) {
    const auto r = philox4x32({s, 0, 0, 9}, {5, 6});
    Encoding e;
    for (std::uint32_t t = 0; t < 2 + r[0] % longest; ++t) {
      e.ids.push_back(static_cast<std::int32_t>(philox4x32({s, t, 1, 9}, {5, 6})[0] % 60));
    }
    e.token_type_ids.assign(e.ids.size(), 0);
    data.add(e, static_cast<std::int32_t>(r[1]) & 0x7fffffff, 0);
    data.labels.back() %= labels;
  }
  return data;
}

inline Batch batch_of(const EncodedDataset& data, std::int32_t begin, std::int32_t end,
                      std::optional<std::size_t> pad_to = std::nullopt) {
  std::vector<std::int32_t> rows;
  for (std::int32_t i = begin; i < end; ++i) rows.push_back(i);
  Batch batch;
  fill_batch(data, rows, pad_to, batch);
  return batch;
}

inline Variable classification_loss(const Bert& model, Forward& forward, const Batch& batch,
                                    const TokenBatch& tokens) {
  return cross_entropy(model.logits(forward, tokens),
                       Tensor::from(std::span(batch.labels), {static_cast<std::int64_t>(batch.sequences())}));
}

inline Trainer::Loss loss_of(const Bert& model) {
  return [&model](Forward& forward, const Batch& batch, const TokenBatch& tokens) {
    return classification_loss(model, forward, batch, tokens);
  };
}

}  // namespace costeff::testing
