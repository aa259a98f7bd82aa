// Philox 4x32-10, the counter-based random number generator of Salmon, Moraes, Dror and Shaw, "Parallel
// random numbers: as easy as 1, 2, 3", SC 2011: ten rounds turn a 128-bit counter and a 64-bit key into 128
// random bits. There is no state: whoever knows seed, step, site and element index knows the number, on any
// device, in any order.
#pragma once

#include <array>
#include <cstdint>

#include "tensor/inline.h"

namespace costeff {

struct PhiloxBlock {
  std::uint32_t x[4];
};

COSTEFF_INLINE PhiloxBlock philox_block(std::uint32_t c0, std::uint32_t c1, std::uint32_t c2,
                                        std::uint32_t c3, std::uint32_t k0, std::uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c0;
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(p1);
    c3 = static_cast<std::uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

inline std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                               std::array<std::uint32_t, 2> key) {
  const PhiloxBlock b = philox_block(counter[0], counter[1], counter[2], counter[3], key[0], key[1]);
  return {b.x[0], b.x[1], b.x[2], b.x[3]};
}

// Which random numbers one operation draws: the seed of the run, the step, and the place in the network.
struct RandomSite {
  std::uint64_t seed = 0;
  std::uint32_t step = 0;
  std::uint32_t site = 0;
};

}  // namespace costeff
