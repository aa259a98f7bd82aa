// Dropout masks: Philox 4x32-10 (tensor/philox.h says what it is) on whole registers of counters.
#pragma once

#include <cstdint>

#include "tensor/cpu/isa.h"
#include "tensor/kernels.h"

namespace costeff::COSTEFF_ISA {

typedef std::uint64_t Counters __attribute__((vector_size(kVectorBytes)));
typedef std::uint64_t UnalignedCounters __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));

inline constexpr int kCounters = kVectorBytes / 8;
inline constexpr int kChains =
    kVectorBytes == 64 ? 4 : 2;  // independent registers, to hide the multiplier's latency
inline constexpr int kBatchWords = 4 * kChains * kCounters;  // random words made at a time
inline constexpr std::int64_t kDropoutChunk = 512;  // elements of a mask that callers ask for at a time
inline constexpr std::int64_t kDropoutBuffer = kDropoutChunk + 128;

// Products of the lower halves of 64-bit lanes.
COSTEFF_INLINE Counters multiply_low(Counters a, Counters b) {
#if defined(__AVX512F__)
  return (Counters)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)b);  // g++ 12 warns of the unmasked one
#elif defined(__AVX2__)
  return (Counters)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#else
  return (Counters)_mm_mul_epu32((__m128i)a, (__m128i)b);
#endif
}

// The words of kBatchWords / 4 consecutive blocks. Each 64-bit lane holds one 32-bit word of the state; what
// the products leave in the upper halves is never read. Lanes count 0, 4, 1, 5, 2, 6, 3, 7 so that
// interleaving leaves the blocks in order.
COSTEFF_INLINE void philox_words(std::uint64_t first_block, const RandomSite& site, std::uint32_t* words) {
#if defined(__AVX512F__)
  const Counters lane = {0, 4, 1, 5, 2, 6, 3, 7};
  const Counters even = {0, 8, 2, 10, 4, 12, 6, 14}, odd = {1, 9, 3, 11, 5, 13, 7, 15};
#elif defined(__AVX2__)
  const Counters lane = {0, 2, 1, 3};
  const Counters even = {0, 4, 2, 6}, odd = {1, 5, 3, 7};
#else
  const Counters lane = {0, 1};
  const Counters even = {0, 2}, odd = {1, 3};
#endif
  const Counters m0 = Counters{} + 0xD2511F53u, m1 = Counters{} + 0xCD9E8D57u;
  Counters c0[kChains], c1[kChains], c2[kChains], c3[kChains];
  for (int c = 0; c < kChains; ++c) {
    c0[c] = lane + (first_block + static_cast<std::uint64_t>(c * kCounters));
    c1[c] = c0[c] >> 32;
    c2[c] = Counters{} + site.step;
    c3[c] = Counters{} + site.site;
  }
  std::uint32_t k0 = static_cast<std::uint32_t>(site.seed), k1 = static_cast<std::uint32_t>(site.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int c = 0; c < kChains; ++c) {
      const Counters p0 = multiply_low(c0[c], m0), p1 = multiply_low(c2[c], m1);
      c0[c] = (p1 >> 32) ^ c1[c] ^ k0;
      c2[c] = (p0 >> 32) ^ c3[c] ^ k1;
      c1[c] = p1;
      c3[c] = p0;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int c = 0; c < kChains; ++c) {
    const Counters front = (c0[c] & 0xffffffffu) | (c1[c] << 32),
                   back = (c2[c] & 0xffffffffu) | (c3[c] << 32);
    std::uint32_t* out = words + c * 4 * kCounters;
    *reinterpret_cast<UnalignedCounters*>(out) = __builtin_shuffle(front, back, even);
    *reinterpret_cast<UnalignedCounters*>(out + 2 * kCounters) = __builtin_shuffle(front, back, odd);
  }
}

// The factor of each element from `first` on: 0 where dropped, else 1 / (1 - p). `buffer` has room for count
// elements and 128 more; the first factor lies where the result points. Up to the buffer's end at the next
// multiple of kBatchWords everything is written.
template <class T>
COSTEFF_INLINE const T* dropout_factors(const Dropout& dropout, std::int64_t first, std::int64_t count,
                                        T* buffer) {
  // A word is below p 2^32 exactly when it does not exceed the integer before ceil(p 2^32).
  const double bound = dropout.p * 4294967296.0;
  const std::uint64_t whole = static_cast<std::uint64_t>(bound);
  const std::uint32_t last =
      static_cast<std::uint32_t>(static_cast<double>(whole) < bound ? whole : whole - 1);
  const T keeps = static_cast<T>(1.0 / (1.0 - dropout.p));
  const std::int64_t lead = first % 4;
  alignas(64) std::uint32_t words[kBatchWords];
  for (std::int64_t done = 0; done < lead + count; done += kBatchWords) {
    philox_words(static_cast<std::uint64_t>((first - lead + done) / 4), dropout.site, words);
#pragma omp simd
    for (int i = 0; i < kBatchWords; ++i) buffer[done + i] = words[i] <= last ? T(0) : keeps;
  }
  return buffer + lead;
}

}  // namespace costeff::COSTEFF_ISA
