// The contract between operations and devices: every kernel that a backend provides, as a table of functions.
//
// One table per element type (f32, f64) and backend. Pointers are to row-major arrays on the backend's
// device; a shape stands in brackets where a pointer is named. Index arrays are i32. Kernels allocate nothing
// (gemm_bf16 may take scratch from the device's allocator) and throw nothing: whoever calls them has checked
// shapes and indices. A `beta` says what happens to what the output held: out = beta * out + result, and with
// beta = 0 the old content is not read (it may be uninitialised). `beta` is 0 or 1 unless said otherwise. For
// a given number of threads the order of every sum is fixed.
//
// An output overlaps no other argument, with these exceptions: it may be an input itself in scale, add,
// multiply, tanh, dropout, softmax and log_softmax. Pointers within structures (Sequences) and `steps` are on
// the device too. A device may compute later than a call returns, but in the order of the calls; only
// `range`, whose result is the host's, waits.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"
#include "tensor/math.h"
#include "tensor/philox.h"

namespace costeff {

// Dropout with probability p: element i is dropped where the (i mod 4)-th word of philox(counter = i / 4,
// step, site; key = seed) is below p * 2^32, else multiplied by 1 / (1 - p). p = 0 draws nothing. Dropped
// elements are multiplied by 0: a NaN stays one.
struct Dropout {
  double p = 0;
  RandomSite site;
};

// A packed batch: sequence s has the rows offsets[s] .. offsets[s] + lengths[s] - 1; with padding, offsets[s
// + 1] lies further on. `pairs[s]` is the sum over earlier sequences of (offsets[j + 1] - offsets[j])^2:
// where the attention matrices of s begin.
struct Sequences {
  std::int64_t count = 0;
  const std::int32_t* offsets = nullptr;  // [count + 1]
  const std::int32_t* lengths = nullptr;  // [count], real tokens
  const std::int64_t* pairs = nullptr;    // [count + 1]
  std::int64_t longest = 0;               // the largest offsets[s + 1] - offsets[s]
};

struct Range {
  double smallest = 0;
  double largest = 0;  // over the finite elements
  std::int64_t non_finite = 0;
};

template <class T>
struct Kernels {
  // ---- matrix product: c[m,n] = alpha op(a)[m,k] op(b)[k,n] + beta c; op transposes where `trans_` says so;
  // ld*: row strides; any beta
  void (*gemm)(bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k, T alpha,
               const T* a, std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc);
  // c[m,n] = op(a) op(b) + beta c of bf16 matrices, summed up in f32: mixed precision. In the table of f32
  // only.
  void (*gemm_bf16)(bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k, const bf16* a,
                    std::int64_t lda, const bf16* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc);

  // ---- elementwise, n elements
  void (*scale)(std::int64_t n, T alpha, const T* x, T beta, T* y);        // y = alpha x + beta y, any beta
  void (*add)(std::int64_t n, const T* a, const T* b, T* y);               // y = a + b
  void (*multiply)(std::int64_t n, const T* a, const T* b, T beta, T* y);  // y = a b + beta y
  void (*tanh)(std::int64_t n, const T* x, T* y);                          // y = tanh x
  void (*tanh_backward)(std::int64_t n, const T* y, const T* dy, T beta,
                        T* dx);                                                // dx = dy (1 - y^2) + beta dx
  void (*dropout)(std::int64_t n, Dropout dropout, const T* x, T beta, T* y);  // also its own backward
  void (*round_bf16)(std::int64_t n, const T* x, bf16* y);                     // to the nearest, ties to even

  // ---- rows with a bias: x, y [rows, cols], bias [cols]
  void (*fill_rows)(std::int64_t rows, std::int64_t cols, const T* bias, T* y);  // every row of y = bias
  void (*sum_rows)(std::int64_t rows, std::int64_t cols, const T* x, T beta,
                   T* sum);  // sum[cols] = sum over rows of x + beta sum
  // y = gelu(x + bias); bias may be null
  void (*bias_gelu)(std::int64_t rows, std::int64_t cols, const T* x, const T* bias, T* y);
  // dx = dy gelu'(x + bias) + beta dx; dbias (may be null) = sum over rows of dy gelu'(x + bias) + dbias_beta
  // dbias
  void (*bias_gelu_backward)(std::int64_t rows, std::int64_t cols, const T* x, const T* bias, const T* dy,
                             T beta, T* dx, T dbias_beta, T* dbias);

  // ---- softmax over each row of [rows, cols]
  void (*softmax)(std::int64_t rows, std::int64_t cols, const T* x, T* y);
  void (*softmax_backward)(std::int64_t rows, std::int64_t cols, const T* y, const T* dy, T beta, T* dx);
  void (*log_softmax)(std::int64_t rows, std::int64_t cols, const T* x, T* y);
  void (*log_softmax_backward)(std::int64_t rows, std::int64_t cols, const T* y, const T* dy, T beta, T* dx);

  // ---- layer norm over each row: xhat = (s - mean) / sqrt(var + eps), y = gamma xhat + beta_, with
  //      s = dropout(x + bias) + residual; bias and residual may be null. xhat [rows, cols] and rstd [rows],
  //      1 / sqrt(var + eps), serve the backward; each may be null: not kept.
  void (*layer_norm)(std::int64_t rows, std::int64_t cols, const T* x, const T* bias, Dropout dropout,
                     const T* residual, const T* gamma, const T* beta_, T eps, T* y, T* xhat, T* rstd);
  // ds = rstd (dy gamma - mean(dy gamma) - xhat mean(dy gamma xhat)); dresidual (may be null) = ds +
  // residual_beta dresidual; dx (may be null) = dropout mask * ds + x_beta dx
  void (*layer_norm_backward)(std::int64_t rows, std::int64_t cols, const T* xhat, const T* rstd,
                              const T* gamma, const T* dy, Dropout dropout, T residual_beta, T* dresidual,
                              T x_beta, T* dx);
  // dgamma = sum over rows of dy xhat + beta dgamma, dbeta = sum over rows of dy + beta dbeta
  void (*layer_norm_parameters_backward)(std::int64_t rows, std::int64_t cols, const T* xhat, const T* dy,
                                         T gamma_beta, T* dgamma, T beta_beta, T* dbeta);

