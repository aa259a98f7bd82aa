// Layer norm of dropout(x + bias) + residual, and its gradients. A row stays in the first-level cache over
// its passes.
#include <cmath>

#include "tensor/cpu/isa.h"
#include "tensor/cpu/random.h"
#include "tensor/cpu/table.h"

namespace costeff::COSTEFF_ISA {
namespace {

// s = dropout(x + bias) + residual for one row; `first` is the dropout index of its first element.
template <bool kBias, bool kResidual, class T>
COSTEFF_INLINE void sum_branches(std::int64_t cols, const T* x, const T* bias, const Dropout& dropout,
                                 std::int64_t first, const T* residual, T* s) {
  if (dropout.p == 0) {
#pragma omp simd
    for (std::int64_t c = 0; c < cols; ++c) {
      T z = x[c];
      if constexpr (kBias) z += bias[c];
      if constexpr (kResidual) z += residual[c];
      s[c] = z;
    }
    return;
  }
  alignas(64) T buffer[kDropoutBuffer];
  for (std::int64_t c0 = 0; c0 < cols; c0 += kDropoutChunk) {
    const std::int64_t count = smaller(kDropoutChunk, cols - c0);
    const T* factor = dropout_factors(dropout, first + c0, count, buffer);
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) {
      T z = x[c0 + i];
      if constexpr (kBias) z += bias[c0 + i];
      z *= factor[i];
      if constexpr (kResidual) z += residual[c0 + i];
      s[c0 + i] = z;
    }
  }
}

// Rows up to this long are worked out here and written once, longer ones in y: writing to memory twice would
// wait for it twice.
constexpr std::int64_t kRowBuffer = 2048;

template <bool kBias, bool kResidual, class T>
void layer_norm_rows(std::int64_t begin, std::int64_t end, const LayerNormForward<T>& call) {
  const std::int64_t cols = call.cols;
  const T *x = call.x, *bias = call.bias, *residual = call.residual, *gamma = call.gamma, *beta = call.beta;
  T *y = call.y, *xhat = call.xhat, *rstd = call.rstd;
  const Dropout& dropout = call.dropout;
  const T eps = call.eps;
  alignas(64) T buffer[kRowBuffer];
  for (std::int64_t r = begin; r < end; ++r) {
    T *out = y + r * cols, *s = cols <= kRowBuffer ? buffer : out;
    sum_branches<kBias, kResidual>(cols, x + r * cols, bias, dropout, r * cols,
                                   residual + (kResidual ? r * cols : 0), s);
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < cols; ++c) sum += s[c];
    const T mean = sum / static_cast<T>(cols);
    // The mean is rounded; what that leaves in the differences counts where a row is nearly constant.
    T rest = 0, squares = 0;
#pragma omp simd reduction(+ : rest, squares)
    for (std::int64_t c = 0; c < cols; ++c) {
      const T d = s[c] - mean;
      s[c] = d;
      rest += d;
      squares += d * d;
    }
    const T off = rest / static_cast<T>(cols);
    const T inverse = T(1) / std::sqrt(squares / static_cast<T>(cols) - off * off + eps);
    if (rstd != nullptr) rstd[r] = inverse;
    if (xhat == nullptr) {
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) out[c] = gamma[c] * ((s[c] - off) * inverse) + beta[c];
    } else {
      T* norm = xhat + r * cols;
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) {
        const T z = (s[c] - off) * inverse;
        norm[c] = z;
        out[c] = gamma[c] * z + beta[c];
      }
    }
  }
}

template <class T>
void layer_norm(const LayerNormForward<T>& call) {
  parallel_ranges(call.rows, 4 * call.rows * call.cols, 1, [=](std::int64_t begin, std::int64_t end) {
    const auto run = [&](auto has_bias, auto has_residual) {
      layer_norm_rows<decltype(has_bias)::value, decltype(has_residual)::value>(begin, end, call);
    };
    const std::true_type yes;
    const std::false_type no;
    if (call.bias != nullptr && call.residual != nullptr)
      run(yes, yes);
    else if (call.bias != nullptr)
      run(yes, no);
    else if (call.residual != nullptr)
      run(no, yes);
    else
      run(no, no);
  });
}

