// The matrix products of mixed precision (Micikevicius et al., 2018, with bf16 for f16), those of linear
// layers and of attention: their inputs, forward and backward, are rounded to bf16, they sum in f32, and
// everything around them stays in f32.
#include "autograd/op_support.h"

namespace costeff {
namespace {

Tensor rounded(const Tensor& x) {
  Tensor y = Tensor::empty(x.shape(), DType::bf16, x.device());
  compute(x, [&]<class T>(const Kernels<T>& k) { k.round_bf16(x.numel(), x.data<T>(), y.data<bf16>()); });
  return y;
}

// y = r(x) r(W)^T + b:  dx = r(dy) r(W), dW = r(dy)^T r(x), db = sum over rows of dy. Rounding passes
// gradients as they are.
void linear_bf16_backward(const Record& r, Backward& back) {
  const Tensor& x = r.saved(0);
  const Tensor& w = r.saved(1);
  const Tensor dy = rounded(back.dy());
  const std::int64_t rows = x.shape()[0];
  const std::int64_t out = w.shape()[0];
  const std::int64_t in = w.shape()[1];
  const Kernels<float>& k = kernels<float>(dy.device());
  if (const Slot dx = back.slot(0)) {
    k.gemm_bf16(false, false, rows, in, out, dy.data<bf16>(), out, w.data<bf16>(), in, dx.beta<float>(),
                dx.data<float>(), in);
  }
  if (const Slot dw = back.slot(1)) {
    k.gemm_bf16(true, false, out, in, rows, dy.data<bf16>(), out, x.data<bf16>(), in, dw.beta<float>(),
                dw.data<float>(), in);
  }
  if (r.inputs.size() < 3) return;
  if (const Slot db = back.slot(2))
    k.sum_rows(rows, out, back.dy().data<float>(), db.beta<float>(), db.data<float>());
}
const Op kLinearBf16("linear_bf16", "y = bf16(x) bf16(W)^T + b", linear_bf16_backward);

Variable linear_bf16(const Variable& x, const Variable& w, const Variable* bias) {
  require(x.shape().rank() == 2 && w.shape().rank() == 2 && x.shape()[1] == w.shape()[1] &&
              x.dtype() == DType::f32 && w.dtype() == DType::f32,
          kLinearBf16, "x must be f32 [rows, in] and the weight f32 [out, in]", {&x, &w});
  const std::int64_t rows = x.shape()[0];
  const std::int64_t out = w.shape()[0];
  const std::int64_t in = w.shape()[1];
  if (bias != nullptr)
    require(bias->shape() == Shape{out}, kLinearBf16, "the bias must be [out]", {&x, &w, bias});
  Tensor y = empty_like(x.value(), {rows, out});
  Details details{
      .saved = {{"x", rounded(x.value())}, {"weight", rounded(w.value())}},
      .flops = 2.0 * static_cast<double>(rows) * static_cast<double>(out) * static_cast<double>(in)};
  const Kernels<float>& k = kernels<float>(y.device());
  if (bias != nullptr) k.fill_rows(rows, out, bias->value().data<float>(), y.data<float>());
  k.gemm_bf16(false, true, rows, out, in, details.saved[0].value.data<bf16>(), in,
              details.saved[1].value.data<bf16>(), in, bias != nullptr ? 1 : 0, y.data<float>(), out);
  if (bias == nullptr) return record(kLinearBf16, {&x, &w}, std::move(y), std::move(details));
  return record(kLinearBf16, {&x, &w, bias}, std::move(y), std::move(details));
}

// As attention (ops_attention.cpp), with r(q), r(k), r(v), r(D), r(dout) and r(dS) in the products. Instead
// of P the tape keeps the logarithm of each row's sum of exponentials, of which the backward makes P anew.
void attention_bf16_backward(const Record& r, Backward& b) {
  const Slot dqkv = b.slot(0);
  if (!dqkv) return;
  const Tensor& qkv = r.saved(0);
  const auto heads = static_cast<std::int64_t>(r.attribute(0));
  const std::int64_t head_dim = qkv.shape()[1] / (3 * heads);
  const Sequences sequences = r.details.layout->view(qkv.device());
  const Tensor dout = rounded(b.dy());
  const Kernels<float>& k = kernels<float>(qkv.device());
  const Tensor workspace = empty_like(b.dy(), {k.attention_workspace(sequences.longest, head_dim)});
  k.attention_bf16_backward(sequences, heads, head_dim, qkv.data<bf16>(), r.saved(1).data<float>(),
                            r.details.dropout, dout.data<bf16>(), dqkv.beta<float>(), dqkv.data<float>(),
                            workspace.data<float>());
}
const Op kAttentionBf16("attention_bf16", "y = bf16(dropout(softmax(bf16(q) bf16(k)^T / sqrt(d)))) bf16(v)",
                        attention_bf16_backward);

}  // namespace

Variable attention_bf16(const Variable& qkv, std::int64_t heads, const Dropout& dropout,
                        const LayoutPtr& layout) {
  require(qkv.shape().rank() == 2 && qkv.shape()[0] == layout->tokens() && heads > 0 && qkv.shape()[1] > 0 &&
              qkv.shape()[1] % (3 * heads) == 0 && qkv.dtype() == DType::f32,
          kAttentionBf16, "qkv must be f32 [tokens, 3 heads head_dim]", {&qkv});
  require_probability(dropout, kAttentionBf16, {&qkv});
  const std::int64_t tokens = layout->tokens();
  const std::int64_t width = qkv.shape()[1] / 3;
  const std::int64_t head_dim = width / heads;
  const bool keep = wants_gradient(qkv);
  Tensor y = empty_like(qkv.value(), {tokens, width});
  const Tensor narrow = rounded(qkv.value());
  const Tensor log_sums = keep ? empty_like(y, {tokens, heads}) : Tensor();
  const Sequences sequences = layout->view(y.device());
  const Kernels<float>& k = kernels<float>(y.device());
  const Tensor workspace = empty_like(y, {k.attention_workspace(sequences.longest, head_dim)});
  k.attention_bf16(sequences, heads, head_dim, narrow.data<bf16>(), dropout, y.data<float>(),
                   keep ? log_sums.data<float>() : nullptr, workspace.data<float>());
  Details details{.attributes = {{"heads", static_cast<double>(heads)}, {"p", dropout.p}},
                  .dropout = dropout,
                  .layout = layout,
                  .flops = 4.0 * static_cast<double>(layout->pairs()) * static_cast<double>(width)};
  if (keep) details.saved = {{"qkv", narrow}, {"log_sums", log_sums}};
  return record(kAttentionBf16, {&qkv}, std::move(y), std::move(details));
}

Variable linear_bf16(const Variable& x, const Variable& weight) {
  return linear_bf16(x, weight, nullptr);
}

Variable linear_bf16(const Variable& x, const Variable& weight, const Variable& bias) {
  return linear_bf16(x, weight, &bias);
}

}  // namespace costeff
