#include "costeff/audit/groups.h"

#include <charconv>

#include "tensor/error.h"

namespace costeff::audit {
namespace {

// "3.attention..." -> 3
std::int64_t number_at(std::string_view text, std::string_view parameter) {
  std::int64_t number = -1;
  std::from_chars(text.data(), text.data() + text.size(), number);
  if (number < 0) fail("audit: parameter {} belongs to no layer", parameter);
  return number;
}

}  // namespace

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

Group group_of(std::string_view name, std::int64_t layers) {
  constexpr std::string_view layer = "bert.encoder.layer.", highway = "bert.encoder.highway.";
  if (name.starts_with("bert.embeddings.word_embeddings1") ||
      name.starts_with("bert.embeddings.word_embeddings2"))
    return {0, Kind::low_rank};
  if (name.starts_with("bert.embeddings."))
    return {0, name.find("LayerNorm") == std::string_view::npos ? Kind::embedding : Kind::layer_norm};
  if (name.starts_with("classifier.") || name.starts_with("bert.pooler.")) return {layers, Kind::exit};
  if (name.starts_with(highway)) return {number_at(name.substr(highway.size()), name) + 1, Kind::exit};
  if (!name.starts_with(layer)) fail("audit: parameter {} belongs to no part of a multi-exit BERT", name);
  const std::int64_t k = number_at(name.substr(layer.size()), name) + 1;
  if (name.find("LayerNorm") != std::string_view::npos) return {k, Kind::layer_norm};
  return {k, name.find(".attention.") == std::string_view::npos ? Kind::ffn : Kind::attention};
}

}  // namespace costeff::audit
