// What the files of operations share: picking the kernels, recording, refusing shapes.
#pragma once

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

inline void require(bool fits, const Op& op, std::string_view what,
                    std::initializer_list<const Variable*> inputs) {
  if (fits) return;
  std::string shapes;
  for (const Variable* input : inputs) shapes += (shapes.empty() ? "" : ", ") + describe(input->value());
  fail("op {}: {}; inputs: {}", op.name, what, shapes);
}

inline void require_probability(const Dropout& dropout, const Op& op,
                                std::initializer_list<const Variable*> inputs) {
  require(dropout.p >= 0 && dropout.p < 1, op, "p must be in [0, 1)", inputs);
}

}  // namespace costeff
