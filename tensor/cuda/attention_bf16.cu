// Attention in mixed precision on the tensor cores: the formulas of tensor/kernels.h, with Q, K, V,
// P_drop, dO and dS / sqrt(d) rounded to bf16 before they are multiplied; `ds` is the last of them.
//
// No score is in memory (Dao et al. 2022): the forward goes over the keys once for L = log sum exp of each
// row, and once more for P = exp(S - L) and its product with V, so that P is rounded when it is normalised;
// the backward makes P anew from L, once for dQ and once for dK and dV. A warp has 16 rows, with kOtherRows
// of the other side at a time; of the sums over those it keeps kSumColumns columns in registers, and begins
// anew for the next ones where head_dim is larger.
#include <type_traits>

#include "tensor/cuda/attention.h"
#include "tensor/cuda/mma.h"

namespace costeff::COSTEFF_GPU {
namespace {

constexpr int kScoreTiles = static_cast<int>(kOtherRows) / kMmaColumns;
constexpr int kSumTiles = 8, kSumColumns = kSumTiles * kMmaColumns;

using Scores = FragmentC[kScoreTiles];  // [16, kOtherRows]
using Sums = FragmentC[kSumTiles];      // [16, kSumColumns]

// tile[r] = row first + r of `from`, 0 from row `rows` and column head_dim on. The whole block takes part.
__device__ void load_tile(std::int64_t tile_rows, std::int64_t first, std::int64_t rows,
                          std::int64_t head_dim, const bf16* from, std::int64_t from_stride, Tile tile) {
  const unsigned words = static_cast<unsigned>(tile.stride) - 4;  // divided by in 32 bits
  for (unsigned i = threadIdx.x; i < tile_rows * words; i += blockDim.x) {
    const unsigned r = i / words, c = i % words * 2;
    const bf16* p = from + (first + r) * from_stride + c;
    const bool low = first + r < rows && c < head_dim, high = low && c + 1 < head_dim;
    tile.words[r * tile.stride + c / 2] = two_bf16(low ? p[0] : bf16{}, high ? p[1] : bf16{});
  }
}

// scores = a b^T for the warp's rows of a.
__device__ void multiply_rows(const MmaLane& lane, Tile a, Tile b, Scores& scores) {
  COSTEFF_UNROLL
  for (FragmentC& c : scores) c = {};
  for (std::int64_t word = 0; word < a.stride - 4; word += kMmaWords) {
    const FragmentA left = a.a(lane, word);
    COSTEFF_UNROLL
    for (int j = 0; j < kScoreTiles; ++j)
      multiply_add(left, b.b_transposed(lane, j * kMmaColumns, word), scores[j]);
  }
}

// sums += rounded(scores) b, for the columns of b from `first` on.
__device__ void add_products(const MmaLane& lane, const Scores& scores, Tile b, std::int64_t first,
                             std::int64_t head_dim, Sums& sums) {
  COSTEFF_UNROLL
  for (int pair = 0; pair < kScoreTiles / 2; ++pair) {
    const FragmentA left = rounded(scores[2 * pair], scores[2 * pair + 1]);
    COSTEFF_UNROLL
    for (int j = 0; j < kSumTiles; ++j) {
      const std::int64_t column = first + j * kMmaColumns;
      if (column < head_dim) multiply_add(left, b.b(lane, pair * kMmaRows, column), sums[j]);
    }
  }
}

// to[row of the warp][first ..] = sums + keep to, for rows below `rows`.
__device__ void write_sums(const MmaLane& lane, const Sums& sums, std::int64_t rows, std::int64_t first,
                           std::int64_t head_dim, float keep, float* to, std::int64_t stride) {
  COSTEFF_UNROLL
  for (int j = 0; j < kSumTiles; ++j) {
    COSTEFF_UNROLL
    for (int e = 0; e < 4; ++e) {
      const std::int64_t column = first + j * kMmaColumns + lane.column(e);
      if (lane.row(e) < rows && column < head_dim) put(to[lane.row(e) * stride + column], sums[j].x[e], keep);
    }
  }
}

// The four lanes that hold a row of C.
template <class Op>
__device__ float reduce_row(float value, Op op) {
  for (const int lanes : {1, 2}) value = op(value, __shfl_xor_sync(kAllLanes, value, lanes));
  return value;
}

// The factors of elements `at` and at + 1, mostly of one block of random words.
__device__ void factors_of_two(const Mask<float>& mask, std::int64_t at, float (&factors)[2]) {
  factors[0] = factors[1] = 1;
  if (mask.off) return;
  const PhiloxBlock words = words_of(mask.site, at / 4);
  factors[0] = word_of(words, at % 4) <= mask.last ? 0 : mask.keeps;
  factors[1] = at % 4 == 3 ? factor(mask, at + 1) : word_of(words, at % 4 + 1) <= mask.last ? 0 : mask.keeps;
}

// Where a block and a lane stand.
struct Place {
  MmaLane lane;
  std::int64_t first;     // row of the block
  std::int64_t warp_row;  // of the warp in the block's tiles
  std::int64_t row[2];    // of the lane's elements 0, 1 and 2, 3
  __device__ Place()
      : first(std::int64_t{blockIdx.x} * kRowsOfBlock),
        warp_row(threadIdx.x / kWarp * kMmaRows),
        row{first + warp_row + lane.g, first + warp_row + lane.g + 8} {}
  // Whether the warp has no row of a sequence: then it loads tiles with the others, and that is all.
  __device__ bool idle(std::int64_t tokens) const { return first + warp_row >= tokens; }
};

__global__ void attention_bf16_kernel(Sequences sequences, std::int64_t head_dim, const bf16* qkv,
                                      float scale, Mask<float> mask, float* out, float* log_sums) {
  const std::int64_t width = gridDim.y * head_dim, stride = 3 * width;
  const Place at;
  const Tile q_tile{shared_memory<unsigned>(), tile_stride(head_dim)};
  const Tile k_tile = q_tile.rows_from(kRowsOfBlock), v_tile = k_tile.rows_from(kOtherRows);
  const Tile my_q = q_tile.rows_from(at.warp_row);

  for (std::int64_t s = blockIdx.z; s < sequences.count; s += gridDim.z) {
    const Head head = head_of(sequences, s);
    if (at.first >= head.tokens) continue;
    const bf16* q = qkv + head.first_row * stride + blockIdx.y * head_dim;  // k and v beside it
    __syncthreads();  // the tiles of the sequence before have been read
    load_tile(kRowsOfBlock, at.first, head.tokens, head_dim, q, stride, q_tile);
    Scores scores;
    float top[2], total[2] = {};
    top[0] = top[1] = -std::numeric_limits<float>::infinity();
    for (std::int64_t key = 0; key < head.keys; key += kOtherRows) {
      __syncthreads();  // the tile before has been read
      load_tile(kOtherRows, key, head.keys, head_dim, q + width, stride, k_tile);
      __syncthreads();
      if (at.idle(head.tokens)) continue;
      multiply_rows(at.lane, my_q, k_tile, scores);
      COSTEFF_UNROLL
      for (int half = 0; half < 2; ++half) {
        const auto real = [&](int j, int e) { return key + j * kMmaColumns + at.lane.column(e) < head.keys; };
        float largest = top[half], sum = 0;
        COSTEFF_UNROLL
        for (int j = 0; j < kScoreTiles; ++j) {
          COSTEFF_UNROLL
          for (int e = 2 * half; e < 2 * half + 2; ++e)
            if (real(j, e)) largest = Larger{}(largest, scores[j].x[e] * scale);
        }
        largest = reduce_row(largest, Larger{});  // finite, as each tile has a real key
        COSTEFF_UNROLL
        for (int j = 0; j < kScoreTiles; ++j) {
          COSTEFF_UNROLL
          for (int e = 2 * half; e < 2 * half + 2; ++e)
            if (real(j, e)) sum += math::exp(scores[j].x[e] * scale - largest);
        }
        total[half] = total[half] * math::exp(top[half] - largest) + reduce_row(sum, Add{});
        top[half] = largest;
      }
    }
    float log_sum[2];
    COSTEFF_UNROLL
    for (int half = 0; half < 2; ++half) {
      log_sum[half] = top[half] + std::log(total[half]);
      if (log_sums != nullptr && at.lane.t == 0 && at.row[half] < head.tokens)
        log_sums[(head.first_row + at.row[half]) * gridDim.y + blockIdx.y] = log_sum[half];
    }
    for (std::int64_t column = 0; column < head_dim; column += kSumColumns) {
      Sums sums = {};
      for (std::int64_t key = 0; key < head.keys; key += kOtherRows) {
        __syncthreads();
        load_tile(kOtherRows, key, head.keys, head_dim, q + width, stride, k_tile);
        load_tile(kOtherRows, key, head.keys, head_dim, q + 2 * width, stride, v_tile);
        __syncthreads();
        if (at.idle(head.tokens)) continue;
        multiply_rows(at.lane, my_q, k_tile, scores);
        COSTEFF_UNROLL
        for (int j = 0; j < kScoreTiles; ++j) {
          COSTEFF_UNROLL
          for (int e = 0; e < 4; e += 2) {
            const std::int64_t row = at.row[e / 2], c = key + j * kMmaColumns + at.lane.column(e);
            float factors[2];
            factors_of_two(mask, head.first_pair + row * head.tokens + c, factors);
            COSTEFF_UNROLL
            for (int i = 0; i < 2; ++i) {
              float& x = scores[j].x[e + i];
              x = c + i < head.keys ? math::exp(x * scale - log_sum[e / 2]) * factors[i] : 0;
            }
          }
        }
        add_products(at.lane, scores, v_tile, column, head_dim, sums);
      }
      const std::int64_t corner = (head.first_row + at.first + at.warp_row) * width + blockIdx.y * head_dim;
      write_sums(at.lane, sums, head.tokens - at.first - at.warp_row, column, head_dim, 0, out + corner,
                 width);
    }
  }
}

struct Bf16Gradients {
  AttentionBackward<float, bf16> call;
  float scale;
  Mask<float> mask;
  float* row_dots;  // [count, heads, longest]: rowsum(P dP)
};

// The block's rows are queries: rowsum(P dP), then dQ.
__global__ void query_gradients_bf16(Sequences sequences, Bf16Gradients g) {
  const std::int64_t heads = gridDim.y, width = heads * g.call.head_dim, stride = 3 * width;
  const Place at;
  const Tile q_tile{shared_memory<unsigned>(), tile_stride(g.call.head_dim)};
  const Tile do_tile = q_tile.rows_from(kRowsOfBlock), k_tile = do_tile.rows_from(kRowsOfBlock),
             v_tile = k_tile.rows_from(kOtherRows);

  for (std::int64_t s = blockIdx.z; s < sequences.count; s += gridDim.z) {
    const Head head = head_of(sequences, s);
    if (at.first >= head.tokens) continue;
    const std::int64_t corner = head.first_row * stride + blockIdx.y * g.call.head_dim;
    const bf16* q = g.call.qkv + corner;
    __syncthreads();  // the tiles of the sequence before have been read
    load_tile(kRowsOfBlock, at.first, head.tokens, g.call.head_dim, q, stride, q_tile);
    load_tile(kRowsOfBlock, at.first, head.tokens, g.call.head_dim,
              g.call.dout + head.first_row * width + blockIdx.y * g.call.head_dim, width, do_tile);
    float log_sum[2], dot[2] = {};
    COSTEFF_UNROLL
    for (int half = 0; half < 2; ++half) {
      log_sum[half] =
          at.row[half] < head.tokens ? g.call.kept[(head.first_row + at.row[half]) * heads + blockIdx.y] : 0;
    }
    Scores p, dp;  // 0 outside
    const auto load = [&](std::int64_t key) {
      __syncthreads();  // the tiles before have been read
      load_tile(kOtherRows, key, head.keys, g.call.head_dim, q + width, stride, k_tile);
      load_tile(kOtherRows, key, head.keys, g.call.head_dim, q + 2 * width, stride, v_tile);
      __syncthreads();
    };
    const auto scores = [&](std::int64_t key) {
      multiply_rows(at.lane, q_tile.rows_from(at.warp_row), k_tile, p);
      multiply_rows(at.lane, do_tile.rows_from(at.warp_row), v_tile, dp);
      COSTEFF_UNROLL
      for (int j = 0; j < kScoreTiles; ++j) {
        COSTEFF_UNROLL
        for (int e = 0; e < 4; e += 2) {
          const std::int64_t row = at.row[e / 2], c = key + j * kMmaColumns + at.lane.column(e);
          float factors[2];
          factors_of_two(g.mask, head.first_pair + row * head.tokens + c, factors);
          COSTEFF_UNROLL
          for (int i = 0; i < 2; ++i) {
            const bool real = row < head.tokens && c + i < head.keys;
            p[j].x[e + i] = real ? math::exp(p[j].x[e + i] * g.scale - log_sum[e / 2]) : 0;
            dp[j].x[e + i] = real ? dp[j].x[e + i] * factors[i] : 0;
          }
        }
      }
    };
    for (std::int64_t key = 0; key < head.keys; key += kOtherRows) {
      load(key);
      if (at.idle(head.tokens)) continue;
      scores(key);
      COSTEFF_UNROLL
      for (int j = 0; j < kScoreTiles; ++j) {
        COSTEFF_UNROLL
        for (int e = 0; e < 4; ++e) dot[e / 2] += p[j].x[e] * dp[j].x[e];
      }
    }
    COSTEFF_UNROLL
    for (int half = 0; half < 2; ++half) {
      dot[half] = reduce_row(dot[half], Add{});
      if (at.lane.t == 0 && at.row[half] < head.tokens)
        g.row_dots[(s * heads + blockIdx.y) * sequences.longest + at.row[half]] = dot[half];
    }
    for (std::int64_t column = 0; column < g.call.head_dim; column += kSumColumns) {
      Sums sums = {};
      for (std::int64_t key = 0; key < head.keys; key += kOtherRows) {
        load(key);
        if (at.idle(head.tokens)) continue;
        scores(key);
        COSTEFF_UNROLL
        for (int j = 0; j < kScoreTiles; ++j) {
          COSTEFF_UNROLL
          for (int e = 0; e < 4; ++e) dp[j].x[e] = p[j].x[e] * (dp[j].x[e] - dot[e / 2]) * g.scale;
        }
        add_products(at.lane, dp, k_tile, column, g.call.head_dim, sums);
      }
      write_sums(at.lane, sums, head.tokens - at.first - at.warp_row, column, g.call.head_dim,
                 g.call.dqkv.keep, g.call.dqkv.data + corner + (at.first + at.warp_row) * stride, stride);
    }
  }
}

// The block's rows are keys, the scores transposed: dK and dV, 0 for padding.
__global__ void key_gradients_bf16(Sequences sequences, Bf16Gradients g) {
  const std::int64_t heads = gridDim.y, width = heads * g.call.head_dim, stride = 3 * width;
  const Place at;
  const Tile k_tile{shared_memory<unsigned>(), tile_stride(g.call.head_dim)};
  const Tile v_tile = k_tile.rows_from(kRowsOfBlock), q_tile = v_tile.rows_from(kRowsOfBlock),
             do_tile = q_tile.rows_from(kOtherRows);

  for (std::int64_t s = blockIdx.z; s < sequences.count; s += gridDim.z) {
    const Head head = head_of(sequences, s);
    if (at.first >= head.tokens) continue;
    const std::int64_t corner = head.first_row * stride + blockIdx.y * g.call.head_dim;
    const bf16* q = g.call.qkv + corner;
    const bf16* dout = g.call.dout + head.first_row * width + blockIdx.y * g.call.head_dim;
    const float* log_sums = g.call.kept + head.first_row * heads + blockIdx.y;
    const float* row_dots = g.row_dots + (s * heads + blockIdx.y) * sequences.longest;
    __syncthreads();  // the tiles of the sequence before have been read
    load_tile(kRowsOfBlock, at.first, head.keys, g.call.head_dim, q + width, stride, k_tile);
    load_tile(kRowsOfBlock, at.first, head.keys, g.call.head_dim, q + 2 * width, stride, v_tile);
    for (std::int64_t column = 0; column < g.call.head_dim; column += kSumColumns) {
      Sums dk = {}, dv = {};
      for (std::int64_t query = 0; query < head.tokens; query += kOtherRows) {
        __syncthreads();  // the tiles before have been read
        load_tile(kOtherRows, query, head.tokens, g.call.head_dim, q, stride, q_tile);
        load_tile(kOtherRows, query, head.tokens, g.call.head_dim, dout, width, do_tile);
        __syncthreads();
        if (at.idle(head.tokens)) continue;
        Scores dropped, ds;  // of P and dP first
        multiply_rows(at.lane, k_tile.rows_from(at.warp_row), q_tile, dropped);
        multiply_rows(at.lane, v_tile.rows_from(at.warp_row), do_tile, ds);
        COSTEFF_UNROLL
        for (int j = 0; j < kScoreTiles; ++j) {
          COSTEFF_UNROLL
          for (int e = 0; e < 4; ++e) {
            const std::int64_t key = at.row[e / 2], i = query + j * kMmaColumns + at.lane.column(e);
            const bool real = i < head.tokens && key < head.keys;
            const float p = real ? math::exp(dropped[j].x[e] * g.scale - log_sums[i * heads]) : 0;
            const float keeps = real ? factor(g.mask, head.first_pair + i * head.tokens + key) : 0;
            const float dot = real ? row_dots[i] : 0;
            ds[j].x[e] = p * (ds[j].x[e] * keeps - dot) * g.scale;
            dropped[j].x[e] = p * keeps;
          }
        }
        add_products(at.lane, dropped, do_tile, column, g.call.head_dim, dv);
        add_products(at.lane, ds, q_tile, column, g.call.head_dim, dk);
      }
      const std::int64_t rows = head.tokens - at.first - at.warp_row;
      float* to = g.call.dqkv.data + corner + (at.first + at.warp_row) * stride + width;
      write_sums(at.lane, dk, rows, column, g.call.head_dim, g.call.dqkv.keep, to, stride);
      write_sums(at.lane, dv, rows, column, g.call.head_dim, g.call.dqkv.keep, to + width, stride);
    }
  }
}

void attention_bf16(const AttentionForward<float, bf16>& call) {
  launch("attention_bf16",
         attention_bf16_launch(call.sequences.count, call.heads, call.sequences.longest, call.head_dim, 1),
         attention_bf16_kernel, call.sequences, call.head_dim, call.qkv, scale_of<float>(call.head_dim),
         mask_of<float>(call.dropout), call.out, call.kept);
}

void attention_bf16_backward(const AttentionBackward<float, bf16>& call) {
  const auto& [count, offsets, lengths, pairs, longest] = call.sequences;
  float* row_dots = scratch_of<float>(attention_backward_workspace(count, call.heads, longest));
  const Bf16Gradients g{call, scale_of<float>(call.head_dim), mask_of<float>(call.dropout), row_dots};
  const Launch shape = attention_bf16_launch(count, call.heads, longest, call.head_dim, 2);
  launch("attention_bf16_backward (dQ)", shape, query_gradients_bf16, call.sequences, g);
  launch("attention_bf16_backward (dK, dV)", shape, key_gradients_bf16, call.sequences, g);
}

}  // namespace

template <class T>
void fill_attention_bf16(Kernels<T>& k) {
  if constexpr (std::is_same_v<T, float>) {
    k.attention_bf16 = attention_bf16;
    k.attention_bf16_backward = attention_bf16_backward;
  }
}
template void fill_attention_bf16(Kernels<float>& k);
template void fill_attention_bf16(Kernels<double>& k);

}  // namespace costeff::COSTEFF_GPU
