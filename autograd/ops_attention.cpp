// Scaled dot-product attention over a packed batch (Vaswani et al. 2017, Eq. 1).
#include "autograd/op_support.h"

namespace costeff {
namespace {

// For each head of each sequence, with P = softmax(q k^T / sqrt(d)) and D = mask P / (1 - p), out = D v:
//   dv = D^T dout,  dD = dout v^T,  dP = mask dD / (1 - p),  dS = P (dP - rowsum(dP P)),  dq = dS k /
//   sqrt(d),  dk = dS^T q / sqrt(d)
void attention_backward(const Record& r, Backward& b) {
  const Slot dqkv = b.slot(0);
  if (!dqkv) return;
  const Tensor& qkv = r.saved(0);
  const auto heads = static_cast<std::int64_t>(r.attribute(0));
  const std::int64_t head_dim = qkv.shape()[1] / (3 * heads);
  const Sequences sequences = r.details.layout->view(qkv.device());
  compute(qkv, [&]<class T>(const Kernels<T>& k) {
    const Tensor workspace = empty_like(qkv, {k.attention_workspace(sequences.longest, head_dim)});
    k.attention_backward(sequences, heads, head_dim, qkv.data<T>(), r.saved(1).data<T>(), r.details.dropout,
                         b.dy().data<T>(), dqkv.beta<T>(), dqkv.data<T>(), workspace.data<T>());
  });
}
const Op kAttention("attention", "y = dropout(softmax(q k^T / sqrt(d))) v, per sequence and head",
                    attention_backward);

}  // namespace

Variable attention(const Variable& qkv, std::int64_t heads, const Dropout& dropout, const LayoutPtr& layout) {
  require(qkv.shape().rank() == 2 && qkv.shape()[0] == layout->tokens() && heads > 0 && qkv.shape()[1] > 0 &&
              qkv.shape()[1] % (3 * heads) == 0,
          kAttention, "qkv must be [tokens, 3 heads head_dim]", {&qkv});
  require_probability(dropout, kAttention, {&qkv});
  const std::int64_t width = qkv.shape()[1] / 3;
  const std::int64_t head_dim = width / heads;
  const bool keep = wants_gradient(qkv);
  Tensor y = empty_like(qkv.value(), {layout->tokens(), width});
  const Tensor probabilities = keep ? empty_like(qkv.value(), {heads * layout->pairs()}) : Tensor();
  const Sequences sequences = layout->view(y.device());
  compute(y, [&]<class T>(const Kernels<T>& k) {
    const Tensor workspace = empty_like(y, {k.attention_workspace(sequences.longest, head_dim)});
    k.attention(sequences, heads, head_dim, qkv.value().data<T>(), dropout, y.data<T>(),
                keep ? probabilities.data<T>() : nullptr, workspace.data<T>());
  });
  Details details{.attributes = {{"heads", static_cast<double>(heads)}, {"p", dropout.p}},
                  .dropout = dropout,
                  .layout = layout,
                  .flops = 4.0 * static_cast<double>(layout->pairs()) * static_cast<double>(width)};
  if (keep) details.saved = {{"qkv", qkv.value()}, {"probabilities", probabilities}};
  return record(kAttention, {&qkv}, std::move(y), std::move(details));
}

}  // namespace costeff
