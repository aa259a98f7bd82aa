// Rows with a bias: broadcast it, sum it back, and GELU of a biased row.
//
// Sums over rows split the columns between threads: each sum has one owner, no workspace, and an order that
// does not depend on the threads.
#include "tensor/cpu/isa.h"
#include "tensor/cpu/table.h"

namespace costeff::COSTEFF_ISA {
namespace {

constexpr std::int64_t kColumnStep = 16;  // a cache line of f32

template <class T>
void broadcast_row(std::int64_t rows, std::int64_t cols, const T* bias, T* y) {
  parallel_ranges(rows, rows * cols, 1, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      T* row = y + r * cols;
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) row[c] = bias[c];
    }
  });
}

template <class T>
void start_sum(std::int64_t begin, std::int64_t end, T keep, T* sum) {
  with_keep(keep, [&](auto keeps) {
#pragma omp simd
    for (std::int64_t c = begin; c < end; ++c) put<decltype(keeps)::value>(sum[c], T(0), keep);
  });
}

template <class T>
void sum_rows(std::int64_t rows, std::int64_t cols, const T* x, T keep, T* sum) {
  parallel_ranges(cols, rows * cols, kColumnStep, [=](std::int64_t begin, std::int64_t end) {
    start_sum(begin, end, keep, sum);
    std::int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {  // four rows a pass: the sum is read and written a quarter as often
      const T *x0 = x + r * cols, *x1 = x0 + cols, *x2 = x1 + cols, *x3 = x2 + cols;
#pragma omp simd
      for (std::int64_t c = begin; c < end; ++c) sum[c] += (x0[c] + x1[c]) + (x2[c] + x3[c]);
    }
    for (; r < rows; ++r) {
      const T* row = x + r * cols;
#pragma omp simd
      for (std::int64_t c = begin; c < end; ++c) sum[c] += row[c];
    }
  });
}

template <class T>
void bias_gelu(std::int64_t rows, std::int64_t cols, const T* x, const T* bias, T* y) {
  parallel_ranges(rows, 8 * rows * cols, 1, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const T* in = x + r * cols;
      T* out = y + r * cols;
      if (bias == nullptr) {
#pragma omp simd
        for (std::int64_t c = 0; c < cols; ++c) out[c] = math::gelu(in[c]);
      } else {
#pragma omp simd
        for (std::int64_t c = 0; c < cols; ++c) out[c] = math::gelu(in[c] + bias[c]);
      }
    }
  });
}

// Columns [begin, end) of bias_gelu_backward.
template <bool kKeep, bool kBias, bool kSum, class T>
void gelu_backward_columns(std::int64_t rows, std::int64_t cols, std::int64_t begin, std::int64_t end,
                           const T* x, const T* bias, const T* dy, T keep, T* dx, T* dbias) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const T *in = x + r * cols, *dout = dy + r * cols;
    T* din = dx + r * cols;
#pragma omp simd
    for (std::int64_t c = begin; c < end; ++c) {
      T z = in[c];
      if constexpr (kBias) z += bias[c];
      const T d = dout[c] * math::gelu_derivative(z);
      put<kKeep>(din[c], d, keep);
      if constexpr (kSum) dbias[c] += d;
    }
  }
}

template <class T>
void bias_gelu_backward(const BiasGeluBackward<T>& call) {
  const std::int64_t rows = call.rows, cols = call.cols;
  const T *x = call.x, *bias = call.bias, *dy = call.dy;
  T *dx = call.dx.data, *dbias = call.dbias.data;
  const T keep = call.dx.keep, dbias_keep = call.dbias.keep;
  with_keep(keep, [&](auto keeps) {
    constexpr bool kKeep = decltype(keeps)::value;
    if (dbias == nullptr) {
      parallel_ranges(rows, 8 * rows * cols, 1, [=](std::int64_t begin, std::int64_t end) {
        const std::int64_t n = end - begin, at = begin * cols;
        if (bias == nullptr) {
          gelu_backward_columns<kKeep, false, false>(n, cols, 0, cols, x + at, bias, dy + at, keep, dx + at,
                                                     dbias);
        } else {
          gelu_backward_columns<kKeep, true, false>(n, cols, 0, cols, x + at, bias, dy + at, keep, dx + at,
                                                    dbias);
        }
      });
    } else {
      parallel_ranges(cols, 8 * rows * cols, kColumnStep, [=](std::int64_t begin, std::int64_t end) {
        start_sum(begin, end, dbias_keep, dbias);
        if (bias == nullptr) {
          gelu_backward_columns<kKeep, false, true>(rows, cols, begin, end, x, bias, dy, keep, dx, dbias);
        } else {
          gelu_backward_columns<kKeep, true, true>(rows, cols, begin, end, x, bias, dy, keep, dx, dbias);
        }
      });
    }
  });
}

}  // namespace

template <class T>
void fill_bias(Kernels<T>& k) {
  k.fill_rows = broadcast_row<T>;
  k.sum_rows = sum_rows<T>;
  k.bias_gelu = bias_gelu<T>;
  k.bias_gelu_backward = bias_gelu_backward<T>;
}
template void fill_bias(Kernels<float>& k);
template void fill_bias(Kernels<double>& k);

}  // namespace costeff::COSTEFF_ISA
