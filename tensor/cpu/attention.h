// How attention goes over its work: one (sequence, head) at a time, each thread with scratch of its own.
#pragma once

#include "tensor/cpu/isa.h"
#include "tensor/cpu/panel.h"
#include "tensor/cpu/random.h"
#include "tensor/cpu/table.h"

namespace costeff::COSTEFF_ISA {

inline constexpr std::int64_t kQueryBlock =
    64;  // query rows at a time: their scores stay in the second-level cache

// One head of one sequence.
template <class T>
struct HeadTask {
  std::int64_t tokens;      // n: rows of queries
  std::int64_t keys;        // real tokens: those that are attended to
  std::int64_t first_row;   // of the packed batch
  std::int64_t first_pair;  // of the probabilities, and of the dropout mask
  std::int64_t head;
  bool has_next;  // the head beside it comes next
  T* scratch;
};

// Elements of scratch for a thread. The largest, the backward in mixed precision, holds K^T and V^T [d, n],
// K, dK, dV [n, d], Q and dO [block, d], P, dropout(P) and dS [block, n] and the dropout mask [block, n], n
// and d rounded up to whole registers.
template <class T>
COSTEFF_INLINE std::int64_t scratch_of_thread(std::int64_t longest, std::int64_t head_dim) {
  const std::int64_t n = round_up(longest, Simd<T>::kLanes), d = round_up(head_dim, Simd<T>::kLanes);
  return round_up(5 * n * d + 2 * kQueryBlock * d + 4 * kQueryBlock * n + kDropoutBuffer, 64);
}

// Cuts scratch into arrays, each on a whole register.
template <class T>
struct ScratchCutter {
  T* next;
  COSTEFF_INLINE T* take(std::int64_t elements) {
    T* taken = next;
    next += elements;
    return taken;
  }
};

// Calls f(task) for every head of every sequence. Threads take heads as they become free; a head's result
// does not depend on who computes it.
template <class T, class F>
COSTEFF_INLINE void for_each_head(const Sequences& sequences, std::int64_t heads, std::int64_t head_dim,
                                  T* workspace, F&& f) {
  const std::int64_t items = sequences.count * heads;
  const std::int64_t per_thread = scratch_of_thread<T>(sequences.longest, head_dim);
  T* aligned = reinterpret_cast<T*>(round_up(reinterpret_cast<std::int64_t>(workspace), 64));
  const auto run = [=](std::int64_t item, std::int64_t thread) {
    const std::int64_t s = item / heads, head = item % heads;
    const std::int64_t first = sequences.offsets[s], tokens = sequences.offsets[s + 1] - first;
    const std::int64_t first_pair = heads * sequences.pairs[s] + head * tokens * tokens;
    f(HeadTask<T>{tokens, sequences.lengths[s], first, first_pair, head, head + 1 < heads,
                  aligned + thread * per_thread});
  };
  const std::int64_t work = items == 0 ? 0 : sequences.pairs[sequences.count] * heads * head_dim;
  if (items <= 1 || work < 4 * kParallelWork || omp_get_max_threads() == 1) {
    for (std::int64_t item = 0; item < items; ++item) run(item, 0);
    return;
  }
  // Neighbouring heads share pages, and one prefetches the next: as many in a row as still keeps the threads
  // even.
  const std::int64_t even = items / (16 * omp_get_max_threads());
  const std::int64_t chunk = even < 1 ? 1 : smaller(even, heads);
#pragma omp parallel for schedule(dynamic, chunk)
  for (std::int64_t item = 0; item < items; ++item) run(item, omp_get_thread_num());
}

// Asks for the next head's part of a row. Rows of a head lie far apart, where the processor does not foresee
// them.
template <class T>
COSTEFF_INLINE void prefetch_next_head(const T* row, std::int64_t head_dim) {
  for (std::int64_t c = 0; c < head_dim; c += 64 / static_cast<std::int64_t>(sizeof(T)))
    __builtin_prefetch(row + head_dim + c);
}

// The mask of some query rows of a head, or null without dropout: row i at [i * tokens].
template <class T>
COSTEFF_INLINE const T* mask_of_rows(const Dropout& dropout, const HeadTask<T>& task, std::int64_t row,
                                     std::int64_t rows, T* buffer) {
  if (dropout.p == 0) return nullptr;
  return dropout_factors(dropout, task.first_pair + row * task.tokens, rows * task.tokens, buffer);
}

// The sum (or the largest) of a register's lanes, halving it again and again.
template <bool kMax, class T, int H = static_cast<int>(Simd<T>::kLanes / 2)>
COSTEFF_INLINE T reduce_lanes(typename Simd<T>::Vec x) {
  using Index = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  typename Simd<Index>::Vec other;
  for (int l = 0; l < static_cast<int>(Simd<T>::kLanes); ++l) other[l] = l ^ H;
  const typename Simd<T>::Vec y = __builtin_shuffle(x, other);
  const typename Simd<T>::Vec z = kMax ? (x > y ? x : y) : x + y;
  if constexpr (H > 1) {
    return reduce_lanes<kMax, T, H / 2>(z);
  } else {
    return z[0];
  }
}

}  // namespace costeff::COSTEFF_ISA
