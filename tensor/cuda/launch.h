// How kernels are cut into blocks and threads, and what they need for scratch: plain arithmetic, of the sizes
// alone, so that every sum has the same order on every card and a test without one can look at it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace costeff::cuda {

struct Launch {
  unsigned grid_x = 1, grid_y = 1, grid_z = 1;
  unsigned threads = 256;  // of a block, in whole warps
  std::size_t shared = 0;  // bytes of dynamic shared memory
  bool empty() const { return grid_x == 0 || grid_y == 0 || grid_z == 0; }
};

inline constexpr std::int64_t kWarp = 32;
inline constexpr std::int64_t kThreads = 256;  // of a block, where nothing else is said
inline constexpr std::int64_t kGroup = 4;      // elements that a thread takes at a time: a block of Philox
inline constexpr std::int64_t kMostBlocks = 8192;  // of grid-stride loops: some 16 waves of a large card
inline constexpr std::int64_t kMostGridY = 65535;  // what CUDA allows in y and z

inline constexpr std::int64_t divided_up(std::int64_t n, std::int64_t by) {
  return (n + by - 1) / by;
}
inline constexpr std::int64_t rounded_up(std::int64_t n, std::int64_t step) {
  return divided_up(n, step) * step;
}

// Groups of n elements, one a thread and then in strides of the whole grid.
inline Launch elementwise_launch(std::int64_t n) {
  return {.grid_x = static_cast<unsigned>(std::min(divided_up(n, kGroup * kThreads), kMostBlocks))};
}

// A block for each of `rows`, in strides of the grid; its threads share the `per_row` items of a row.
inline Launch rows_launch(std::int64_t rows, std::int64_t per_row) {
  const std::int64_t threads = std::clamp(rounded_up(per_row, kWarp), kWarp, kThreads);
  return {.grid_x = static_cast<unsigned>(std::min(rows, kMostBlocks)),
          .threads = static_cast<unsigned>(threads)};
}

// As rows_launch, and kThreads columns of a row for each step of y, one a thread.
inline Launch tiles_launch(std::int64_t rows, std::int64_t cols) {
  return {.grid_x = static_cast<unsigned>(std::min(rows, kMostBlocks)),
          .grid_y = static_cast<unsigned>(divided_up(cols, kThreads))};
}

// Sums over rows. Chunk i has the rows [i * rows_per_chunk, (i + 1) * rows_per_chunk); a block adds one chunk
// of kWarp columns, its kColumnSlots warps taking rows in turn. Then the chunks are added in their order.
inline constexpr std::int64_t kColumnSlots = 8;
inline constexpr std::int64_t kMostChunks = 64;

struct ColumnSums {
  std::int64_t chunks = 0, rows_per_chunk = 0;
};
inline ColumnSums column_sums(std::int64_t rows) {
  const std::int64_t per_chunk =
      rounded_up(std::max(divided_up(rows, kMostChunks), 8 * kColumnSlots), kColumnSlots);
  return {divided_up(rows, per_chunk), per_chunk};
}
inline Launch column_sums_launch(std::int64_t rows, std::int64_t cols) {
  return {.grid_x = static_cast<unsigned>(divided_up(cols, kWarp)),
          .grid_y = static_cast<unsigned>(column_sums(rows).chunks),
          .threads = static_cast<unsigned>(kWarp * kColumnSlots)};
}
// Elements of scratch of `sums` sums over the same rows: [sums, chunks, cols].
inline std::int64_t column_sums_workspace(std::int64_t rows, std::int64_t cols, std::int64_t sums) {
  return sums * column_sums(rows).chunks * cols;
}

// Sums to one number: a partial sum a block, the blocks' added by a last block of kThreads.
inline constexpr std::int64_t kMostPartials = 1024;

inline std::int64_t reduction_partials(std::int64_t n) {
  return std::clamp<std::int64_t>(divided_up(n, 4 * kThreads), 1, kMostPartials);
}

