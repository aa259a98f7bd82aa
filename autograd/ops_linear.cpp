// Matrix products. A weight is [out, in], as in Hugging Face checkpoints.
#include "autograd/op_support.h"

namespace costeff {
namespace {

// A tensor as a factor of a product, or its transpose.
struct Factor {
  explicit(false) Factor(const Tensor& t, bool is_transposed = false)
      : tensor(t), transposed(is_transposed) {}
  template <class T>
  Matrix<const T> view() const {
    return transposed ? matrix<T>(tensor).t() : matrix<T>(tensor);
  }
  const Tensor& tensor;
  bool transposed;
};
Factor t(const Tensor& tensor) {
  return {tensor, true};
}

// c = a b, of matrices of c's dtype or of bf16.
void product(const Factor& a, const Factor& b, const Slot& c) {
  compute(c.tensor, [&]<class T>(const Kernels<T>& k) {
    if (a.tensor.dtype() == DType::bf16) {
      k.gemm_bf16(a.view<bf16>(), b.view<bf16>(), c);
    } else {
      k.gemm(a.view<T>(), b.view<T>(), c);
    }
  });
}

// Matrix i of [batch, m, n], or of [m, n] itself.
Tensor item(const Tensor& tensor, std::int64_t i) {
  if (!tensor.defined() || tensor.shape().rank() == 2) return tensor;
  return tensor.slice(i, i + 1).reshape({tensor.shape()[1], tensor.shape()[2]});
}

}  // namespace

// y = a b:  da = dy b^T, db = a^T dy;  y = a b^T:  da = dy b, db = dy^T a
static void matmul_backward(const Record& r, Backward& back) {
  const auto [a, b] = r.saved<2>();  // [m, k]; [k, n] or, transposed, [n, k]
  const auto [trans_b] = r.attributes<1>();
  const Slot da = back.slot(0);
  const Slot db = back.slot(1);
  for (std::int64_t i = 0; i < (a.shape().rank() == 3 ? a.shape()[0] : 1); ++i) {
    const Tensor ai = item(a, i), bi = item(b, i), dy = item(back.dy(), i);  // dy [m, n]
    const Slot dai{item(da.tensor, i), da.accumulate}, dbi{item(db.tensor, i), db.accumulate};
    if (da) product(dy, trans_b != 0 ? Factor(bi) : t(bi), dai);
    if (db && trans_b != 0) product(t(dy), ai, dbi);
    if (db && trans_b == 0) product(t(ai), dy, dbi);
  }
}
const Op kMatmul("matmul", "y = a b", matmul_backward);

Variable matmul(const Variable& a, const Variable& b, bool trans_b) {
  const Shape& sa = a.shape();
  const Shape& sb = b.shape();
  const bool ranks = sa.rank() == sb.rank() && (sa.rank() == 2 || (sa.rank() == 3 && sa[0] == sb[0]));
  require(ranks && sa[-1] == (trans_b ? sb[-1] : sb[-2]), kMatmul, "shapes do not fit", {&a, &b});
  const std::int64_t n = trans_b ? sb[-2] : sb[-1];
  Tensor y = empty_like(a.value(), sa.with_back(n));
  for (std::int64_t i = 0; i < (sa.rank() == 3 ? sa[0] : 1); ++i) {
    const Tensor ai = item(a.value(), i), bi = item(b.value(), i);
    product(ai, Factor(bi, trans_b), {item(y, i)});
  }
  return record(kMatmul, {&a, &b}, std::move(y),
                {.saved = {{"a", a.value()}, {"b", b.value()}},
                 .attributes = {{"trans_b", trans_b ? 1.0 : 0.0}},
                 .flops = 2.0 * static_cast<double>(a.value().numel()) * static_cast<double>(n)});
}

// y = x W^T + b:  dx = dy W, dW = dy^T x, db = sum over rows of dy. In mixed precision x, W and dy are
// rounded to bf16 in the products; rounding passes gradients as they are.
static void linear_backward(const Record& r, Backward& back) {
  const auto [x, w] = r.saved<2>();                 // [rows, in], [out, in]
  const Tensor dy = operand(back.dy(), x.dtype());  // [rows, out]
  if (const Slot dx = back.slot(0)) product(dy, w, dx);
  if (const Slot dw = back.slot(1)) product(t(dy), x, dw);
  if (r.inputs.size() < 3) return;
  if (const Slot db = back.slot(2)) run(back.dy(), COSTEFF_KERNEL(sum_rows), rows_of(dy), back.dy(), db);
}
const Op kLinear("linear", "y = x W^T + b", linear_backward);

static Variable linear(const Variable& x, const Variable& w, const Variable* bias, Precision precision) {
  require(x.shape().rank() == 2 && w.shape().rank() == 2 && x.shape()[1] == w.shape()[1], kLinear,
          "x must be [rows, in] and the weight [out, in]", {&x, &w});
  require_precision(precision, kLinear, {&x, &w});
  const std::int64_t rows = x.shape()[0];
  const std::int64_t out = w.shape()[0];
  if (bias != nullptr)
    require(bias->shape() == Shape{out}, kLinear, "the bias must be [out]", {&x, &w, bias});
  const Tensor left = operand(x.value(), precision), right = operand(w.value(), precision);
  Tensor y = empty_like(x.value(), {rows, out});
  if (bias != nullptr) run(y, COSTEFF_KERNEL(fill_rows), rows_of(y), bias->value(), y);
  product(left, t(right), {y, bias != nullptr});
  Details details{.saved = {{"x", left}, {"weight", right}},
                  .flops = 2.0 * static_cast<double>(x.value().numel()) * static_cast<double>(out)};
  if (bias == nullptr) return record(kLinear, {&x, &w}, std::move(y), std::move(details));
  return record(kLinear, {&x, &w, bias}, std::move(y), std::move(details));
}

Variable linear(const Variable& x, const Variable& weight, Precision precision) {
  return linear(x, weight, nullptr, precision);
}

Variable linear(const Variable& x, const Variable& weight, const Variable& bias, Precision precision) {
  return linear(x, weight, &bias, precision);
}

}  // namespace costeff
