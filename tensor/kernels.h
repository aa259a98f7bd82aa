// The contract between operations and devices: every kernel that a backend provides, as a table of functions.
//
// One table per element type (f32, f64) and backend. Pointers are to row-major arrays on the backend's
// device; a shape stands in brackets where a pointer is named. Index arrays are i32. Kernels allocate nothing
// (gemm_bf16 may take scratch from the device's allocator) and throw nothing: whoever calls them has checked
// shapes and indices. A `keep` says what happens to what the output held: out = result + keep * out, and with
// keep = 0 the old content is not read (it may be uninitialised). It is 0 or 1. A Target is an output with
// its keep. For a given number of threads the order of every sum is fixed.
//
// An output overlaps no other argument, with these exceptions: it may be an input itself in scale, add,
// multiply, tanh, dropout, softmax and log_softmax. Pointers within structures (Sequences) and `steps` are on
// the device too. A device may compute later than a call returns, but in the order of the calls; only
// `range`, whose result is the host's, waits.
#pragma once

#include <cstdint>

#include "tensor/dtype.h"
#include "tensor/math.h"
#include "tensor/matrix.h"
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

// dx = dy gelu'(x + bias), dbias = sum over rows of dx
template <class T>
struct BiasGeluBackward {
  std::int64_t rows = 0, cols = 0;
  const T* x = nullptr;     // [rows, cols]
  const T* bias = nullptr;  // [cols]; null: none
  const T* dy = nullptr;    // [rows, cols]
  Target<T> dx;             // [rows, cols]
  Target<T> dbias = {};     // [cols]; null: not wanted
};

// Layer norm over each row s = dropout(x + bias) + residual:
//   xhat = (s - mean s) / sqrt(var s + eps),  y = gamma xhat + beta
template <class T>
struct LayerNormForward {
  std::int64_t rows = 0, cols = 0;
  const T* x = nullptr;     // [rows, cols]
  const T* bias = nullptr;  // [cols]; null: none
  Dropout dropout = {};
  const T* residual = nullptr;  // [rows, cols]; null: none
  const T* gamma = nullptr;     // [cols]
  const T* beta = nullptr;      // [cols]
  T eps = 0;
  T* y = nullptr;     // [rows, cols]
  T* xhat = nullptr;  // [rows, cols], for the backward; null: not kept
  T* rstd = nullptr;  // [rows], 1 / sqrt(var s + eps), likewise
};
// With g = dy gamma:
//   ds = rstd (g - mean g - xhat mean(g xhat)),  dresidual = ds,  dx = dropout mask * ds
template <class T>
struct LayerNormBackward {
  std::int64_t rows = 0, cols = 0;
  const T* xhat = nullptr;   // [rows, cols]
  const T* rstd = nullptr;   // [rows]
  const T* gamma = nullptr;  // [cols]
  const T* dy = nullptr;     // [rows, cols]
  Dropout dropout = {};
  Target<T> dresidual = {};  // [rows, cols]; null: not wanted
  Target<T> dx = {};         // [rows, cols]; null: not wanted
};
//   dgamma = sum over rows of dy xhat,  dbeta = sum over rows of dy
template <class T>
struct LayerNormParametersBackward {
  std::int64_t rows = 0, cols = 0;
  const T* xhat = nullptr;  // [rows, cols]
  const T* dy = nullptr;    // [rows, cols]
  Target<T> dgamma, dbeta;  // [cols]
};

// Attention of each head within each sequence of n tokens (Vaswani et al. 2017, Eq. 1), on Q, K, V and O of
// [n, d], d = head_dim, and Z the dropout mask, 0 or 1 / (1 - p). The notation of all files:
//   S = Q K^T / sqrt(d),  P = softmax(S),  P_drop = P Z (elementwise),  O = P_drop V
// and backward:
//   dV = P_drop^T dO,  dP_drop = dO V^T,  dP = dP_drop Z,  dS = P (dP - rowsum(P dP)),
//   dQ = dS K / sqrt(d),  dK = dS^T Q / sqrt(d)
// Keys beyond a sequence's real length get probability 0. Heads lie side by side. Operand is T or, in mixed
// precision, bf16: then Q, K, V, dO (by the caller), P_drop and dS / sqrt(d) (by the kernels) are rounded
// before they are multiplied, and sums are in f32.
template <class T, class Operand = T>
struct AttentionForward {
  Sequences sequences = {};
  std::int64_t heads = 0, head_dim = 0;
  Dropout dropout = {};
  const Operand* qkv = nullptr;  // [tokens, 3 * heads * head_dim]
  T* out = nullptr;              // [tokens, heads * head_dim]
  // What the backward makes P of; null: not kept. P itself, for sequence s a [heads, n, n] array from element
  // heads * pairs[s] on; in mixed precision log sum_j exp(S_ij) of each query, [tokens, heads].
  T* kept = nullptr;
  T* workspace = nullptr;  // of attention_workspace() elements
};
template <class T, class Operand = T>
struct AttentionBackward {
  Sequences sequences = {};
  std::int64_t heads = 0, head_dim = 0;
  Dropout dropout = {};
  const Operand* qkv = nullptr;   // [tokens, 3 * heads * head_dim]
  const T* kept = nullptr;        // of the forward
  const Operand* dout = nullptr;  // [tokens, heads * head_dim]
  Target<T> dqkv = {};            // [tokens, 3 * heads * head_dim]
  T* workspace = nullptr;
};

