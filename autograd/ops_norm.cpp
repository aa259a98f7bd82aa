// Layer normalisation, alone and fused with what precedes it in a transformer.
#include "autograd/op_support.h"

namespace costeff {
namespace {

// With s the input of the normalisation, xhat = (s - mean) / sqrt(var + eps) and g = dy gamma:
//   ds = (g - mean(g) - xhat mean(g xhat)) / sqrt(var + eps),  dgamma = sum dy xhat,  dbeta = sum dy
// Inputs 1 and 2 of layer_norm, 3 and 4 of the fused form, are gamma and beta.
void parameters_backward(const Tensor& xhat, Backward& b, std::size_t gamma_input) {
  const Slot dgamma = b.slot(gamma_input);
  const Slot dbeta = b.slot(gamma_input + 1);
  if (!dgamma && !dbeta) return;
  const Tensor& dy = b.dy();
  // The kernel's two outputs must not be one buffer, as they are where gamma is beta.
  const bool both = dgamma && dbeta && dgamma.tensor.raw() == dbeta.tensor.raw();
  const Tensor apart = dgamma && dbeta && !both ? Tensor() : empty_like(dy, {dy.shape().cols()});
  compute(dy, [&]<class T>(const Kernels<T>& k) {
    k.layer_norm_parameters_backward(dy.shape().rows(), dy.shape().cols(), xhat.data<T>(), dy.data<T>(),
                                     dgamma.beta<T>(), dgamma ? dgamma.data<T>() : apart.data<T>(),
                                     both ? T(0) : dbeta.beta<T>(),
                                     dbeta && !both ? dbeta.data<T>() : apart.data<T>());
    if (both) k.scale(apart.numel(), T(1), apart.data<T>(), T(1), dgamma.data<T>());
  });
}

void layer_norm_backward(const Record& r, Backward& b) {
  parameters_backward(r.saved(0), b, 1);
  const Slot dx = b.slot(0);
  if (!dx) return;
  compute(b.dy(), [&]<class T>(const Kernels<T>& k) {
    k.layer_norm_backward(b.dy().shape().rows(), b.dy().shape().cols(), r.saved(0).data<T>(),
                          r.saved(1).data<T>(), r.saved(2).data<T>(), b.dy().data<T>(), Dropout{},
                          dx.beta<T>(), dx.data<T>(), T(0), nullptr);
  });
}
const Op kLayerNorm("layer_norm", "y = gamma (x - mean x) / sqrt(var x + eps) + beta", layer_norm_backward);

// s = dropout(x + bias) + residual:  dresidual = ds, dx = mask ds / (1 - p), dbias = sum over rows of dx
void fused_backward(const Record& r, Backward& b) {
  parameters_backward(r.saved(0), b, 3);
  const Tensor& dy = b.dy();
  const Slot dresidual = b.slot(2);
  const Slot dbias = b.slot(1);
  Slot dx = b.slot(0);
  if (!dx && !dresidual && !dbias) return;
  // The bias wants the sum of this pass's dx alone, so it needs it apart from what dx already holds; and the
  // kernel's two outputs must not be one buffer, as they are where x is its own residual.
  const bool one_buffer = dx && dresidual && dx.tensor.raw() == dresidual.tensor.raw();
  const bool apart = one_buffer || (dbias && (!dx || dx.accumulate));
  const Tensor fresh = apart ? empty_like(dy) : Tensor();
  const Tensor& target = fresh.defined() ? fresh : dx.tensor;
  compute(dy, [&]<class T>(const Kernels<T>& k) {
    const std::int64_t rows = dy.shape().rows();
    const std::int64_t cols = dy.shape().cols();
    k.layer_norm_backward(rows, cols, r.saved(0).data<T>(), r.saved(1).data<T>(), r.saved(2).data<T>(),
                          dy.data<T>(), r.details.dropout, dresidual.beta<T>(), dresidual.data<T>(),
                          fresh.defined() ? T(0) : dx.beta<T>(),
                          target.defined() ? target.data<T>() : nullptr);
    if (dbias) k.sum_rows(rows, cols, target.data<T>(), dbias.beta<T>(), dbias.data<T>());
    if (fresh.defined() && dx) k.scale(dy.numel(), T(1), fresh.data<T>(), dx.beta<T>(), dx.data<T>());
  });
}
const Op kFused("bias_dropout_residual_layer_norm", "y = layer_norm(dropout(x + bias) + residual)",
                fused_backward);

// What the backward reads of a normalisation: xhat [rows, cols] and 1 / sqrt(var + eps) [rows]; undefined
// where no gradient is wanted.
struct Statistics {
  Tensor xhat;
  Tensor rstd;

