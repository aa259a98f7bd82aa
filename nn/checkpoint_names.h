// The names that checkpoints give to weights, and the role behind each name. A model family is one table.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "nn/parameters.h"

namespace costeff {

// A family's names. "{}" stands for the number of a layer or an exit, counted from 0; ".weight" and ".bias"
// follow.
struct NameTable {
  using Texts = std::span<const std::string_view>;
  struct Row {
    Part part;
    std::string_view name;
  };
  std::span<const Row> rows;
  std::span<const Row> last_exit;  // what exit L has instead
  std::string_view prefix;         // a checkpoint of the encoder alone leaves it out
  std::span<const std::pair<std::string_view, std::string_view>> old_endings;  // and today's
  Texts unused;  // beginnings of tensors that checkpoints carry and no classifier reads
  // What users may leave out of a name: beginnings, one after the other, then what is within.
  Texts short_beginnings, short_within;
};

// Hugging Face's BERT with the exits of the COST-EFF authors' code: exit L has BERT's pooler and classifier.
extern const NameTable kBertNames;

// The names of a model with `layers` layers.
class CheckpointNames {
 public:
  CheckpointNames(const NameTable& table, std::int64_t layers) : table_(table), layers_(layers) {}

  // Without ".weight" and ".bias". Throws Error for a part that the family has no name for.
  std::string module(const WeightRole& role) const;
  std::string name(const WeightRole& role) const;
  // Nothing for a name that no weight has. The numbers of layers and exits are not checked.
  std::optional<WeightRole> role(std::string_view name) const;
  // The table's name for a tensor of a checkpoint: the prefix added, an old ending replaced.
  std::string canonical(std::string_view stored) const;
  bool is_unused(std::string_view canonical) const;

 private:
  const NameTable& table_;
  std::int64_t layers_;
};

// A name without what users may leave out: "layer.0.attention.query.weight".
std::string short_name(std::string_view name);
// The weight of a name, short or not; everything before the last parts may be missing where they name one
// weight alone. Nothing for other names.
std::optional<NamedTensor> find_weight(const ParameterStore& parameters, std::string_view name);

}  // namespace costeff
