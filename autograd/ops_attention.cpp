// Scaled dot-product attention over a packed batch (Vaswani et al. 2017, Eq. 1).
#include "autograd/op_support.h"

namespace costeff {

// For each head of each sequence, with P = softmax(Q K^T / sqrt(d)), Z the dropout mask, P_drop = P Z and
// O = P_drop V:
//   dV = P_drop^T dO,  dP = (dO V^T) Z,  dS = P (dP - rowsum(P dP)),  dQ = dS K / sqrt(d),
//   dK = dS^T Q / sqrt(d)
// One kernel makes dQ, dK and dV, side by side (tensor/kernels.h has shapes and rounding in mixed precision).
static void attention_backward(const Record& r, Backward& b) {
  const Slot dqkv = b.slot(0);
  if (!dqkv) return;
  const auto [qkv, kept] = r.saved<2>();
  const auto [heads, p] = r.attributes<2>();
  const Tensor dout = operand(b.dy(), qkv.dtype());
  const std::int64_t head_dim = dout.shape()[1] / static_cast<std::int64_t>(heads);
  const Sequences sequences = r.details.layout->view(qkv.device());
  compute(kept, [&, &q = qkv, &of_forward = kept,
                 h = static_cast<std::int64_t>(heads)]<class T>(const Kernels<T>& k) {
    const Tensor workspace = empty_like(of_forward, {k.attention_workspace(sequences.longest, head_dim)});
    const auto run = [&]<class Operand>(void (*kernel)(const AttentionBackward<T, Operand>&)) {
      kernel({.sequences = sequences,
              .heads = h,
              .head_dim = head_dim,
              .dropout = r.details.dropout,
              .qkv = q.template data<Operand>(),
              .kept = of_forward.template data<T>(),
              .dout = dout.data<Operand>(),
              .dqkv = dqkv,
              .workspace = workspace.data<T>()});
    };
    q.dtype() == DType::bf16 ? run(k.attention_bf16_backward) : run(k.attention_backward);
  });
}
const Op kAttention("attention", "y = dropout(softmax(q k^T / sqrt(d))) v, per sequence and head",
                    attention_backward);

Variable attention(const Variable& qkv, std::int64_t heads, const Dropout& dropout, const LayoutPtr& layout,
                   Precision precision) {
  require(qkv.shape().rank() == 2 && qkv.shape()[0] == layout->tokens() && heads > 0 && qkv.shape()[1] > 0 &&
              qkv.shape()[1] % (3 * heads) == 0,
          kAttention, "qkv must be [tokens, 3 heads head_dim]", {&qkv});
  require_precision(precision, kAttention, {&qkv});
  require_probability(dropout, kAttention, {&qkv});
  const bool mixed = precision == Precision::bf16;
  const std::int64_t width = qkv.shape()[1] / 3, head_dim = width / heads;
  Tensor y = empty_like(qkv.value(), {layout->tokens(), width});
  const Tensor factors = operand(qkv.value(), precision);
  Tensor kept;
  if (wants_gradient(qkv))
    kept = mixed ? empty_like(y, {layout->tokens(), heads}) : empty_like(y, {heads * layout->pairs()});
  const Sequences sequences = layout->view(y.device());
  compute(y, [&]<class T>(const Kernels<T>& k) {
    const Tensor workspace = empty_like(y, {k.attention_workspace(sequences.longest, head_dim)});
    const auto run = [&]<class Operand>(void (*kernel)(const AttentionForward<T, Operand>&)) {
      kernel({.sequences = sequences,
              .heads = heads,
              .head_dim = head_dim,
              .dropout = dropout,
              .qkv = factors.data<Operand>(),
              .out = y.data<T>(),
              .kept = data_if<T>(kept),
              .workspace = workspace.data<T>()});
    };
    mixed ? run(k.attention_bf16) : run(k.attention);
  });
  Details details{.attributes = {{"heads", static_cast<double>(heads)}, {"p", dropout.p}},
                  .dropout = dropout,
                  .layout = layout,
                  .flops = 4.0 * static_cast<double>(layout->pairs()) * static_cast<double>(width)};
  if (kept.defined()) details.saved = {{"qkv", factors}, {mixed ? "log_sums" : "probabilities", kept}};
  return record(kAttention, {&qkv}, std::move(y), std::move(details));
}

}  // namespace costeff
