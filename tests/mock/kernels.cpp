// The mock device's kernels: what a call's arrays are is said here, as tensor/kernels.h has it; then they are
// checked, and the CPU's kernel runs.
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

// Sets the entry to a kernel that has `Describe` name the call's arrays before the CPU's runs.
template <class T, auto kEntry, class Describe, class R, class... A>
void install(Kernels<T>& k, R (*Kernels<T>::*)(A...), const char* name, Describe /*describe*/) {
  static const char* kernel = name;
  k.*kEntry = [](A... arguments) -> R {
    Call call(kernel);
    Describe{}(call, arguments...);
    return call.run([&] { return (cpu<T>().*kEntry)(arguments...); });
  };
}
// clang-format off
#define COSTEFF_KERNEL(entry, ...) \
  install<T, &Kernels<T>::entry>(k, &Kernels<T>::entry, #entry, [](Call & call, __VA_ARGS__)

template <class T>
void matrix_in(Call& call, const char* name, const Matrix<T>& m) {
  const Size rows = m.transposed ? m.cols : m.rows, cols = m.transposed ? m.rows : m.cols;
  call.in(name, m.data, rows == 0 || cols == 0 ? 0 : (rows - 1) * m.stride + cols);
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
void fill_elementwise(Kernels<T>& k) {
  const auto map = [](Call& call, Size n, const T* x, T* y) { call.in("x", x, n), call.in_place("y", y, n); };
  COSTEFF_KERNEL(round_bf16, Size n, const T* x, bf16* y) { call.in("x", x, n), call.out("y", y, n); });
  COSTEFF_KERNEL(scale, Size n, T, const T* x, T, T* y) { call.in("x", x, n), call.in_place("y", y, n); });
  COSTEFF_KERNEL(add, Size n, const T* a, const T* b, T* y) {
    call.in("a", a, n), call.in("b", b, n), call.in_place("y", y, n);
  });
  COSTEFF_KERNEL(multiply, Size n, const T* a, const T* b, T, T* y) {
    call.in("a", a, n), call.in("b", b, n), call.in_place("y", y, n);
  });
  install<T, &Kernels<T>::tanh>(k, &Kernels<T>::tanh, "tanh", map);
  COSTEFF_KERNEL(tanh_backward, Size n, const T* y, const T* dy, T, T* dx) {
    call.in("y", y, n), call.in("dy", dy, n), call.out("dx", dx, n);
  });
  COSTEFF_KERNEL(dropout, Size n, const Dropout&, const T* x, T, T* y) {
    call.in("x", x, n), call.in_place("y", y, n);
  });
}

template <class T>
void fill_rowwise(Kernels<T>& k) {
  const auto map = [](Call& call, Size rows, Size cols, const T* x, T* y) {
    call.in("x", x, rows * cols), call.in_place("y", y, rows * cols);
  };
  const auto backward = [](Call& call, Size rows, Size cols, const T* y, const T* dy, T, T* dx) {
    call.in("y", y, rows * cols), call.in("dy", dy, rows * cols), call.out("dx", dx, rows * cols);
  };
  install<T, &Kernels<T>::softmax>(k, &Kernels<T>::softmax, "softmax", map);
  install<T, &Kernels<T>::log_softmax>(k, &Kernels<T>::log_softmax, "log_softmax", map);
  install<T, &Kernels<T>::softmax_backward>(k, &Kernels<T>::softmax_backward, "softmax_backward", backward);
  install<T, &Kernels<T>::log_softmax_backward>(k, &Kernels<T>::log_softmax_backward, "log_softmax_backward",
                                                backward);
  COSTEFF_KERNEL(fill_rows, Size rows, Size cols, const T* bias, T* y) {
    call.in("bias", bias, cols), call.out("y", y, rows * cols);
  });
  COSTEFF_KERNEL(sum_rows, Size rows, Size cols, const T* x, T, T* sum) {
    call.in("x", x, rows * cols), call.out("sum", sum, cols);
  });
  COSTEFF_KERNEL(bias_gelu, Size rows, Size cols, const T* x, const T* bias, T* y) {
    call.in("x", x, rows * cols), call.optional_in("bias", bias, cols), call.out("y", y, rows * cols);
  });
  COSTEFF_KERNEL(bias_gelu_backward, const BiasGeluBackward<T>& c) {
    const Size n = c.rows * c.cols;
    call.in("x", c.x, n), call.optional_in("bias", c.bias, c.cols), call.in("dy", c.dy, n);
    call.out("dx", c.dx.data, n), call.optional_out("dbias", c.dbias.data, c.cols);
  });
  COSTEFF_KERNEL(layer_norm, const LayerNormForward<T>& c) {
    const Size n = c.rows * c.cols;
    call.in("x", c.x, n), call.optional_in("bias", c.bias, c.cols), call.optional_in("residual", c.residual, n);
    call.in("gamma", c.gamma, c.cols), call.in("beta", c.beta, c.cols), call.out("y", c.y, n);
    call.optional_out("xhat", c.xhat, n), call.optional_out("rstd", c.rstd, c.rows);
  });
  COSTEFF_KERNEL(layer_norm_backward, const LayerNormBackward<T>& c) {
    const Size n = c.rows * c.cols;
    call.in("xhat", c.xhat, n), call.in("rstd", c.rstd, c.rows), call.in("gamma", c.gamma, c.cols);
    call.in("dy", c.dy, n);
    call.optional_out("dresidual", c.dresidual.data, n), call.optional_out("dx", c.dx.data, n);
  });
  COSTEFF_KERNEL(layer_norm_parameters_backward, const LayerNormParametersBackward<T>& c) {
    call.in("xhat", c.xhat, c.rows * c.cols), call.in("dy", c.dy, c.rows * c.cols);
    call.out("dgamma", c.dgamma.data, c.cols), call.out("dbeta", c.dbeta.data, c.cols);
  });
}

