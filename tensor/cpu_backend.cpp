// The CPU backend: one table of kernels per instruction set, the best of them chosen once, and the matrix
// product from OpenBLAS.
#include <cblas.h>

#include <array>
#include <cstdlib>
#include <string_view>

#include "tensor/backend.h"
#include "tensor/error.h"
#include "tensor/tensor.h"

namespace costeff {

// tensor/cpu/table.cpp, few_rows.cpp and small_weight.cpp, compiled three times.
template <class T>
using Product = void(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t lda, const T* b,
                     std::int64_t ldb, T beta, T* c, std::int64_t ldc);
namespace v2 {
void fill_table(Kernels<float>& k);
void fill_table(Kernels<double>& k);
template <class T>
Product<T> few_rows_product;
template <class T>
Product<T> small_weight_product;
}  // namespace v2
namespace v3 {
void fill_table(Kernels<float>& k);
void fill_table(Kernels<double>& k);
template <class T>
Product<T> few_rows_product;
template <class T>
Product<T> small_weight_product;
}  // namespace v3
namespace v4 {
void fill_table(Kernels<float>& k);
void fill_table(Kernels<double>& k);
template <class T>
Product<T> few_rows_product;
template <class T>
Product<T> small_weight_product;
}  // namespace v4

namespace {

// Up to so many rows of a, not copying the weight wins over OpenBLAS: twofold at 13, level at about 50.
constexpr std::int64_t kFewRows = 40;
// Up to so many elements of the weight and from so many rows on, copying it alone wins over both: over
// OpenBLAS by 1.2 to 1.6 with AVX-512, level with AVX2.
constexpr std::int64_t kSmallWeight = 96 * 1024;
constexpr std::int64_t kSmallWeightRows = 12;

template <class T, Product<T>* few_rows, Product<T>* small_weight>
void gemm(bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k, T alpha, const T* a,
          std::int64_t lda, const T* b, std::int64_t ldb, T beta, T* c, std::int64_t ldc) {
  if (m == 0 || n == 0) return;
  if (k == 0) {  // an empty sum; BLAS would want row strides of at least 1
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < n; ++j) c[i * ldc + j] = beta == T(0) ? T(0) : beta * c[i * ldc + j];
    }
    return;
  }
  if (!trans_a && trans_b && alpha == T(1)) {
    if (m >= kSmallWeightRows && n * k <= kSmallWeight && (beta == T(0) || beta == T(1)))
      return small_weight(m, n, k, a, lda, b, ldb, beta, c, ldc);
    if (m <= kFewRows) return few_rows(m, n, k, a, lda, b, ldb, beta, c, ldc);
  }
  const auto op = [](bool transpose) { return transpose ? CblasTrans : CblasNoTrans; };
  const auto size = [](std::int64_t x) { return static_cast<blasint>(x); };
  if constexpr (std::is_same_v<T, float>) {
    cblas_sgemm(CblasRowMajor, op(trans_a), op(trans_b), size(m), size(n), size(k), alpha, a, size(lda), b,
                size(ldb), beta, c, size(ldc));
  } else {
    cblas_dgemm(CblasRowMajor, op(trans_a), op(trans_b), size(m), size(n), size(k), alpha, a, size(lda), b,
                size(ldb), beta, c, size(ldc));
  }
}

// As f32, in memory that the device's allocator keeps for the next call.
Tensor widened(const bf16* x, std::int64_t rows, std::int64_t cols, std::int64_t stride) {
  Tensor wide = Tensor::empty({rows, cols}, DType::f32);
  auto* out = wide.data<float>();
#pragma omp parallel for if (rows * cols > 16384)
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < cols; ++c) out[r * cols + c] = to_f32(x[r * stride + c]);
  }
  return wide;
}

// What mixed precision computes, in f32 arithmetic: a product of two bf16 is exact in it. No faster than f32.
void gemm_bf16(bool trans_a, bool trans_b, std::int64_t m, std::int64_t n, std::int64_t k, const bf16* a,
               std::int64_t lda, const bf16* b, std::int64_t ldb, float beta, float* c, std::int64_t ldc) {
  const Tensor wide_a = trans_a ? widened(a, k, m, lda) : widened(a, m, k, lda);
  const Tensor wide_b = trans_b ? widened(b, n, k, ldb) : widened(b, k, n, ldb);
  cpu_kernels<float>(best_isa())
      .gemm(trans_a, trans_b, m, n, k, 1, wide_a.data<float>(), trans_a ? m : k, wide_b.data<float>(),
            trans_b ? k : n, beta, c, ldc);
}

template <class T>
std::array<Kernels<T>, 3> make_tables() {
  std::array<Kernels<T>, 3> tables{};
  v2::fill_table(tables[0]);
  v3::fill_table(tables[1]);
  v4::fill_table(tables[2]);
  tables[0].gemm = gemm<T, v2::few_rows_product<T>, v2::small_weight_product<T>>;
  tables[1].gemm = gemm<T, v3::few_rows_product<T>, v3::small_weight_product<T>>;
  tables[2].gemm = gemm<T, v4::few_rows_product<T>, v4::small_weight_product<T>>;
  if constexpr (std::is_same_v<T, float>) {
    for (Kernels<T>& table : tables) table.gemm_bf16 = gemm_bf16;
  }
  return tables;
}

Isa isa_of_processor() {
  if (__builtin_cpu_supports("x86-64-v4")) return Isa::v4;
  if (__builtin_cpu_supports("x86-64-v3")) return Isa::v3;
  if (__builtin_cpu_supports("x86-64-v2")) return Isa::v2;
  fail("this processor is too old: costeff needs x86-64-v2 (SSE4.2)");
}

Isa choose_isa() {
  const Isa best = isa_of_processor();
  const char* wanted = std::getenv("COSTEFF_ISA");
  if (wanted == nullptr || *wanted == '\0') return best;
  for (const Isa isa : {Isa::v2, Isa::v3, Isa::v4}) {
    if (wanted == name_of(isa)) return isa < best ? isa : best;
  }
  fail("COSTEFF_ISA is \"{}\"; it can be v2, v3 or v4", wanted);
}

}  // namespace

std::string_view name_of(Isa isa) {
  switch (isa) {
    case Isa::v4:
      return "v4";
    case Isa::v3:
      return "v3";
    case Isa::v2:
      break;
  }
  return "v2";
}

Isa best_isa() {
  static const Isa isa = choose_isa();
  return isa;
}

template <class T>
const Kernels<T>& cpu_kernels(Isa isa) {
  static const std::array<Kernels<T>, 3> tables = make_tables<T>();
  if (isa > best_isa())
    fail("this processor (or COSTEFF_ISA) allows {}, not {}", name_of(best_isa()), name_of(isa));
  return tables[static_cast<std::size_t>(isa)];
}
template const Kernels<float>& cpu_kernels<float>(Isa isa);
template const Kernels<double>& cpu_kernels<double>(Isa isa);

}  // namespace costeff
