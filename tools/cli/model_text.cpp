#include "tools/cli/model_text.h"

#include <array>
#include <cstddef>

#include "tensor/error.h"

namespace costeff {

std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  for (std::ptrdiff_t at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), 1, ',');
  }
  return digits;
}

std::string scaled(double number) {
  constexpr std::array<const char*, 7> kUnits = {"", " k", " M", " G", " T", " P", " E"};
  if (number < 999.5) return fmt::format("{:.0f}", number);
  std::size_t unit = 0;
  while (number >= 999.95 && unit + 1 < kUnits.size()) {
    number /= 1000;
    ++unit;
  }
  const int decimals = number < 9.9995 ? 3 : number < 99.995 ? 2 : 1;
  return fmt::format("{:.{}f}{}", number, decimals, kUnits[unit]);
}

Json whole(double number) {
  constexpr double kLimit = 9223372036854775808.0;  // 2^63
  return number < kLimit ? Json(static_cast<std::int64_t>(number)) : Json(number);
}

bool is_slender(const BertConfig& config) {
  BertConfig without_exits = config;
  without_exits.exits.reset();
  return !without_exits.is_plain();
}

std::string kind_of_model(const BertConfig& config) {
  return fmt::format("{}{}BERT", is_slender(config) ? "slender " : "", config.exits ? "multi-exit " : "");
}

std::string sizes_text(const BertConfig& config) {
  return fmt::format("hidden {}, vocabulary {}{}, {} positions, {} token types", config.hidden_size,
                     config.vocab_size,
                     config.embedding_rank == -1 ? "" : fmt::format(" of rank {}", config.embedding_rank),
                     config.max_position_embeddings, config.type_vocab_size);
}

Json exits_json(const BertConfig& config) {
  if (!config.exits) return nullptr;
  const ExitConfig& exits = *config.exits;
  return {{"first", exits.first},
          {"last", config.layers()},
          {"pooling", name_of(exits.pooling)},
          {"hidden_mode", name_of(exits.mode)},
          {"last_n_hidden", exits.last_hidden},
          {"pooler_dense", exits.dense}};
}

std::string exits_text(const BertConfig& config) {
  if (!config.exits) return fmt::format("after layer {} alone, on BERT's pooler", config.layers());
  const ExitConfig& exits = *config.exits;
  std::string out = exits.first == config.layers()
                        ? fmt::format("{} alone", exits.first)
                        : fmt::format("{} to {}, each", exits.first, config.layers());
  out += exits.pooling == Pooling::cls ? " on [CLS]" : " on the mean over tokens";
  if (exits.last_hidden > 1) {
    out += fmt::format(" of the last {} states {}", exits.last_hidden,
                       exits.mode == HiddenMode::concat ? "side by side" : "averaged");
  }
  if (exits.dense) out += ", through a dense layer";
  return out;
}

}  // namespace costeff
