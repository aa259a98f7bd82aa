// The pieces of a vocabulary by their text, made for one question: which is the longest piece that a word
// starts with?
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace costeff {

// A hash table with open addressing. Its hash runs through a word from left to right, so that one pass gives
// the hash of every beginning of it.
class PieceTable {
 public:
  struct Match {
    std::int32_t id = -1;  // -1: none
    std::size_t length = 0;
  };

  // For up to this many pieces.
  explicit PieceTable(std::size_t pieces);

  // Adds a piece, which must not be empty; the text must outlive the table. Returns its id if it is there
  // already, -1 otherwise.
  std::int32_t insert(std::string_view piece, std::int32_t id);

  // The id of a piece, -1 if there is none.
  std::int32_t find(std::string_view piece) const;

  // The longest piece that the word starts with.
  Match longest_prefix(std::string_view word) const;

 private:
  struct Slot {
    std::uint32_t tag;   // the part of the hash that does not choose the slot
    std::int32_t piece;  // in pieces_, -1: free
  };
  struct Piece {
    std::string_view text;
    std::int32_t id;
  };

  std::int32_t find(std::string_view piece, std::uint64_t hash) const;

  static constexpr std::size_t kLongestPrefix = 512;  // bytes; no word that is split is as long

  std::vector<Slot> slots_;  // a power of two, at least half of them free
  std::vector<Piece> pieces_;
  std::size_t longest_ = 0;
};

}  // namespace costeff
