// The parts of a multi-exit BERT that an audit speaks of: layer by layer, kind by kind.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

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

// The part that a parameter belongs to, by its checkpoint name (a stacked one's own: "...self.qkv.weight").
// `layers` is L. Throws Error for a name that no multi-exit BERT has.
Group group_of(std::string_view parameter, std::int64_t layers);

}  // namespace costeff::audit