// Attention: a block takes kTileRows rows of one head of one sequence, four a warp, and goes over the other
// side of the scores kWarp at a time, one a lane.
inline constexpr std::int64_t kTileRows = 16;
inline constexpr std::int64_t kRowsOfWarp = 4;

// Blocks (tile, head, sequence); sequences beyond kMostGridY by strides.
inline Launch attention_launch(std::int64_t count, std::int64_t heads, std::int64_t longest,
                               std::size_t shared) {
  return {.grid_x = static_cast<unsigned>(divided_up(longest, kTileRows)),
          .grid_y = static_cast<unsigned>(heads),
          .grid_z = static_cast<unsigned>(std::min(count, kMostGridY)),
          .threads = static_cast<unsigned>(kTileRows / kRowsOfWarp * kWarp),
          .shared = shared};
}
// head_dim padded to whole groups, with zeros. A tile whose rows the lanes read side by side has rows one
// element longer, so that they lie in different banks.
inline constexpr std::int64_t padded_dim(std::int64_t head_dim) {
  return rounded_up(head_dim, kGroup);
}
// Elements of shared memory. Forward: Q and the output [rows, d], K [lanes, d + 1], V [lanes, d], P [rows,
// lanes].
inline constexpr std::int64_t attention_shared(std::int64_t head_dim) {
  const std::int64_t d = padded_dim(head_dim);
  return 2 * kTileRows * d + kWarp * (d + 1) + kWarp * d + kTileRows * kWarp;
}
// dQ: dO and dQ [rows, d], V [lanes, d + 1], K [lanes, d], dS [rows, lanes].
inline constexpr std::int64_t attention_queries_shared(std::int64_t head_dim) {
  return attention_shared(head_dim);
}
// dK and dV: V, dK and dV [rows, d], dO [lanes, d + 1], Q [lanes, d], P_drop and dS [rows, lanes].
inline constexpr std::int64_t attention_keys_shared(std::int64_t head_dim) {
  const std::int64_t d = padded_dim(head_dim);
  return 3 * kTileRows * d + kWarp * (d + 1) + kWarp * d + 2 * kTileRows * kWarp;
}
// Elements of scratch of the backward: sum over keys of P dP for each query of each head, [count, heads,
// longest].
inline std::int64_t attention_backward_workspace(std::int64_t count, std::int64_t heads,
                                                 std::int64_t longest) {
  return count * heads * longest;
}

// Attention on the tensor cores: a block takes kRowsOfBlock rows of one head of one sequence, 16 a warp, and
// goes over the other side of the scores kOtherRows at a time.
inline constexpr std::int64_t kRowsOfBlock = 64;
inline constexpr std::int64_t kOtherRows = 32;

// Words of a row of a tile of bf16 in shared memory, two numbers a word: head_dim padded to whole products of
// 16, and four more for the banks (tensor/cuda/mma.h).
inline constexpr std::int64_t tile_stride(std::int64_t head_dim) {
  return rounded_up(head_dim, 16) / 2 + 4;
}
// With `own` tiles of the block's rows (forward: Q; backward: Q and dO, or K and V) and two of the other
// side's.
inline Launch attention_bf16_launch(std::int64_t count, std::int64_t heads, std::int64_t longest,
                                    std::int64_t head_dim, std::int64_t own) {
  const std::int64_t words = (own * kRowsOfBlock + 2 * kOtherRows) * tile_stride(head_dim);
  return {.grid_x = static_cast<unsigned>(divided_up(longest, kRowsOfBlock)),
          .grid_y = static_cast<unsigned>(heads),
          .grid_z = static_cast<unsigned>(std::min(count, kMostGridY)),
          .threads = static_cast<unsigned>(kRowsOfBlock / 16 * kWarp),
          .shared = static_cast<std::size_t>(words) * sizeof(unsigned)};
}

}  // namespace costeff::cuda