// One row's ds to dresidual and, through the mask, to dx.
template <class T>
COSTEFF_INLINE void backward_row(std::int64_t r, const LayerNormBackward<T>& call) {
  const std::int64_t cols = call.cols, first = r * cols;
  const T *norm = call.xhat + first, *gamma = call.gamma, *dout = call.dy + first;
  const T inverse = call.rstd[r];
  T sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
  for (std::int64_t c = 0; c < cols; ++c) {
    const T d = dout[c] * gamma[c];
    sum += d;
    dot += d * norm[c];
  }
  const T mean = sum / static_cast<T>(cols), mean_dot = dot / static_cast<T>(cols);
  const auto ds = [=](std::int64_t c) { return inverse * (dout[c] * gamma[c] - mean - norm[c] * mean_dot); };
  const auto write = [=](T keep, T* all) {
    T* d = all + first;
    with_keep(keep, [=](auto keeps) {
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) put<decltype(keeps)::value>(d[c], ds(c), keep);
    });
  };
  const Dropout& dropout = call.dropout;
  if (call.dx.data != nullptr && dropout.p == 0) write(call.dx.keep, call.dx.data);
  if (call.dx.data != nullptr && dropout.p != 0) {
    const T keep = call.dx.keep;
    T* dx = call.dx.data + first;
    alignas(64) T buffer[kDropoutBuffer];
    for (std::int64_t c0 = 0; c0 < cols; c0 += kDropoutChunk) {
      const std::int64_t count = smaller(kDropoutChunk, cols - c0);
      const T* factor = dropout_factors(dropout, first + c0, count, buffer);
      with_keep(keep, [=](auto keeps) {
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i)
          put<decltype(keeps)::value>(dx[c0 + i], ds(c0 + i) * factor[i], keep);
      });
    }
  }
  if (call.dresidual.data != nullptr) write(call.dresidual.keep, call.dresidual.data);
}

template <class T>
void layer_norm_backward(const LayerNormBackward<T>& call) {
  parallel_ranges(call.rows, 4 * call.rows * call.cols, 1, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) backward_row(r, call);
  });
}

template <class T>
void layer_norm_parameters_backward(const LayerNormParametersBackward<T>& call) {
  const std::int64_t rows = call.rows, cols = call.cols;
  const T *xhat = call.xhat, *dy = call.dy;
  T *dgamma = call.dgamma.data, *dbeta = call.dbeta.data;
  const T gamma_keep = call.dgamma.keep, beta_keep = call.dbeta.keep;
  parallel_ranges(cols, 2 * rows * cols, 16, [=](std::int64_t begin, std::int64_t end) {
    const auto start = [=](T keep, T* sum) {
      with_keep(keep, [=](auto keeps) {
        for (std::int64_t c = begin; c < end; ++c) put<decltype(keeps)::value>(sum[c], T(0), keep);
      });
    };
    start(gamma_keep, dgamma);
    start(beta_keep, dbeta);
    std::int64_t r = 0;
    for (; r + 2 <= rows; r += 2) {
      const T *n0 = xhat + r * cols, *n1 = n0 + cols, *d0 = dy + r * cols, *d1 = d0 + cols;
#pragma omp simd
      for (std::int64_t c = begin; c < end; ++c) {
        dgamma[c] += d0[c] * n0[c] + d1[c] * n1[c];
        dbeta[c] += d0[c] + d1[c];
      }
    }
    for (; r < rows; ++r) {
      const T *norm = xhat + r * cols, *dout = dy + r * cols;
#pragma omp simd
      for (std::int64_t c = begin; c < end; ++c) {
        dgamma[c] += dout[c] * norm[c];
        dbeta[c] += dout[c];
      }
    }
  });
}

}  // namespace

template <class T>
void fill_layer_norm(Kernels<T>& k) {
  k.layer_norm = layer_norm<T>;
  k.layer_norm_backward = layer_norm_backward<T>;
  k.layer_norm_parameters_backward = layer_norm_parameters_backward<T>;
}
template void fill_layer_norm(Kernels<float>& k);
template void fill_layer_norm(Kernels<double>& k);

}  // namespace costeff::COSTEFF_ISA