template <class T>
struct Kernels {
  // ---- matrix product: c = a b, c [a.rows, b.cols] without gaps between its rows
  void (*gemm)(Matrix<const T> a, Matrix<const T> b, Target<T> c);
  // of bf16 matrices, summed up in f32: mixed precision. In the table of f32 only.
  void (*gemm_bf16)(Matrix<const bf16> a, Matrix<const bf16> b, Target<T> c);

  // ---- elementwise, n elements
  // y = alpha x
  void (*scale)(std::int64_t n, T alpha, const T* x, T keep, T* y);
  // y = a + b
  void (*add)(std::int64_t n, const T* a, const T* b, T* y);
  // y = a b
  void (*multiply)(std::int64_t n, const T* a, const T* b, T keep, T* y);
  // y = tanh x
  void (*tanh)(std::int64_t n, const T* x, T* y);
  // dx = dy (1 - y^2)
  void (*tanh_backward)(std::int64_t n, const T* y, const T* dy, T keep, T* dx);
  // y = x Z, Z the dropout mask: also its own backward
  void (*dropout)(std::int64_t n, Dropout dropout, const T* x, T keep, T* y);
  // to the nearest, ties to even
  void (*round_bf16)(std::int64_t n, const T* x, bf16* y);

  // ---- rows with a bias: x, y [rows, cols], bias [cols]
  // every row of y = bias
  void (*fill_rows)(std::int64_t rows, std::int64_t cols, const T* bias, T* y);
  // sum[cols] = sum over rows of x
  void (*sum_rows)(std::int64_t rows, std::int64_t cols, const T* x, T keep, T* sum);
  // y = gelu(x + bias); bias may be null
  void (*bias_gelu)(std::int64_t rows, std::int64_t cols, const T* x, const T* bias, T* y);
  void (*bias_gelu_backward)(const BiasGeluBackward<T>& call);

  // ---- softmax over each row of [rows, cols]
  void (*softmax)(std::int64_t rows, std::int64_t cols, const T* x, T* y);
  void (*softmax_backward)(std::int64_t rows, std::int64_t cols, const T* y, const T* dy, T keep, T* dx);
  void (*log_softmax)(std::int64_t rows, std::int64_t cols, const T* x, T* y);
  void (*log_softmax_backward)(std::int64_t rows, std::int64_t cols, const T* y, const T* dy, T keep, T* dx);

  // ---- layer norm
  void (*layer_norm)(const LayerNormForward<T>& call);
  void (*layer_norm_backward)(const LayerNormBackward<T>& call);
  void (*layer_norm_parameters_backward)(const LayerNormParametersBackward<T>& call);

  // ---- attention; with bf16 in the table of f32 only
  std::int64_t (*attention_workspace)(std::int64_t longest, std::int64_t head_dim);
  void (*attention)(const AttentionForward<T>& call);
  void (*attention_backward)(const AttentionBackward<T>& call);
  void (*attention_bf16)(const AttentionForward<T, bf16>& call);
  void (*attention_bf16_backward)(const AttentionBackward<T, bf16>& call);

  // ---- rows by index: y[i] = table[index[i]]; table[index[i]] += y[i], in the order of i
  void (*gather_rows)(std::int64_t n, std::int64_t cols, const T* table, const std::int32_t* index, T* y);
  void (*scatter_add_rows)(std::int64_t n, std::int64_t cols, const T* y, const std::int32_t* index,
                           T* table);
  // y[i] = x[i] + a[ia[i]] + b[ib[i]]
  void (*add_gathered_rows)(std::int64_t n, std::int64_t cols, const T* x, const T* a, const std::int32_t* ia,
                            const T* b, const std::int32_t* ib, T* y);
  // mean[s] = mean over the real rows of sequence s of x; backward: dx = dmean[s] / length on real rows, 0 on
  // padding
  void (*sequence_mean)(Sequences sequences, std::int64_t cols, const T* x, T* mean);
  void (*sequence_mean_backward)(Sequences sequences, std::int64_t cols, const T* dmean, T keep, T* dx);

  // ---- reductions and losses; scalars are written to `out[1]`
  void (*sum)(std::int64_t n, const T* x, T* out);
  void (*dot)(std::int64_t n, const T* x, const T* y, double* out);  // summed up in f64
  // out[i] = sum_c table[index[i], c]^2, in f64
  void (*squares_of_rows)(std::int64_t n, std::int64_t cols, const T* table, const std::int32_t* index,
                          double* out);
  Range (*range)(std::int64_t n, const T* x);
  // -mean over rows of sum_c target[r, c] log_p[r, c]; where the target is 0, a log_p of -inf counts 0
  void (*cross_entropy)(std::int64_t rows, std::int64_t classes, const T* log_p, const T* target, T* out);
  // dz = scale * (e^log_p * sum_c target - target): the gradient with respect to the logits under log_p
  void (*cross_entropy_backward)(std::int64_t rows, std::int64_t classes, const T* log_p, const T* target,
                                 T scale, T keep, T* dz);
  // scale * sum over rows of w[r] sum_c (a[r, c] - b[r, c])^2, w null: 1; backward: da = scale w (a - b)
  void (*squared_error)(std::int64_t rows, std::int64_t cols, const T* w, T scale, const T* a, const T* b,
                        T* out);
  void (*squared_error_backward)(std::int64_t rows, std::int64_t cols, const T* w, T scale, const T* a,
                                 const T* b, T keep, T* da);

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
