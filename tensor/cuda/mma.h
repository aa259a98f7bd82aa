// Products of bf16 matrices by a warp on the tensor cores, summed up in f32: PTX's mma.m16n8k16, from sm_80
// on (PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type").
//
// Of C[16, 8] += A[16, 16] B[16, 8] lane 4 g + t holds, with numbers k and k + 1 of a row of A or a column of
// B in one word:
//   a[0] = A[g][2t..], a[1] = A[g + 8][2t..], a[2] = A[g][2t + 8..], a[3] = A[g + 8][2t + 8..],
//   b[0] = B[2t..][g], b[1] = B[2t + 8..][g],
//   c[0], c[1] = C[g][2t], C[g][2t + 1], c[2], c[3] = C[g + 8][2t], C[g + 8][2t + 1].
// So two neighbouring C, rounded, are an A.
#pragma once

#include "tensor/cuda/device.h"

// Before a loop over fragments: a fragment whose index is known to the compiler stays in registers.
#if defined(__CUDACC__)
#define COSTEFF_UNROLL _Pragma("unroll")
#else
#define COSTEFF_UNROLL
#endif

namespace costeff::COSTEFF_GPU {

inline constexpr int kMmaRows = 16, kMmaColumns = 8, kMmaDepth = 16, kMmaWords = kMmaDepth / 2;

struct FragmentA {
  unsigned x[4];
};
struct FragmentB {
  unsigned x[2];
};
struct FragmentC {
  float x[4];
};

// The place of this lane, and of the elements of its C.
struct MmaLane {
  int g, t;
  __device__ MmaLane()
      : g(static_cast<int>(threadIdx.x % kWarp) / 4), t(static_cast<int>(threadIdx.x % kWarp) % 4) {}
  __device__ int row(int element) const { return g + element / 2 * 8; }
  __device__ int column(int element) const { return 2 * t + element % 2; }
};

__device__ inline void multiply_add(const FragmentA& a, const FragmentB& b, FragmentC& c) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, "
      "%1, %2, %3};"
      : "+f"(c.x[0]), "+f"(c.x[1]), "+f"(c.x[2]), "+f"(c.x[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
#else
  emulated_mma(a.x, b.x, c.x);
#endif
}

__device__ inline unsigned two_bf16(bf16 low, bf16 high) {
  return unsigned{low.bits} | unsigned{high.bits} << 16;
}

// A tile of bf16 in shared memory, two to a word, rows `stride` words apart: an odd multiple of four, so that
// the lanes of a warp read a fragment from different banks.
struct Tile {
  unsigned* words;
  std::int64_t stride;

  __device__ Tile rows_from(std::int64_t row) const { return {words + row * stride, stride}; }

  // Rows 0 .. 15, columns 2 word .. 2 word + 15, as A.
  __device__ FragmentA a(const MmaLane& lane, std::int64_t word) const {
    const unsigned *upper = words + lane.g * stride + word + lane.t, *lower = upper + 8 * stride;
    return {{upper[0], lower[0], upper[4], lower[4]}};
  }
  // The transpose of rows row .. row + 7, columns 2 word .. 2 word + 15, as B.
  __device__ FragmentB b_transposed(const MmaLane& lane, std::int64_t row, std::int64_t word) const {
    const unsigned* p = words + (row + lane.g) * stride + word + lane.t;
    return {{p[0], p[4]}};
  }
  // Rows row .. row + 15, columns column .. column + 7, as B.
  __device__ FragmentB b(const MmaLane& lane, std::int64_t row, std::int64_t column) const {
    const std::int64_t c = column + lane.g, shift = c % 2 * 16;
    const unsigned* p = words + (row + 2 * lane.t) * stride + c / 2;
    const auto two = [&](const unsigned* at) {
      return (at[0] >> shift & 0xffffu) | (at[stride] >> shift & 0xffffu) << 16;
    };
    return {{two(p), two(p + 8 * stride)}};
  }
};

// Two neighbouring C as A: columns 0 .. 7 from `left`, 8 .. 15 from `right`, rounded.
__device__ inline FragmentA rounded(const FragmentC& left, const FragmentC& right) {
  const auto two = [](const FragmentC& c, int i) { return two_bf16(to_bf16(c.x[i]), to_bf16(c.x[i + 1])); };
  return {{two(left, 0), two(left, 2), two(right, 0), two(right, 2)}};
}

}  // namespace costeff::COSTEFF_GPU
