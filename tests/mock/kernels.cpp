// The mock device's kernels: each names its arrays as tensor/kernels.h does, then runs the CPU's.
#include <algorithm>

#include "tensor/backend.h"
#include "tests/mock/call.h"
#include "tests/mock/mock.h"

namespace costeff::testing::mock {
namespace {

using Size = std::int64_t;
using Index = std::int32_t;

template <class T>
const Kernels<T>& cpu() {
  return kernels<T>(kCpu);
}

// Elements from the first to the last of a matrix whose rows are `stride` apart.
Size extent(Size rows, Size cols, Size stride) {
  return rows == 0 || cols == 0 ? 0 : (rows - 1) * stride + cols;
}

// How many rows and attention pairs the sequences have, once their arrays are checked.
struct Extents {
  Size tokens = 0;
  Size pairs = 0;
};
Extents sequences_in(Call& call, const Sequences& s) {
  call.in("offsets", s.offsets, s.count + 1);
  call.in("lengths", s.lengths, s.count);
  call.in("pairs", s.pairs, s.count + 1);
  const Open open;
  return {s.offsets[s.count], s.pairs[s.count]};
}

template <class T>
void fill_products(Kernels<T>& k) {
  k.gemm = [](bool trans_a, bool trans_b, Size m, Size n, Size depth, T alpha, const T* a, Size lda,
              const T* b, Size ldb, T beta, T* c, Size ldc) {
    Call call("gemm");
    call.in("a", a, trans_a ? extent(depth, m, lda) : extent(m, depth, lda));
    call.in("b", b, trans_b ? extent(n, depth, ldb) : extent(depth, n, ldb));
    call.out("c", c, extent(m, n, ldc));
    call.run([&] { cpu<T>().gemm(trans_a, trans_b, m, n, depth, alpha, a, lda, b, ldb, beta, c, ldc); });
  };
  if constexpr (std::is_same_v<T, float>) {
    k.gemm_bf16 = [](bool trans_a, bool trans_b, Size m, Size n, Size depth, const bf16* a, Size lda,
                     const bf16* b, Size ldb, T beta, T* c, Size ldc) {
      Call call("gemm_bf16");
      call.in("a", a, trans_a ? extent(depth, m, lda) : extent(m, depth, lda));
      call.in("b", b, trans_b ? extent(n, depth, ldb) : extent(depth, n, ldb));
      call.out("c", c, extent(m, n, ldc));
      call.run([&] { cpu<T>().gemm_bf16(trans_a, trans_b, m, n, depth, a, lda, b, ldb, beta, c, ldc); });
    };
  }
  k.round_bf16 = [](Size n, const T* x, bf16* y) {
    Call call("round_bf16");
    call.in("x", x, n);
    call.out("y", y, n);
    call.run([&] { cpu<T>().round_bf16(n, x, y); });
  };
  k.scale = [](Size n, T alpha, const T* x, T beta, T* y) {
    Call call("scale");
    call.in("x", x, n);
    call.in_place("y", y, n);
    call.run([&] { cpu<T>().scale(n, alpha, x, beta, y); });
  };
  k.add = [](Size n, const T* a, const T* b, T* y) {
    Call call("add");
    call.in("a", a, n);
    call.in("b", b, n);
    call.in_place("y", y, n);
    call.run([&] { cpu<T>().add(n, a, b, y); });
  };
  k.multiply = [](Size n, const T* a, const T* b, T beta, T* y) {
    Call call("multiply");
    call.in("a", a, n);
    call.in("b", b, n);
    call.in_place("y", y, n);
    call.run([&] { cpu<T>().multiply(n, a, b, beta, y); });
  };
  k.tanh = [](Size n, const T* x, T* y) {
    Call call("tanh");
    call.in("x", x, n);
    call.in_place("y", y, n);
    call.run([&] { cpu<T>().tanh(n, x, y); });
  };
  k.tanh_backward = [](Size n, const T* y, const T* dy, T beta, T* dx) {
    Call call("tanh_backward");
    call.in("y", y, n);
    call.in("dy", dy, n);
    call.out("dx", dx, n);
    call.run([&] { cpu<T>().tanh_backward(n, y, dy, beta, dx); });
  };
  k.dropout = [](Size n, Dropout dropout, const T* x, T beta, T* y) {
    Call call("dropout");
    call.in("x", x, n);
    call.in_place("y", y, n);
    call.run([&] { cpu<T>().dropout(n, dropout, x, beta, y); });
  };
}

template <class T>
void fill_biases(Kernels<T>& k) {
  k.fill_rows = [](Size rows, Size cols, const T* bias, T* y) {
    Call call("fill_rows");
    call.in("bias", bias, cols);
    call.out("y", y, rows * cols);
    call.run([&] { cpu<T>().fill_rows(rows, cols, bias, y); });
  };
  k.sum_rows = [](Size rows, Size cols, const T* x, T beta, T* sum) {
    Call call("sum_rows");
    call.in("x", x, rows * cols);
    call.out("sum", sum, cols);
    call.run([&] { cpu<T>().sum_rows(rows, cols, x, beta, sum); });
  };
  k.bias_gelu = [](Size rows, Size cols, const T* x, const T* bias, T* y) {
    Call call("bias_gelu");
    call.in("x", x, rows * cols);
    call.optional_in("bias", bias, cols);
    call.out("y", y, rows * cols);
    call.run([&] { cpu<T>().bias_gelu(rows, cols, x, bias, y); });
  };
  k.bias_gelu_backward = [](Size rows, Size cols, const T* x, const T* bias, const T* dy, T beta, T* dx,
                            T dbias_beta, T* dbias) {
    Call call("bias_gelu_backward");
    call.in("x", x, rows * cols);
    call.optional_in("bias", bias, cols);
    call.in("dy", dy, rows * cols);
    call.out("dx", dx, rows * cols);
    call.optional_out("dbias", dbias, cols);
    call.run([&] { cpu<T>().bias_gelu_backward(rows, cols, x, bias, dy, beta, dx, dbias_beta, dbias); });
  };
}

template <class T>
void fill_normalisations(Kernels<T>& k) {
  k.softmax = [](Size rows, Size cols, const T* x, T* y) {
    Call call("softmax");
    call.in("x", x, rows * cols);
    call.in_place("y", y, rows * cols);
    call.run([&] { cpu<T>().softmax(rows, cols, x, y); });
  };
  k.softmax_backward = [](Size rows, Size cols, const T* y, const T* dy, T beta, T* dx) {
    Call call("softmax_backward");
    call.in("y", y, rows * cols);
    call.in("dy", dy, rows * cols);
    call.out("dx", dx, rows * cols);
    call.run([&] { cpu<T>().softmax_backward(rows, cols, y, dy, beta, dx); });
  };
  k.log_softmax = [](Size rows, Size cols, const T* x, T* y) {
    Call call("log_softmax");
    call.in("x", x, rows * cols);
    call.in_place("y", y, rows * cols);
    call.run([&] { cpu<T>().log_softmax(rows, cols, x, y); });
  };
  k.log_softmax_backward = [](Size rows, Size cols, const T* y, const T* dy, T beta, T* dx) {
    Call call("log_softmax_backward");
    call.in("y", y, rows * cols);
    call.in("dy", dy, rows * cols);
    call.out("dx", dx, rows * cols);
    call.run([&] { cpu<T>().log_softmax_backward(rows, cols, y, dy, beta, dx); });
  };
  k.layer_norm = [](Size rows, Size cols, const T* x, const T* bias, Dropout dropout, const T* residual,
                    const T* gamma, const T* beta_, T eps, T* y, T* xhat, T* rstd) {
    Call call("layer_norm");
    call.in("x", x, rows * cols);
    call.optional_in("bias", bias, cols);
    call.optional_in("residual", residual, rows * cols);
    call.in("gamma", gamma, cols);
    call.in("beta", beta_, cols);
    call.out("y", y, rows * cols);
    call.optional_out("xhat", xhat, rows * cols);
    call.optional_out("rstd", rstd, rows);
    call.run([&] {
      cpu<T>().layer_norm(rows, cols, x, bias, dropout, residual, gamma, beta_, eps, y, xhat, rstd);
    });
  };
  k.layer_norm_backward = [](Size rows, Size cols, const T* xhat, const T* rstd, const T* gamma, const T* dy,
                             Dropout dropout, T residual_beta, T* dresidual, T x_beta, T* dx) {
    Call call("layer_norm_backward");
    call.in("xhat", xhat, rows * cols);
    call.in("rstd", rstd, rows);
    call.in("gamma", gamma, cols);
    call.in("dy", dy, rows * cols);
    call.optional_out("dresidual", dresidual, rows * cols);
    call.optional_out("dx", dx, rows * cols);
    call.run([&] {
      cpu<T>().layer_norm_backward(rows, cols, xhat, rstd, gamma, dy, dropout, residual_beta, dresidual,
                                   x_beta, dx);
    });
  };
  k.layer_norm_parameters_backward = [](Size rows, Size cols, const T* xhat, const T* dy, T gamma_beta,
                                        T* dgamma, T beta_beta, T* dbeta) {
    Call call("layer_norm_parameters_backward");
    call.in("xhat", xhat, rows * cols);
    call.in("dy", dy, rows * cols);
    call.out("dgamma", dgamma, cols);
    call.out("dbeta", dbeta, cols);
    call.run([&] {
      cpu<T>().layer_norm_parameters_backward(rows, cols, xhat, dy, gamma_beta, dgamma, beta_beta, dbeta);
    });
  };
}

template <class T>
void fill_sequences(Kernels<T>& k) {
  k.attention_workspace = cpu<T>().attention_workspace;
  k.attention = [](Sequences s, Size heads, Size head_dim, const T* qkv, Dropout dropout, T* out,
                   T* probabilities, T* workspace) {
    Call call("attention");
    const Extents e = sequences_in(call, s);
    call.in("qkv", qkv, e.tokens * 3 * heads * head_dim);
    call.out("out", out, e.tokens * heads * head_dim);
    call.optional_out("probabilities", probabilities, heads * e.pairs);
    call.out("workspace", workspace, cpu<T>().attention_workspace(s.longest, head_dim));
    call.run([&] { cpu<T>().attention(s, heads, head_dim, qkv, dropout, out, probabilities, workspace); });
  };
  k.attention_backward = [](Sequences s, Size heads, Size head_dim, const T* qkv, const T* probabilities,
                            Dropout dropout, const T* dout, T beta, T* dqkv, T* workspace) {
    Call call("attention_backward");
    const Extents e = sequences_in(call, s);
    call.in("qkv", qkv, e.tokens * 3 * heads * head_dim);
    call.in("probabilities", probabilities, heads * e.pairs);
    call.in("dout", dout, e.tokens * heads * head_dim);
    call.out("dqkv", dqkv, e.tokens * 3 * heads * head_dim);
    call.out("workspace", workspace, cpu<T>().attention_workspace(s.longest, head_dim));
    call.run([&] {
      cpu<T>().attention_backward(s, heads, head_dim, qkv, probabilities, dropout, dout, beta, dqkv,
                                  workspace);
    });
  };
  if constexpr (std::is_same_v<T, float>) {
    k.attention_bf16 = [](Sequences s, Size heads, Size head_dim, const bf16* qkv, Dropout dropout, T* out,
                          T* log_sums, T* workspace) {
      Call call("attention_bf16");
      const Extents e = sequences_in(call, s);
      call.in("qkv", qkv, e.tokens * 3 * heads * head_dim);
      call.out("out", out, e.tokens * heads * head_dim);
      call.optional_out("log_sums", log_sums, e.tokens * heads);
      call.out("workspace", workspace, cpu<T>().attention_workspace(s.longest, head_dim));
      call.run([&] { cpu<T>().attention_bf16(s, heads, head_dim, qkv, dropout, out, log_sums, workspace); });
    };
    k.attention_bf16_backward = [](Sequences s, Size heads, Size head_dim, const bf16* qkv, const T* log_sums,
                                   Dropout dropout, const bf16* dout, T beta, T* dqkv, T* workspace) {
      Call call("attention_bf16_backward");
      const Extents e = sequences_in(call, s);
      call.in("qkv", qkv, e.tokens * 3 * heads * head_dim);
      call.in("log_sums", log_sums, e.tokens * heads);
      call.in("dout", dout, e.tokens * heads * head_dim);
      call.out("dqkv", dqkv, e.tokens * 3 * heads * head_dim);
      call.out("workspace", workspace, cpu<T>().attention_workspace(s.longest, head_dim));
      call.run([&] {
        cpu<T>().attention_bf16_backward(s, heads, head_dim, qkv, log_sums, dropout, dout, beta, dqkv,
                                         workspace);
      });
    };
  }
  k.gather_rows = [](Size n, Size cols, const T* table, const Index* index, T* y) {
    Call call("gather_rows");
    call.in("table", table, call.index("index", index, n) * cols);
    call.out("y", y, n * cols);
    call.run([&] { cpu<T>().gather_rows(n, cols, table, index, y); });
  };
  k.scatter_add_rows = [](Size n, Size cols, const T* y, const Index* index, T* table) {
    Call call("scatter_add_rows");
    call.in("y", y, n * cols);
    call.out("table", table, call.index("index", index, n) * cols);
    call.run([&] { cpu<T>().scatter_add_rows(n, cols, y, index, table); });
  };
  k.add_gathered_rows = [](Size n, Size cols, const T* x, const T* a, const Index* ia, const T* b,
                           const Index* ib, T* y) {
    Call call("add_gathered_rows");
    call.in("x", x, n * cols);
    call.in("a", a, call.index("ia", ia, n) * cols);
    call.in("b", b, call.index("ib", ib, n) * cols);
    call.out("y", y, n * cols);
    call.run([&] { cpu<T>().add_gathered_rows(n, cols, x, a, ia, b, ib, y); });
  };
  k.sequence_mean = [](Sequences s, Size cols, const T* x, T* mean) {
    Call call("sequence_mean");
    call.in("x", x, sequences_in(call, s).tokens * cols);
    call.out("mean", mean, s.count * cols);
    call.run([&] { cpu<T>().sequence_mean(s, cols, x, mean); });
  };
  k.sequence_mean_backward = [](Sequences s, Size cols, const T* dmean, T beta, T* dx) {
    Call call("sequence_mean_backward");
    call.in("dmean", dmean, s.count * cols);
    call.out("dx", dx, sequences_in(call, s).tokens * cols);
    call.run([&] { cpu<T>().sequence_mean_backward(s, cols, dmean, beta, dx); });
  };
}

template <class T>
void fill_reductions(Kernels<T>& k) {
  k.sum = [](Size n, const T* x, T* out) {
    Call call("sum");
    call.in("x", x, n);
    call.out("out", out, 1);
    call.run([&] { cpu<T>().sum(n, x, out); });
  };
  k.dot = [](Size n, const T* x, const T* y, double* out) {
    Call call("dot");
    call.in("x", x, n);
    call.in("y", y, n);
    call.out("out", out, 1);
    call.run([&] { cpu<T>().dot(n, x, y, out); });
  };
  k.squares_of_rows = [](Size n, Size cols, const T* table, const Index* index, double* out) {
    Call call("squares_of_rows");
    const Size rows = call.index("index", index, n);
    call.in("table", table, rows * cols);
    call.out("out", out, n);
    call.run([&] { cpu<T>().squares_of_rows(n, cols, table, index, out); });
  };
  k.range = [](Size n, const T* x) {
    Call call("range");
    call.in("x", x, n);
    return call.run([&] { return cpu<T>().range(n, x); });
  };
  k.cross_entropy = [](Size rows, Size classes, const T* log_p, const T* target, T* out) {
    Call call("cross_entropy");
    call.in("log_p", log_p, rows * classes);
    call.in("target", target, rows * classes);
    call.out("out", out, 1);
    call.run([&] { cpu<T>().cross_entropy(rows, classes, log_p, target, out); });
  };
  k.cross_entropy_backward = [](Size rows, Size classes, const T* log_p, const T* target, T scale, T beta,
                                T* dz) {
    Call call("cross_entropy_backward");
    call.in("log_p", log_p, rows * classes);
    call.in("target", target, rows * classes);
    call.out("dz", dz, rows * classes);
    call.run([&] { cpu<T>().cross_entropy_backward(rows, classes, log_p, target, scale, beta, dz); });
  };
  k.squared_error = [](Size rows, Size cols, const T* w, T scale, const T* a, const T* b, T* out) {
    Call call("squared_error");
    call.optional_in("w", w, rows);
    call.in("a", a, rows * cols);
    call.in("b", b, rows * cols);
    call.out("out", out, 1);
    call.run([&] { cpu<T>().squared_error(rows, cols, w, scale, a, b, out); });
  };
  k.squared_error_backward = [](Size rows, Size cols, const T* w, T scale, const T* a, const T* b, T beta,
                                T* da) {
    Call call("squared_error_backward");
    call.optional_in("w", w, rows);
    call.in("a", a, rows * cols);
    call.in("b", b, rows * cols);
    call.out("da", da, rows * cols);
    call.run([&] { cpu<T>().squared_error_backward(rows, cols, w, scale, a, b, beta, da); });
  };
}

template <class T>
void fill_optimiser(Kernels<T>& k) {
  k.adamw = [](Size n, math::AdamStep step, T* w, const T* g, T* m, T* v) {
    Call call("adamw");
    call.out("w", w, n);
    call.in("g", g, n);
    call.out("m", m, n);
    call.out("v", v, n);
    call.run([&] { cpu<T>().adamw(n, step, w, g, m, v); });
  };
  k.adamw_catch_up = [](Size rows, Size cols, const Index* row_index, const math::AdamStep* steps, Size count,
                        Index* behind, T* w, T* m, T* v) {
    Call call("adamw_catch_up");
    const Size table = call.index("row_index", row_index, rows);
    call.in("steps", steps, count);
    call.out("behind", behind, table);
    call.out("w", w, table * cols);
    call.out("m", m, table * cols);
    call.out("v", v, table * cols);
    call.run([&] { cpu<T>().adamw_catch_up(rows, cols, row_index, steps, count, behind, w, m, v); });
  };
  k.adamw_rows = [](Size rows, Size cols, const Index* row_index, math::AdamStep step, T* w, const T* g, T* m,
                    T* v) {
    Call call("adamw_rows");
    const Size table = call.index("row_index", row_index, rows);
    call.out("w", w, table * cols);
    call.in("g", g, table * cols);
    call.out("m", m, table * cols);
    call.out("v", v, table * cols);
    call.run([&] { cpu<T>().adamw_rows(rows, cols, row_index, step, w, g, m, v); });
  };
}

template <class T>
const Kernels<T>& table() {
  static const Kernels<T> filled = [] {
    Kernels<T> k{};
    fill_products(k);
    fill_biases(k);
    fill_normalisations(k);
    fill_sequences(k);
    fill_reductions(k);
    fill_optimiser(k);
    return k;
  }();
  return filled;
}

}  // namespace

void install() {
  install_mock({&memory(), &table<float>(), &table<double>()});
}

}  // namespace costeff::testing::mock
