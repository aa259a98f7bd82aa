// Layer normalisation, alone and fused with what precedes it in a transformer.
#include "autograd/op_support.h"

namespace costeff {
namespace {

// Both with s what is normalised, xhat = (s - mean s) / sqrt(var s + eps), rstd = 1 / sqrt(var s + eps) and
// g = dy gamma, means over a row:
//   ds = rstd (g - mean g - xhat mean(g xhat)),  dgamma = sum over rows of dy xhat,  dbeta = sum over rows of
//   dy

// dgamma and dbeta, of inputs `gamma` and `gamma` + 1.
void parameters_backward(const Record& r, Backward& b, std::size_t gamma_input) {
  const auto [xhat] = r.saved<1>();
  const Tensor& dy = b.dy();
  Slot dgamma = b.slot(gamma_input);
  Slot dbeta = b.slot(gamma_input + 1);
  if (!dgamma && !dbeta) return;
  for (Slot* slot : {&dgamma, &dbeta}) {
    if (!*slot) *slot = {empty_like(dy, {dy.shape().cols()})};  // the kernel makes both
  }
  compute(dy, [&, &norm = xhat]<class T>(const Kernels<T>& k) {
    k.layer_norm_parameters_backward({.rows = dy.shape().rows(),
                                      .cols = dy.shape().cols(),
                                      .xhat = norm.template data<T>(),
                                      .dy = dy.data<T>(),
                                      .dgamma = dgamma,
                                      .dbeta = dbeta});
  });
}

void input_backward(const Record& r, const Tensor& dy, const Slot& dresidual, const Slot& dx) {
  const auto [xhat, rstd, gamma] = r.saved<3>();  // [rows, cols], [rows], [cols]
  compute(dy, [&, &norm = xhat, &inverse = rstd, &weight = gamma]<class T>(const Kernels<T>& k) {
    k.layer_norm_backward({.rows = dy.shape().rows(),
                           .cols = dy.shape().cols(),
                           .xhat = norm.template data<T>(),
                           .rstd = inverse.template data<T>(),
                           .gamma = weight.template data<T>(),
                           .dy = dy.data<T>(),
                           .dropout = r.details.dropout,
                           .dresidual = dresidual,
                           .dx = dx});
  });
}

void require_rows_of(const Op& op, const Variable& x, const Variable& gamma, const Variable& beta) {
  const Shape row{x.shape().cols()};
  require(x.shape().rank() >= 1 && gamma.shape() == row && beta.shape() == row, op,
          "gamma and beta must have the row's length", {&x, &gamma, &beta});
}

// What is normalised: x alone, or dropout(x + bias) + residual.
struct NormInput {
  const Variable& x;
  const Variable* bias = nullptr;
  Dropout dropout = {};
  const Variable* residual = nullptr;
};

// The output, and in `details` what the backward reads where a gradient is wanted: xhat, rstd and gamma.
Tensor normalise(const NormInput& s, const Variable& gamma, const Variable& beta, double epsilon, bool wanted,
                 Details& details) {
  const std::int64_t rows = s.x.shape().rows(), cols = s.x.shape().cols();
  Tensor y = empty_like(s.x.value()), xhat, rstd;
  if (wanted) {
    xhat = empty_like(y);
    rstd = empty_like(y, {rows});
    details.saved = {{"xhat", xhat}, {"rstd", rstd}, {"gamma", gamma.value()}};
  }
  details.dropout = s.dropout;
  compute(y, [&]<class T>(const Kernels<T>& k) {
    k.layer_norm({.rows = rows,
                  .cols = cols,
                  .x = s.x.value().data<T>(),
                  .bias = s.bias == nullptr ? nullptr : s.bias->value().data<T>(),
                  .dropout = s.dropout,
                  .residual = s.residual == nullptr ? nullptr : s.residual->value().data<T>(),
                  .gamma = gamma.value().data<T>(),
                  .beta = beta.value().data<T>(),
                  .eps = static_cast<T>(epsilon),
                  .y = y.data<T>(),
                  .xhat = data_if<T>(xhat),
                  .rstd = data_if<T>(rstd)});
  });
  return y;
}

// s = x:  dx = ds
void layer_norm_backward(const Record& r, Backward& b) {
  parameters_backward(r, b, 1);
  if (const Slot dx = b.slot(0)) input_backward(r, b.dy(), {}, dx);
}

// s = dropout(x + bias) + residual:  dresidual = ds, dx = mask ds / (1 - p), dbias = sum over rows of dx
void fused_backward(const Record& r, Backward& b) {
  parameters_backward(r, b, 3);
  const Tensor& dy = b.dy();
  const Slot dresidual = b.slot(2);
  const Slot dbias = b.slot(1);
  const Slot dx = b.slot(0);
  if (!dx && !dresidual && !dbias) return;
  // The bias wants the sum of this record's dx alone: apart from what dx already holds.
  const bool apart = dbias && (!dx || dx.accumulate);
  const Slot own = apart ? Slot{empty_like(dy)} : dx;
  input_backward(r, dy, dresidual, own);
  if (dbias) run(dy, COSTEFF_KERNEL(sum_rows), rows_of(dy), own.tensor, dbias);
  if (apart && dx) run(dy, COSTEFF_KERNEL(scale), dy.numel(), 1.0, own.tensor, dx);
}

}  // namespace

const Op kLayerNorm("layer_norm", "y = gamma (x - mean x) / sqrt(var x + eps) + beta", layer_norm_backward);

Variable layer_norm(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon) {
  require_rows_of(kLayerNorm, x, gamma, beta);
  Details details{.attributes = {{"epsilon", epsilon}}};
  Tensor y = normalise({x}, gamma, beta, epsilon, wants_gradient({&x, &gamma, &beta}), details);
  return record(kLayerNorm, {&x, &gamma, &beta}, std::move(y), std::move(details));
}

const Op kFusedLayerNorm("bias_dropout_residual_layer_norm", "y = layer_norm(dropout(x + bias) + residual)",
                         fused_backward);

Variable bias_dropout_residual_layer_norm(const Variable& x, const Variable& bias, const Dropout& dropout,
                                          const Variable& residual, const Variable& gamma,
                                          const Variable& beta, double epsilon) {
  require_rows_of(kFusedLayerNorm, x, gamma, beta);
  require(bias.shape() == Shape{x.shape().cols()} && residual.shape() == x.shape(), kFusedLayerNorm,
          "the bias must have the row's length, the residual x's shape", {&x, &bias, &residual});
  require_probability(dropout, kFusedLayerNorm, {&x});
  Details details{.attributes = {{"p", dropout.p}, {"epsilon", epsilon}}};
  const bool wanted = wants_gradient({&x, &bias, &residual, &gamma, &beta});
  Tensor y = normalise({x, &bias, dropout, &residual}, gamma, beta, epsilon, wanted, details);
  return record(kFusedLayerNorm, {&x, &bias, &residual, &gamma, &beta}, std::move(y), std::move(details));
}

}  // namespace costeff
