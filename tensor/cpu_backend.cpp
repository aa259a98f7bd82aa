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
using Product = void(Matrix<const T> a, Matrix<const T> b, Target<T> c);
#define COSTEFF_DECLARE_ISA(isa)       \
  namespace isa {                      \
  void fill_table(Kernels<float>& k);  \
  void fill_table(Kernels<double>& k); \
  template <class T>                   \
  Product<T> few_rows_product;         \
  template <class T>                   \
  Product<T> small_weight_product;     \
  }
COSTEFF_DECLARE_ISA(v2)
COSTEFF_DECLARE_ISA(v3)
COSTEFF_DECLARE_ISA(v4)

namespace {

// Up to so many rows of a, not copying the weight wins over OpenBLAS: twofold at 13, level at about 50.
constexpr std::int64_t kFewRows = 40;
// Up to so many elements of the weight and from so many rows on, copying it alone wins over both: over
// OpenBLAS by 1.2 to 1.6 with AVX-512, level with AVX2.
constexpr std::int64_t kSmallWeight = 96 * 1024;
constexpr std::int64_t kSmallWeightRows = 12;

template <class T, Product<T>* few_rows, Product<T>* small_weight>
void gemm(Matrix<const T> a, Matrix<const T> b, Target<T> c) {
  const std::int64_t m = a.rows, n = b.cols, k = a.cols;
  if (m == 0 || n == 0) return;
  if (k == 0) {  // an empty sum; BLAS would want row strides of at least 1
    for (std::int64_t i = 0; c.keep == T(0) && i < m * n; ++i) c.data[i] = T(0);
    return;
  }
  if (!a.transposed && b.transposed) {
    if (m >= kSmallWeightRows && n * k <= kSmallWeight) return small_weight(a, b, c);
    if (m <= kFewRows) return few_rows(a, b, c);
  }
  const auto op = [](const auto& matrix) { return matrix.transposed ? CblasTrans : CblasNoTrans; };
  const auto size = [](std::int64_t x) { return static_cast<blasint>(x); };
  if constexpr (std::is_same_v<T, float>) {
    cblas_sgemm(CblasRowMajor, op(a), op(b), size(m), size(n), size(k), T(1), a.data, size(a.stride), b.data,
                size(b.stride), c.keep, c.data, size(n));
  } else {
    cblas_dgemm(CblasRowMajor, op(a), op(b), size(m), size(n), size(k), T(1), a.data, size(a.stride), b.data,
                size(b.stride), c.keep, c.data, size(n));
  }
}

// As f32, in memory that the device's allocator keeps for the next call: as it lies, then as it is read.
Tensor widened(Matrix<const bf16> x) {
  const std::int64_t rows = x.transposed ? x.cols : x.rows, cols = x.transposed ? x.rows : x.cols;
  Tensor wide = Tensor::empty({rows, cols}, DType::f32);
  auto* out = wide.data<float>();
#pragma omp parallel for if (rows * cols > 16384)
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < cols; ++c) out[r * cols + c] = to_f32(x.data[r * x.stride + c]);
  }
  return wide;
}

// What mixed precision computes, in f32 arithmetic: a product of two bf16 is exact in it. No faster than f32.
void gemm_bf16(Matrix<const bf16> a, Matrix<const bf16> b, Target<float> c) {
  const Tensor wide_a = widened(a), wide_b = widened(b);
  const Matrix<const float> left = matrix<float>(wide_a), right = matrix<float>(wide_b);
  cpu_kernels<float>(best_isa()).gemm(a.transposed ? left.t() : left, b.transposed ? right.t() : right, c);
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