  template <class T>
  T* xhat_data() const {
    return xhat.defined() ? xhat.data<T>() : nullptr;
  }
  template <class T>
  T* rstd_data() const {
    return rstd.defined() ? rstd.data<T>() : nullptr;
  }
  void save(const Variable& gamma, Details& details) const {
    if (xhat.defined()) details.saved = {{"xhat", xhat}, {"rstd", rstd}, {"gamma", gamma.value()}};
  }
};

Statistics statistics(const Tensor& y, bool wanted) {
  if (!wanted) return {};
  return {empty_like(y), empty_like(y, {y.shape().rows()})};
}

void require_rows_of(const Op& op, const Variable& x, const Variable& gamma, const Variable& beta) {
  const Shape row{x.shape().cols()};
  require(x.shape().rank() >= 1 && gamma.shape() == row && beta.shape() == row, op,
          "gamma and beta must have the row's length", {&x, &gamma, &beta});
}

}  // namespace

Variable layer_norm(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon) {
  require_rows_of(kLayerNorm, x, gamma, beta);
  const std::int64_t rows = x.shape().rows();
  Tensor y = empty_like(x.value());
  const Statistics kept = statistics(y, wants_gradient({&x, &gamma, &beta}));
  compute(y, [&]<class T>(const Kernels<T>& k) {
    k.layer_norm(rows, x.shape().cols(), x.value().data<T>(), nullptr, Dropout{}, nullptr,
                 gamma.value().data<T>(), beta.value().data<T>(), static_cast<T>(epsilon), y.data<T>(),
                 kept.xhat_data<T>(), kept.rstd_data<T>());
  });
  Details details{.attributes = {{"epsilon", epsilon}}};
  kept.save(gamma, details);
  return record(kLayerNorm, {&x, &gamma, &beta}, std::move(y), std::move(details));
}

Variable bias_dropout_residual_layer_norm(const Variable& x, const Variable& bias, const Dropout& dropout,
                                          const Variable& residual, const Variable& gamma,
                                          const Variable& beta, double epsilon) {
  require_rows_of(kFused, x, gamma, beta);
  require(bias.shape() == Shape{x.shape().cols()} && residual.shape() == x.shape(), kFused,
          "the bias must have the row's length, the residual x's shape", {&x, &bias, &residual});
  require_probability(dropout, kFused, {&x});
  const std::int64_t rows = x.shape().rows();
  Tensor y = empty_like(x.value());
  const Statistics kept = statistics(y, wants_gradient({&x, &bias, &residual, &gamma, &beta}));
  compute(y, [&]<class T>(const Kernels<T>& k) {
    k.layer_norm(rows, x.shape().cols(), x.value().data<T>(), bias.value().data<T>(), dropout,
                 residual.value().data<T>(), gamma.value().data<T>(), beta.value().data<T>(),
                 static_cast<T>(epsilon), y.data<T>(), kept.xhat_data<T>(), kept.rstd_data<T>());
  });
  Details details{.attributes = {{"p", dropout.p}, {"epsilon", epsilon}}, .dropout = dropout};
  kept.save(gamma, details);
  return record(kFused, {&x, &bias, &residual, &gamma, &beta}, std::move(y), std::move(details));
}

}  // namespace costeff
