// The exits of a multi-exit BERT, as its config.json says them.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "tensor/choice.h"

namespace costeff {

class ConfigReader;

// What an exit reads of the hidden states [tokens, H]: the row of [CLS], or the mean over a sequence's real
// rows.
enum class Pooling : std::uint8_t { cls, mean };
// How several hidden states become one: side by side, or their mean.
enum class HiddenMode : std::uint8_t { concat, average };

constexpr auto names_of(Pooling) {
  return std::to_array<Name<Pooling>>({{Pooling::cls, "cls"}, {Pooling::mean, "mean"}});
}
constexpr auto names_of(HiddenMode) {
  return std::to_array<Name<HiddenMode>>({{HiddenMode::concat, "concat"}, {HiddenMode::average, "average"}});
}

// The widths of an exit's matrices.
struct ExitShape {
  std::int64_t read = 0;        // of x_i
  bool dense = false;           // a layer [H, read] before the tanh
  std::int64_t classifier = 0;  // that the classifier reads
};

// The exits of a multi-exit BERT: z_i = W_i dropout(tanh(x_i)) + b_i for i = first..L, where x_i is what is
// read of the last `last_hidden` of the states h_0..h_i (of all of them where there are fewer).
//
// In the file these are the keys of the COST-EFF authors' code: `pooling_mode` ("cls" or "avg"),
// `hidden_mode` ("concat" or "avg"), `last_n_hidden`, `pooler_dense`; and `costeff`: {"exit_start": first}.
struct ExitConfig {
  std::int64_t first = 1;  // exit_start
  Pooling pooling = Pooling::cls;
  HiddenMode mode = HiddenMode::concat;
  std::int64_t last_hidden = 1;
  bool dense = false;  // a dense layer [H, width of x_i] before the tanh

  ExitShape shape(std::int64_t i, std::int64_t hidden_size) const;  // of exit i

  bool operator==(const ExitConfig&) const = default;
};

// The exits of a config; none if it has no key of theirs. Throws Error naming the key whose value is wrong.
std::optional<ExitConfig> read_exits(const ConfigReader& in);
// Sets their keys, or removes them.
void write_exits(const std::optional<ExitConfig>& exits, nlohmann::json& out);

}  // namespace costeff
