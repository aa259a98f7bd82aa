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
void layer_norm_rows(std::int64_t begin, std::int64_t end, std::int64_t cols, const T* x, const T* bias,
                     const Dropout& dropout, const T* residual, const T* gamma, const T* beta_, T eps, T* y,
                     T* xhat, T* rstd) {
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
      for (std::int64_t c = 0; c < cols; ++c) out[c] = gamma[c] * ((s[c] - off) * inverse) + beta_[c];
    } else {
      T* norm = xhat + r * cols;
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) {
        const T z = (s[c] - off) * inverse;
        norm[c] = z;
        out[c] = gamma[c] * z + beta_[c];
      }
    }
  }
}

template <class T>
void layer_norm(std::int64_t rows, std::int64_t cols, const T* x, const T* bias, Dropout dropout,
                const T* residual, const T* gamma, const T* beta_, T eps, T* y, T* xhat, T* rstd) {
  parallel_ranges(rows, 4 * rows * cols, 1, [=](std::int64_t begin, std::int64_t end) {
    const auto run = [&](auto has_bias, auto has_residual) {
      layer_norm_rows<decltype(has_bias)::value, decltype(has_residual)::value>(
          begin, end, cols, x, bias, dropout, residual, gamma, beta_, eps, y, xhat, rstd);
    };
    const std::true_type yes;
    const std::false_type no;
    if (bias != nullptr && residual != nullptr)
      run(yes, yes);
    else if (bias != nullptr)
      run(yes, no);
    else if (residual != nullptr)
      run(no, yes);
    else
      run(no, no);
  });
}

// One row's ds to dresidual and, through the mask, to dx.
template <class T>
COSTEFF_INLINE void backward_row(std::int64_t cols, const T* norm, T inverse, const T* gamma, const T* dout,
                                 const Dropout& dropout, std::int64_t first, T residual_beta, T* dresidual,
                                 T x_beta, T* dx) {
  T sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
  for (std::int64_t c = 0; c < cols; ++c) {
    const T d = dout[c] * gamma[c];
    sum += d;
    dot += d * norm[c];
  }
  const T mean = sum / static_cast<T>(cols), mean_dot = dot / static_cast<T>(cols);
  const auto ds = [=](std::int64_t c) { return inverse * (dout[c] * gamma[c] - mean - norm[c] * mean_dot); };
  const auto write = [=](T beta, T* d) {
    with_beta(beta, [=](auto keep) {
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) put<decltype(keep)::value>(d[c], ds(c), beta);
    });
  };
  if (dx != nullptr && dropout.p == 0) write(x_beta, dx);
  if (dx != nullptr && dropout.p != 0) {
    alignas(64) T buffer[kDropoutBuffer];
    for (std::int64_t c0 = 0; c0 < cols; c0 += kDropoutChunk) {
      const std::int64_t count = smaller(kDropoutChunk, cols - c0);
      const T* factor = dropout_factors(dropout, first + c0, count, buffer);
      with_beta(x_beta, [=](auto keep) {
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i)
          put<decltype(keep)::value>(dx[c0 + i], ds(c0 + i) * factor[i], x_beta);
      });
    }
  }
  if (dresidual != nullptr) write(residual_beta, dresidual);
}

template <class T>
void layer_norm_backward(std::int64_t rows, std::int64_t cols, const T* xhat, const T* rstd, const T* gamma,
                         const T* dy, Dropout dropout, T residual_beta, T* dresidual, T x_beta, T* dx) {
  parallel_ranges(rows, 4 * rows * cols, 1, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const std::int64_t at = r * cols;
      backward_row(cols, xhat + at, rstd[r], gamma, dy + at, dropout, at, residual_beta,
                   dresidual == nullptr ? dresidual : dresidual + at, x_beta, dx == nullptr ? dx : dx + at);
    }
  });
}

template <class T>
void layer_norm_parameters_backward(std::int64_t rows, std::int64_t cols, const T* xhat, const T* dy,
                                    T gamma_beta, T* dgamma, T beta_beta, T* dbeta) {
  parallel_ranges(cols, 2 * rows * cols, 16, [=](std::int64_t begin, std::int64_t end) {
    const auto start = [=](T beta, T* sum) {
      with_beta(beta, [=](auto keep) {
        for (std::int64_t c = begin; c < end; ++c) put<decltype(keep)::value>(sum[c], T(0), beta);
      });
    };
    start(gamma_beta, dgamma);
    start(beta_beta, dbeta);
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
