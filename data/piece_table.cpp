#include "data/piece_table.h"

#include <algorithm>
#include <array>
#include <bit>

namespace costeff {

namespace {

constexpr std::uint64_t kStart = 0xCBF29CE484222325u;  // FNV-1a

std::uint64_t extend(std::uint64_t hash, char c) {
  return (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
}

std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = kStart;
  for (const char c : text) hash = extend(hash, c);
  return hash;
}

// FNV's low bits choose the slot once its high ones are folded in; the high ones are the tag.
std::size_t slot_of(std::uint64_t hash, std::size_t slots) {
  return static_cast<std::size_t>(hash ^ hash >> 32) & (slots - 1);
}

std::uint32_t tag_of(std::uint64_t hash) {
  return static_cast<std::uint32_t>(hash >> 32);
}

}  // namespace

PieceTable::PieceTable(std::size_t pieces) : slots_(std::bit_ceil(2 * pieces + 2), Slot{0, -1}) {
  pieces_.reserve(pieces);
}

std::int32_t PieceTable::insert(std::string_view piece, std::int32_t id) {
  const std::uint64_t hash = hash_of(piece);
  const std::int32_t there = find(piece, hash);
  if (there >= 0) return there;
  std::size_t at = slot_of(hash, slots_.size());
  while (slots_[at].piece >= 0) at = (at + 1) & (slots_.size() - 1);
  slots_[at] = {tag_of(hash), static_cast<std::int32_t>(pieces_.size())};
  pieces_.push_back({piece, id});
  longest_ = std::max(longest_, std::min(piece.size(), kLongestPrefix));
  return -1;
}

std::int32_t PieceTable::find(std::string_view piece) const {
  return find(piece, hash_of(piece));
}

std::int32_t PieceTable::find(std::string_view piece, std::uint64_t hash) const {
  const std::uint32_t tag = tag_of(hash);
  for (std::size_t at = slot_of(hash, slots_.size()); slots_[at].piece >= 0;
       at = (at + 1) & (slots_.size() - 1)) {
    if (slots_[at].tag != tag) continue;
    const Piece& found = pieces_[static_cast<std::size_t>(slots_[at].piece)];
    if (found.text == piece) return found.id;
  }
  return -1;
}

PieceTable::Match PieceTable::longest_prefix(std::string_view word) const {
  std::array<std::uint64_t, kLongestPrefix> hashes;  // of the first 1, 2, ... bytes
  const std::size_t longest = std::min(word.size(), longest_);
  std::uint64_t hash = kStart;
  for (std::size_t i = 0; i < longest; ++i) hashes[i] = hash = extend(hash, word[i]);
  for (std::size_t length = longest; length > 0; --length) {
    const std::int32_t id = find(word.substr(0, length), hashes[length - 1]);
    if (id >= 0) return {id, length};
  }
  return {};
}

}  // namespace costeff
