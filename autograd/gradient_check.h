// Is a backward the derivative of its forward? Compared with finite differences, entry by entry.
//
// A function y = f(x_0, x_1, ...) is contracted with a cotangent c into the scalar F = sum c y. The tape's
// backward from y with c gives dF/dx; so do central differences of F, in which only the forward takes part:
//
//   D(h) = (F(x + h e) - F(x - h e)) / 2h,  taken at h, h/2 and h/4 and extrapolated twice (Richardson): what
//   is left of the truncation error is of order h^6, about 1e-12 of a smooth function's gradient.
//
// The cotangent is fixed, pseudo-random and without symmetry: ones would hide every error that sums to zero.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "autograd/tape.h"

namespace costeff {

// Gets leaves of a tape, or constants of the same values; must compute the same from both, each time.
using Differentiable = std::function<Variable(std::span<const Variable> inputs)>;

struct GradientCheckOptions {
  double step = 1e-2;            // h, times max(1, |x|)
  std::int64_t max_entries = 0;  // of each input: more are sampled, evenly spread; 0: all
  // An error is measured against the largest gradient entry of its input, or against this where that is
  // smaller.
  double floor = 1e-3;
};

struct GradientCheck {
  double worst = 0;           // the largest relative error; infinite where either gradient is not finite
  std::size_t input = 0;      // where: which input,
  std::int64_t entry = 0;     // which element of it, flattened,
  double analytic = 0;        // what the backward says of it,
  double numeric = 0;         // what the differences say
  double scale = 0;           // what the error was measured against
  std::int64_t compared = 0;  // entries, of all inputs together

  // False for NaN, and when nothing was compared.
  bool passes(double tolerance) const { return compared > 0 && worst <= tolerance; }
  std::string describe() const;
};

// Inputs are f64. Throws Error when one is not, or when the output is not.
GradientCheck check_gradient(const Differentiable& function, std::span<const Tensor> inputs,
                             const GradientCheckOptions& options = {});

struct Derivative {
  double value = 0;
  double error = 0;  // absolute, as the extrapolation itself estimates it; infinite where it came to nothing
};

// f'(x) of a smooth function of one number: D(h) at h = step, step/2, ..., each extrapolated with all before
// it, and of these the one that changed least (Ridders 1982, the method of Numerical Recipes' dfridr). Finds
// the step at which truncation and rounding balance; 8 to 20 evaluations of f.
Derivative differentiate(const std::function<double(double)>& function, double x, double step);

}  // namespace costeff
