// The parts of a multi-exit BERT that an audit speaks of: layer by layer, kind by kind.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "nn/weight_role.h"

namespace costeff::audit {

enum class Kind : std::uint8_t { embedding, low_rank, attention, ffn, layer_norm, exit };
std::string_view name_of(Kind kind);  // "attention", "low-rank factors"

struct Group {
  std::int64_t layer = 0;  // 0: the embeddings; of an exit, its number
  Kind kind = Kind::embedding;

  bool operator==(const Group&) const = default;
  bool operator<(const Group& other) const {
    return layer != other.layer ? layer < other.layer : kind < other.kind;
  }
  std::string name() const;  // "layer 3 attention", "embeddings", "exit 2"
};

Group group_of(const WeightRole& role);

}  // namespace costeff::audit
