// Which removed heads and neurons the paper's score (Eq. 2) misjudges.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "costeff/audit/importance.h"

namespace costeff::audit {

// A removed unit, its score beside its true change. Ranks are among the removed units of its layer: 1 matters
// most, equal ones share the better rank.
struct Misjudged {
  std::int64_t layer = 1;
  std::int64_t place = 0;  // in its layer, from 0
  double score = 0;        // the paper's, of the exits' losses: |sum of g w|
  double change = 0;       // of the exits' losses, signed
  std::size_t rank_by_score = 1;
  std::size_t rank_by_change = 1;  // with its sign: a unit whose going lowers the loss matters least
  std::size_t of = 1;              // so many were removed of its layer

  // How much higher the score ranks it than the change does, as a share of its layer's removed units: pruning
  // goes by rank, so that a score that is twice the change everywhere misjudges nobody.
  double excess() const;
};

// All removed units, the most over-estimated first: the excess descends; of equal ones those whose removal
// changes the loss most stand nearest to the ends.
std::vector<Misjudged> misjudged(const ImportanceAudit& audit, const UnitsAudit& units);

struct WorstMisjudged {
  std::vector<Misjudged> over;   // ranked too high, the furthest first
  std::vector<Misjudged> under;  // too low, likewise
};
// Up to `each` on a side, of what misjudged() gives.
WorstMisjudged worst_misjudged(std::span<const Misjudged> all, std::size_t each);

}  // namespace costeff::audit
