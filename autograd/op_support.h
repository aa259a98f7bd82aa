// What the files of operations share: picking the kernels, recording, refusing shapes.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "autograd/ops.h"
#include "tensor/backend.h"
#include "tensor/error.h"

namespace costeff {

// Calls f(kernels) with the kernels of the tensor's dtype and device: compute(x, [&]<class T>(const
// Kernels<T>& k) { ... }).
template <class F>
decltype(auto) compute(const Tensor& tensor, F&& f) {
  return dispatch(tensor.dtype(), [&](auto element) -> decltype(auto) {
    return f(kernels<decltype(element)>(tensor.device()));
  });
}

inline Tensor empty_like(const Tensor& x) {
  return Tensor::empty(x.shape(), x.dtype(), x.device());
}
inline Tensor empty_like(const Tensor& x, const Shape& shape) {
  return Tensor::empty(shape, x.dtype(), x.device());
}

// Records on the tape of the first input that has one; without any, the output is a constant.
inline Variable record(const Op& op, std::initializer_list<const Variable*> inputs, Tensor output,
                       Details details) {
  for (const Variable* input : inputs) {
    if (input->tape() != nullptr) {
      return input->tape()->record(op, {inputs.begin(), inputs.size()}, std::move(output),
                                   std::move(details));
    }
  }
  return Variable(std::move(output));
}

inline bool wants_gradient(const Variable& x) {
  return x.tape() != nullptr && x.tape()->node(x.node()).requires_gradient;
}

inline bool wants_gradient(std::initializer_list<const Variable*> inputs) {
  for (const Variable* input : inputs) {
    if (wants_gradient(*input)) return true;
  }
  return false;
}

// Throws Error unless both are on one device.
inline void require_one_device(const Op& op, const Tensor& x, const Tensor& y) {
  if (x.device() == y.device()) return;
  fail("op {}: {} is on {} and {} on {}; Tensor::to brings them together", op.name, describe(x),
       to_string(x.device()), describe(y), to_string(y.device()));
}

// Throws Error unless the inputs fit, are of one dtype and all on one device.
inline void require(bool fits, const Op& op, std::string_view what,
                    std::initializer_list<const Variable*> inputs) {
  const Tensor& first = (*inputs.begin())->value();
  const bool one_dtype = std::all_of(inputs.begin(), inputs.end(),
                                     [&](const Variable* x) { return x->dtype() == first.dtype(); });
  if (!fits || !one_dtype) {
    std::string shapes;
    for (const Variable* input : inputs) shapes += (shapes.empty() ? "" : ", ") + describe(input->value());
    fail("op {}: {}; inputs: {}", op.name, fits ? "unequal dtypes" : what, shapes);
  }
  for (const Variable* input : inputs) require_one_device(op, first, input->value());
}

inline void require_probability(const Dropout& dropout, const Op& op,
                                std::initializer_list<const Variable*> inputs) {
  require(dropout.p >= 0 && dropout.p < 1, op, "p must be in [0, 1)", inputs);
}

}  // namespace costeff