constexpr auto kAttention = [](Call& call, const auto& c) {
  const Extents e = sequences_in(call, c.sequences);
  const Size width = c.heads * c.head_dim;
  const bool bf16_kept = sizeof(*c.qkv) == sizeof(bf16);
  call.in("qkv", c.qkv, e.tokens * 3 * width), call.out("out", c.out, e.tokens * width);
  call.optional_out("kept", c.kept, bf16_kept ? e.tokens * c.heads : c.heads * e.pairs);
  call.out("workspace", c.workspace,
           cpu<std::decay_t<decltype(*c.out)>>().attention_workspace(c.sequences.longest, c.head_dim));
};
constexpr auto kAttentionBackward = [](Call& call, const auto& c) {
  const Extents e = sequences_in(call, c.sequences);
  const Size width = c.heads * c.head_dim;
  const bool bf16_kept = sizeof(*c.qkv) == sizeof(bf16);
  call.in("qkv", c.qkv, e.tokens * 3 * width), call.in("dout", c.dout, e.tokens * width);
  call.in("kept", c.kept, bf16_kept ? e.tokens * c.heads : c.heads * e.pairs);
  call.out("dqkv", c.dqkv.data, e.tokens * 3 * width);
  call.out("workspace", c.workspace,
           cpu<std::decay_t<decltype(*c.kept)>>().attention_workspace(c.sequences.longest, c.head_dim));
};

template <class T>
void fill_products(Kernels<T>& k) {
  COSTEFF_KERNEL(gemm, const Matrix<const T>& a, const Matrix<const T>& b, const Target<T>& c) {
    matrix_in(call, "a", a), matrix_in(call, "b", b), call.out("c", c.data, a.rows * b.cols);
  });
  k.attention_workspace = cpu<T>().attention_workspace;
  install<T, &Kernels<T>::attention>(k, &Kernels<T>::attention, "attention", kAttention);
  install<T, &Kernels<T>::attention_backward>(k, &Kernels<T>::attention_backward, "attention_backward",
                                              kAttentionBackward);
  if constexpr (std::is_same_v<T, float>) {
    COSTEFF_KERNEL(gemm_bf16, const Matrix<const bf16>& a, const Matrix<const bf16>& b, const Target<T>& c) {
      matrix_in(call, "a", a), matrix_in(call, "b", b), call.out("c", c.data, a.rows * b.cols);
    });
    install<T, &Kernels<T>::attention_bf16>(k, &Kernels<T>::attention_bf16, "attention_bf16", kAttention);
    install<T, &Kernels<T>::attention_bf16_backward>(k, &Kernels<T>::attention_bf16_backward,
                                                     "attention_bf16_backward", kAttentionBackward);
  }
}

