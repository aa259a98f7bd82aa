#include "costeff/audit/groups.h"

#include <fmt/format.h>

namespace costeff::audit {
std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::embedding:
      return "embeddings";
    case Kind::low_rank:
      return "low-rank factors";
    case Kind::attention:
      return "attention";
    case Kind::ffn:
      return "FFN";
    case Kind::layer_norm:
      return "LayerNorm";
    case Kind::exit:
      return "exit";
  }
  return "";
}

std::string Group::name() const {
  if (kind == Kind::exit) return fmt::format("exit {}", layer);
  if (layer > 0) return fmt::format("layer {} {}", layer, name_of(kind));
  return kind == Kind::layer_norm ? "embeddings' LayerNorm" : std::string(name_of(kind));
}

Group group_of(const WeightRole& role) {
  if (role.exit > 0) return {role.exit, Kind::exit};
  if (is_norm(role.part)) return {role.layer, Kind::layer_norm};
  if (role.layer > 0) return {role.layer, is_attention(role.part) ? Kind::attention : Kind::ffn};
  const bool factor = role.part == Part::word_factor || role.part == Part::word_projection;
  return {0, factor ? Kind::low_rank : Kind::embedding};
}

}  // namespace costeff::audit
