// What a weight is in its model, whatever a checkpoint calls it (nn/checkpoint_names.h).
#pragma once

#include <cstdint>

namespace costeff {

enum class Part : std::uint8_t {
  word,             // embedding [vocabulary, hidden]
  word_factor,      // or a product of two: [vocabulary, rank]
  word_projection,  // and [hidden, rank]
  position,
  token_type,
  embedding_norm,
  query,  // the parts of an encoder layer: each head has its rows of the first three, its columns of the
          // fourth
  key,
  value,
  attention_output,
  attention_norm,
  ffn_in,  // each neuron has its row of the first, its column of the second
  ffn_out,
  ffn_norm,
  exit_dense,  // before the tanh: BERT's pooler, or an exit's own
  exit_classifier,
  other,  // of a model that is no BERT
};
enum class Piece : std::uint8_t { weight, bias };

struct WeightRole {
  Part part = Part::other;
  std::int64_t layer = 0;  // 1..L; 0 outside the encoder's layers
  std::int64_t exit = 0;   // 1..L; 0 for all but the exits' own weights
  Piece piece = Piece::weight;

  bool operator==(const WeightRole&) const = default;
};

constexpr bool is_norm(Part part) {
  return part == Part::embedding_norm || part == Part::attention_norm || part == Part::ffn_norm;
}
constexpr bool is_exit(Part part) {
  return part == Part::exit_dense || part == Part::exit_classifier;
}
constexpr bool is_attention(Part part) {
  return part >= Part::query && part <= Part::attention_output;
}
constexpr bool is_layer(Part part) {
  return part >= Part::query && part <= Part::ffn_norm;
}

// Whether weight decay acts on a weight: not on biases and LayerNorm weights.
constexpr bool decays(const WeightRole& role) {
  return role.piece == Piece::weight && !is_norm(role.part);
}

}  // namespace costeff
