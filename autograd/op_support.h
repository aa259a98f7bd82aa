// What the files of operations share: picking the kernels, recording, refusing shapes.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <tuple>
#include <type_traits>

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

// The elements; null where the tensor is undefined.
template <class T>
T* data_if(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

// A tensor's rows and columns as the two arguments of a kernel.
struct RowsOf {
  std::int64_t rows, cols;
};
inline RowsOf rows_of(const Tensor& x) {
  return {x.shape().rows(), x.shape().cols()};
}

// What run() makes of an argument for a kernel of T: a tensor is its elements (null where undefined), a slot
// what is kept of its content and its elements, a double a T; all else is passed on as it is.
struct Elements {
  template <class U>
  explicit(false) operator U*() const {
    return data_if<std::remove_const_t<U>>(tensor);
  }
  const Tensor& tensor;
};
template <class T, class A>
auto kernel_arguments(const A& a) {
  if constexpr (std::is_same_v<A, Tensor>) {
    return std::tuple(Elements{a});
  } else if constexpr (std::is_same_v<A, Slot>) {
    return std::tuple(a.template keep<T>(), a.template data<T>());
  } else if constexpr (std::is_same_v<A, RowsOf>) {
    return std::tuple(a.rows, a.cols);
  } else if constexpr (std::is_same_v<A, double>) {
    return std::tuple(static_cast<T>(a));
  } else {
    return std::tuple(a);
  }
}

// run(x, COSTEFF_KERNEL(add), n, a, b, y) calls the kernel for x's dtype and device.
template <class Kernel, class... A>
void run(const Tensor& x, Kernel kernel, const A&... arguments) {
  compute(x, [&]<class T>(const Kernels<T>& k) {
    std::apply(kernel(k), std::tuple_cat(kernel_arguments<T>(arguments)...));
  });
}
#define COSTEFF_KERNEL(name) [](const auto& all_kernels) { return all_kernels.name; }

// What a product multiplies: x itself or, where that is bf16, its values rounded.
inline Tensor operand(const Tensor& x, DType dtype) {
  if (dtype != DType::bf16) return x;
  Tensor y = Tensor::empty(x.shape(), DType::bf16, x.device());
  run(x, COSTEFF_KERNEL(round_bf16), x.numel(), x, y);
  return y;
}
inline Tensor operand(const Tensor& x, Precision precision) {
  return operand(x, precision == Precision::bf16 ? DType::bf16 : x.dtype());
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

// Throws Error unless the inputs are f32 where the products are of bf16.
inline void require_precision(Precision precision, const Op& op,
                              std::initializer_list<const Variable*> inputs) {
  const bool fits = precision == Precision::full || (*inputs.begin())->dtype() == DType::f32;
  require(fits, op, "products of bf16 are of f32 tensors", inputs);
}

inline void require_probability(const Dropout& dropout, const Op& op,
                                std::initializer_list<const Variable*> inputs) {
  require(dropout.p >= 0 && dropout.p < 1, op, "p must be in [0, 1)", inputs);
}

}  // namespace costeff
