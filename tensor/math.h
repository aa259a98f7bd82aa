// Scalar mathematics shared by every backend: the exponential, GELU and its derivative, the AdamW update.
//
// The f64 versions call the C library. The f32 versions are branch-free polynomials that a compiler can
// vectorise; their coefficients are minimax fits (Lawson's iteration on Chebyshev nodes), with the largest
// error beside each.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "tensor/inline.h"

namespace costeff::math {

COSTEFF_INLINE double exp(double x) {
  return std::exp(x);
}

// e^x = 2^n e^r with |r| <= ln(2)/2; relative error below 2e-7. Below -87.3 the result is 0 (no denormals),
// above 88.7 infinity.
COSTEFF_INLINE float exp(float x) {
  const float clamped = x >= -87.3f ? (x > 88.7f ? 88.7f : x) : -87.3f;  // NaN too: it has no integer
  const float shifted =
      clamped * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: rounds to an integer in the low bits
  const float n = shifted - 12582912.0f;
  float r = clamped - n * 0.693145752f;  // ln 2 in two parts
  r = r - n * 1.42860677e-6f;
  float p = 1.395047910e-3f;  // (e^r - 1 - r) / r^2 to 3.2e-9 of r^2
  p = p * r + 8.368883751e-3f;
  p = p * r + 4.166620598e-2f;
  p = p * r + 1.666651889e-1f;
  p = p * r + 5.000000095e-1f;
  const float e = p * r * r + r + 1.0f;
  // 2^n by exponent arithmetic, in two factors because n = 128 has no f32 of its own.
  const std::int32_t i = static_cast<std::int32_t>(n);
  const std::int32_t half = i >> 1;
  const float scale1 = std::bit_cast<float>((half + 127) << 23);
  const float scale2 = std::bit_cast<float>((i - half + 127) << 23);
  const float y = e * scale1 * scale2;
  const float low = x < -87.3f ? 0.0f : y;
  const float high = x > 88.7f ? std::bit_cast<float>(0x7f800000) : low;
  return x == x ? high : x;
}

COSTEFF_INLINE double erf(double x) {
  return std::erf(x);
}

// Absolute error below 1.5e-7. |x| <= 1: x times a polynomial in x^2 (1.2e-9); else 1 - e^(-t q(t)), t = |x|
// (1.7e-10); 1 from 4 on.
COSTEFF_INLINE float erf(float x) {
  const float t = std::fabs(x) < 4.0f ? std::fabs(x) : 4.0f;
  const float s = x * x;
  float a = 7.889119561e-5f;
  a = a * s - 8.020841288e-4f;
  a = a * s + 5.189535340e-3f;
  a = a * s - 2.685444459e-2f;
  a = a * s + 1.128360018e-1f;
  a = a * s - 3.761262714e-1f;
  a = a * s + 1.128379166f;
  float q = 4.314357022e-6f;
  q = q * t - 3.793162178e-5f;
  q = q * t - 8.883974627e-5f;
  q = q * t + 3.039451200e-3f;
  q = q * t - 2.285253164e-2f;
  q = q * t + 1.054334779e-1f;
  q = q * t + 6.355364357e-1f;
  q = q * t + 1.128571133f;
  const float tail = 1.0f - exp(-t * q);
  const float outer = x < 0.0f ? -tail : tail;
  return t <= 1.0f ? a * x : (x == x ? outer : x);
}

COSTEFF_INLINE double tanh(double x) {
  return std::tanh(x);
}

// Error below 2.5 units in the last place. |x| <= 0.625: x + x^3 times a polynomial in x^2 (4.4e-9 of tanh);
// else 1 - 2 / (e^2|x| + 1).
COSTEFF_INLINE float tanh(float x) {
  const float t = std::fabs(x);
  const float s = x * x;
  float a = -5.704960152e-3f;
  a = a * s + 2.063906080e-2f;
  a = a * s - 5.373970599e-2f;
  a = a * s + 1.333144207e-1f;
  a = a * s - 3.333328194e-1f;
  const float tail = 1.0f - 2.0f / (exp(2.0f * t) + 1.0f);
  const float outer = x < 0.0f ? -tail : tail;
  return t <= 0.625f ? x + x * s * a : outer;
}

inline constexpr double kInvSqrt2 = 0.70710678118654752440;
inline constexpr double kInvSqrt2Pi = 0.39894228040143267794;

// gelu(x) = x Phi(x), Phi the standard normal distribution function (Hendrycks and Gimpel 2016, the exact
// form).
template <class T>
COSTEFF_INLINE T gelu(T x) {
  return x * (T(0.5) * (T(1) + erf(x * T(kInvSqrt2))));
}

// gelu'(x) = Phi(x) + x phi(x), phi(x) = e^(-x^2/2) / sqrt(2 pi).
template <class T>
COSTEFF_INLINE T gelu_derivative(T x) {
  const T cdf = T(0.5) * (T(1) + erf(x * T(kInvSqrt2)));
  const T density = T(kInvSqrt2Pi) * exp(T(-0.5) * x * x);
  return cdf + (density == T(0) ? T(0) : x * density);  // not inf * 0
}

// One step of AdamW, the scalars that depend on the step worked out beforehand in f64.
struct AdamStep {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double decay = 1;      // 1 - lr * weight_decay, on weights that decay
  double step_size = 0;  // torch: lr / (1 - beta1^t); transformers: lr * sqrt(1 - beta2^t) / (1 - beta1^t)
  double inv_sqrt_bias2 = 1;  // torch: 1 / sqrt(1 - beta2^t); transformers: 1
  double gradient_scale = 1;  // of clipping, and of averaging accumulated micro-batches
  bool decay_first = true;    // torch: decay, then step; transformers: step, then decay
};

// m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, w <- w - step_size m / (sqrt(v) inv_sqrt_bias2 + eps),
// decay before or after. Loshchilov and Hutter 2019; the two variants are torch.optim.AdamW and
// transformers.AdamW (before 4.50).
template <class T>
COSTEFF_INLINE void adamw(T& w, T g, T& m, T& v, T beta1, T one_minus_beta1, T beta2, T one_minus_beta2,
                          T decay_before, T decay_after, T step_size, T inv_sqrt_bias2, T epsilon) {
  m = beta1 * m + one_minus_beta1 * g;
  v = beta2 * v + one_minus_beta2 * g * g;
  w = w * decay_before;
  w = w - step_size * m / (std::sqrt(v) * inv_sqrt_bias2 + epsilon);
  w = w * decay_after;
}

}  // namespace costeff::math
