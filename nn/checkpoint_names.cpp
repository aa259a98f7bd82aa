#include "nn/checkpoint_names.h"

#include <algorithm>
#include <charconv>

#include "tensor/error.h"

namespace costeff {
namespace {

using Row = NameTable::Row;

constexpr Row kBert[] = {
    {Part::word, "bert.embeddings.word_embeddings"},
    {Part::word_factor, "bert.embeddings.word_embeddings1"},
    {Part::word_projection, "bert.embeddings.word_embeddings2"},
    {Part::position, "bert.embeddings.position_embeddings"},
    {Part::token_type, "bert.embeddings.token_type_embeddings"},
    {Part::embedding_norm, "bert.embeddings.LayerNorm"},
    {Part::query, "bert.encoder.layer.{}.attention.self.query"},
    {Part::key, "bert.encoder.layer.{}.attention.self.key"},
    {Part::value, "bert.encoder.layer.{}.attention.self.value"},
    {Part::attention_output, "bert.encoder.layer.{}.attention.output.dense"},
    {Part::attention_norm, "bert.encoder.layer.{}.attention.output.LayerNorm"},
    {Part::ffn_in, "bert.encoder.layer.{}.intermediate.dense"},
    {Part::ffn_out, "bert.encoder.layer.{}.output.dense"},
    {Part::ffn_norm, "bert.encoder.layer.{}.output.LayerNorm"},
    {Part::exit_dense, "bert.encoder.highway.{}.pooler.dense"},
    {Part::exit_classifier, "bert.encoder.highway.{}.classifier"},
};
constexpr Row kBertLastExit[] = {
    {Part::exit_dense, "bert.pooler.dense"},
    {Part::exit_classifier, "classifier"},
};
constexpr std::pair<std::string_view, std::string_view> kOldEndings[] = {
    {"LayerNorm.gamma", "LayerNorm.weight"},
    {"LayerNorm.beta", "LayerNorm.bias"},
};
// Heads of pre-training, and a constant buffer of old versions.
constexpr std::string_view kUnused[] = {"cls.", "bert.embeddings.position_ids"};
constexpr std::string_view kShortBeginnings[] = {"bert.", "encoder."};
constexpr std::string_view kShortWithin[] = {".self", ".dense"};

constexpr std::string_view kNumber = "{}";
constexpr std::pair<std::string_view, Piece> kPieces[] = {{".weight", Piece::weight}, {".bias", Piece::bias}};

// The number in `name` where `pattern` has "{}", 0 in one without; nothing if they do not match.
std::optional<std::int64_t> match(std::string_view pattern, std::string_view name) {
  const std::size_t at = pattern.find(kNumber);
  if (at == std::string_view::npos) return pattern == name ? std::optional<std::int64_t>(0) : std::nullopt;
  const std::string_view end = pattern.substr(at + kNumber.size());
  if (!name.starts_with(pattern.substr(0, at)) || !name.ends_with(end)) return std::nullopt;
  std::int64_t number = 0;
  const char* last = name.data() + name.size() - end.size();
  const auto [stop, error] = std::from_chars(name.data() + at, last, number);
  return error == std::errc() && stop == last ? std::optional(number) : std::nullopt;
}

}  // namespace

const NameTable kBertNames{.rows = kBert,
                           .last_exit = kBertLastExit,
                           .prefix = "bert.",
                           .old_endings = kOldEndings,
                           .unused = kUnused,
                           .short_beginnings = kShortBeginnings,
                           .short_within = kShortWithin};

std::string CheckpointNames::module(const WeightRole& role) const {
  const auto& rows = role.exit == layers_ && is_exit(role.part) ? table_.last_exit : table_.rows;
  const auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.part == role.part; });
  if (row == rows.end()) fail("this model family has no name for part {}", static_cast<int>(role.part));
  return fmt::format(fmt::runtime(row->name), std::max(role.layer, role.exit) - 1);
}

std::string CheckpointNames::name(const WeightRole& role) const {
  return module(role) + (role.piece == Piece::weight ? ".weight" : ".bias");
}

std::optional<WeightRole> CheckpointNames::role(std::string_view name) const {
  for (const auto& [ending, piece] : kPieces) {
    if (!name.ends_with(ending)) continue;
    const std::string_view module = name.substr(0, name.size() - ending.size());
    for (const Row& row : table_.last_exit) {
      if (row.name == module) return WeightRole{.part = row.part, .exit = layers_, .piece = piece};
    }
    for (const Row& row : table_.rows) {
      const std::optional<std::int64_t> number = match(row.name, module);
      if (!number) continue;
      return WeightRole{.part = row.part,
                        .layer = is_layer(row.part) ? *number + 1 : 0,
                        .exit = is_exit(row.part) ? *number + 1 : 0,
                        .piece = piece};
    }
  }
  return std::nullopt;
}

std::string CheckpointNames::canonical(std::string_view stored) const {
  std::string name(stored);
  for (const auto& [old_ending, ending] : table_.old_endings) {
    if (name.ends_with(old_ending)) name.replace(name.size() - old_ending.size(), old_ending.size(), ending);
  }
  const bool complete = name.starts_with(table_.prefix) || is_unused(name) || role(name).has_value();
  return complete ? name : std::string(table_.prefix) + name;
}

bool CheckpointNames::is_unused(std::string_view canonical) const {
  return std::any_of(table_.unused.begin(), table_.unused.end(),
                     [&](std::string_view beginning) { return canonical.starts_with(beginning); });
}

std::string short_name(std::string_view full) {
  for (const std::string_view beginning : kBertNames.short_beginnings) {
    if (full.starts_with(beginning)) full.remove_prefix(beginning.size());
  }
  std::string name(full);
  for (const std::string_view part : kBertNames.short_within) {
    if (const std::size_t at = name.find(part); at != std::string::npos) name.erase(at, part.size());
  }
  return name;
}

std::optional<NamedTensor> find_weight(const ParameterStore& parameters, std::string_view name) {
  const std::string wanted = short_name(name), ending = "." + wanted;
  std::vector<NamedTensor> found;
  for (const NamedTensor& tensor : parameters.named()) {
    const std::string own = short_name(tensor.name);
    if (own == wanted) return tensor;
    if (own.ends_with(ending)) found.push_back(tensor);
  }
  return found.size() == 1 ? std::optional(found.front()) : std::nullopt;
}

}  // namespace costeff