  // ---- attention within each sequence, heads side by side: qkv [tokens, 3 * heads * head_dim], out [tokens,
  // heads * head_dim],
  //      probabilities: for sequence s a [heads, n, n] array from element heads * pairs[s] on (before
  //      dropout; null: not kept). Keys beyond a sequence's real length get probability 0. `workspace` has
  //      attention_workspace() elements.
  std::int64_t (*attention_workspace)(std::int64_t longest, std::int64_t head_dim);
  void (*attention)(Sequences sequences, std::int64_t heads, std::int64_t head_dim, const T* qkv,
                    Dropout dropout, T* out, T* probabilities, T* workspace);
  // dqkv = the gradient + beta dqkv
  void (*attention_backward)(Sequences sequences, std::int64_t heads, std::int64_t head_dim, const T* qkv,
                             const T* probabilities, Dropout dropout, const T* dout, T beta, T* dqkv,
                             T* workspace);

  // ---- attention in mixed precision, in the table of f32 only: as above, with q, k, v and dout rounded to
  // bf16 by the caller, and dropout(P) and dS (kernels' files) before they are multiplied; sums in f32. The
  // backward makes P anew from log_sums [tokens, heads], log sum_j exp(q_i k_j / sqrt(d)) of each query
  // (null: not kept), so that nothing of the size of P is in memory.
  void (*attention_bf16)(Sequences sequences, std::int64_t heads, std::int64_t head_dim, const bf16* qkv,
                         Dropout dropout, T* out, T* log_sums, T* workspace);
  void (*attention_bf16_backward)(Sequences sequences, std::int64_t heads, std::int64_t head_dim,
                                  const bf16* qkv, const T* log_sums, Dropout dropout, const bf16* dout,
                                  T beta, T* dqkv, T* workspace);

  // ---- rows by index: y[i] = table[index[i]]; table[index[i]] += y[i], in the order of i
  void (*gather_rows)(std::int64_t n, std::int64_t cols, const T* table, const std::int32_t* index, T* y);
  void (*scatter_add_rows)(std::int64_t n, std::int64_t cols, const T* y, const std::int32_t* index,
                           T* table);
  // y[i] = x[i] + a[ia[i]] + b[ib[i]]
  void (*add_gathered_rows)(std::int64_t n, std::int64_t cols, const T* x, const T* a, const std::int32_t* ia,
                            const T* b, const std::int32_t* ib, T* y);
  // mean[s] = mean over the real rows of sequence s of x; backward: dx = dmean[s] / length on real rows, 0 on
  // padding, + beta dx
  void (*sequence_mean)(Sequences sequences, std::int64_t cols, const T* x, T* mean);
  void (*sequence_mean_backward)(Sequences sequences, std::int64_t cols, const T* dmean, T beta, T* dx);

  // ---- reductions and losses; scalars are written to `out[1]`
  void (*sum)(std::int64_t n, const T* x, T* out);
  void (*dot)(std::int64_t n, const T* x, const T* y, double* out);  // summed up in f64
  // out[i] = sum_c table[index[i], c]^2, in f64
  void (*squares_of_rows)(std::int64_t n, std::int64_t cols, const T* table, const std::int32_t* index,
                          double* out);
  Range (*range)(std::int64_t n, const T* x);
  // -mean over rows of sum_c target[r, c] log_p[r, c]; where the target is 0, a log_p of -inf counts 0
  void (*cross_entropy)(std::int64_t rows, std::int64_t classes, const T* log_p, const T* target, T* out);
  // dz = scale * (e^log_p * sum_c target - target) + beta dz: the gradient with respect to the logits under
  // log_p
  void (*cross_entropy_backward)(std::int64_t rows, std::int64_t classes, const T* log_p, const T* target,
                                 T scale, T beta, T* dz);
  // scale * sum over rows of w[r] sum_c (a[r, c] - b[r, c])^2, w null: 1; backward: da = scale w (a - b) +
  // beta da
  void (*squared_error)(std::int64_t rows, std::int64_t cols, const T* w, T scale, const T* a, const T* b,
                        T* out);
  void (*squared_error_backward)(std::int64_t rows, std::int64_t cols, const T* w, T scale, const T* a,
                                 const T* b, T beta, T* da);

  // ---- optimiser: one step on n parameters, g their gradient
  void (*adamw)(std::int64_t n, math::AdamStep step, T* w, const T* g, T* m, T* v);
  // steps[0 .. count): the same steps with zero gradient, on rows of a table, each at most once in row_index;
  // row r waits for steps from behind[r] on; behind[r] = count after
  void (*adamw_catch_up)(std::int64_t rows, std::int64_t cols, const std::int32_t* row_index,
                         const math::AdamStep* steps, std::int64_t count, std::int32_t* behind, T* w, T* m,
                         T* v);
  // as adamw, on the given rows only
  void (*adamw_rows)(std::int64_t rows, std::int64_t cols, const std::int32_t* row_index, math::AdamStep step,
                     T* w, const T* g, T* m, T* v);
};

}  // namespace costeff