template <class T>
void fill_rows_by_index(Kernels<T>& k) {
  COSTEFF_KERNEL(gather_rows, Size n, Size cols, const T* table, const Index* index, T* y) {
    call.in("table", table, call.index("index", index, n) * cols), call.out("y", y, n * cols);
  });
  COSTEFF_KERNEL(scatter_add_rows, Size n, Size cols, const T* y, const Index* index, T* table) {
    call.in("y", y, n * cols), call.out("table", table, call.index("index", index, n) * cols);
  });
  COSTEFF_KERNEL(add_gathered_rows, Size n, Size cols, const T* x, const T* a, const Index* ia, const T* b,
                 const Index* ib, T* y) {
    call.in("x", x, n * cols), call.in("a", a, call.index("ia", ia, n) * cols);
    call.in("b", b, call.index("ib", ib, n) * cols), call.out("y", y, n * cols);
  });
  COSTEFF_KERNEL(sequence_mean, const Sequences& s, Size cols, const T* x, T* mean) {
    call.in("x", x, sequences_in(call, s).tokens * cols), call.out("mean", mean, s.count * cols);
  });
  COSTEFF_KERNEL(sequence_mean_backward, const Sequences& s, Size cols, const T* dmean, T, T* dx) {
    call.in("dmean", dmean, s.count * cols), call.out("dx", dx, sequences_in(call, s).tokens * cols);
  });
  COSTEFF_KERNEL(squares_of_rows, Size n, Size cols, const T* table, const Index* index, double* out) {
    call.in("table", table, call.index("index", index, n) * cols), call.out("out", out, n);
  });
}

template <class T>
void fill_reductions(Kernels<T>& k) {
  COSTEFF_KERNEL(sum, Size n, const T* x, T* out) { call.in("x", x, n), call.out("out", out, 1); });
  COSTEFF_KERNEL(dot, Size n, const T* x, const T* y, double* out) {
    call.in("x", x, n), call.in("y", y, n), call.out("out", out, 1);
  });
  COSTEFF_KERNEL(range, Size n, const T* x) { call.in("x", x, n); });
  COSTEFF_KERNEL(cross_entropy, Size rows, Size classes, const T* log_p, const T* target, T* out) {
    call.in("log_p", log_p, rows * classes), call.in("target", target, rows * classes);
    call.out("out", out, 1);
  });
  COSTEFF_KERNEL(cross_entropy_backward, Size rows, Size classes, const T* log_p, const T* target, T, T,
                 T* dz) {
    call.in("log_p", log_p, rows * classes), call.in("target", target, rows * classes);
    call.out("dz", dz, rows * classes);
  });
  COSTEFF_KERNEL(squared_error, Size rows, Size cols, const T* w, T, const T* a, const T* b, T* out) {
    call.optional_in("w", w, rows), call.in("a", a, rows * cols), call.in("b", b, rows * cols);
    call.out("out", out, 1);
  });
  COSTEFF_KERNEL(squared_error_backward, Size rows, Size cols, const T* w, T, const T* a, const T* b, T,
                 T* da) {
    call.optional_in("w", w, rows), call.in("a", a, rows * cols), call.in("b", b, rows * cols);
    call.out("da", da, rows * cols);
  });
}

template <class T>
void fill_optimiser(Kernels<T>& k) {
  COSTEFF_KERNEL(adamw, Size n, const math::AdamStep&, T* w, const T* g, T* m, T* v) {
    call.out("w", w, n), call.in("g", g, n), call.out("m", m, n), call.out("v", v, n);
  });
  COSTEFF_KERNEL(adamw_catch_up, Size rows, Size cols, const Index* row_index, const math::AdamStep* steps,
                 Size count, Index* behind, T* w, T* m, T* v) {
    const Size table = call.index("row_index", row_index, rows);
    call.in("steps", steps, count), call.out("behind", behind, table), call.out("w", w, table * cols);
    call.out("m", m, table * cols), call.out("v", v, table * cols);
  });
  COSTEFF_KERNEL(adamw_rows, Size rows, Size cols, const Index* row_index, const math::AdamStep&, T* w,
                 const T* g, T* m, T* v) {
    const Size table = call.index("row_index", row_index, rows) * cols;
    call.out("w", w, table), call.in("g", g, table), call.out("m", m, table), call.out("v", v, table);
  });
}

template <class T>
const Kernels<T>& table() {
  static const Kernels<T> filled = [] {
    Kernels<T> k{};
    fill_products(k);
    fill_elementwise(k);
    fill_rowwise(k);
    fill_rows_by_index(k);
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
