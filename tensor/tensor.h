// A dense array: shape, dtype, device, and a reference to storage that other tensors may share.
//
// A Tensor is a handle: copying it shares the elements, `clone` copies them. Elements are contiguous in
// row-major order, always; a view is a run of leading-dimension slices or another shape of the same elements.
// There is no arithmetic here: kernels (tensor/kernels.h) compute, operations (autograd/) call them.
#pragma once

#include <span>
#include <type_traits>

#include "tensor/allocator.h"
#include "tensor/dtype.h"
#include "tensor/matrix.h"
#include "tensor/shape.h"

namespace costeff {

class Tensor {
 public:
  Tensor() = default;  // undefined: no storage
  Tensor(const Tensor& other) noexcept;
  Tensor(Tensor&& other) noexcept;
  Tensor& operator=(Tensor other) noexcept;
  ~Tensor();

  static Tensor empty(const Shape& shape, DType dtype, Device device = kCpu);  // uninitialised
  static Tensor zeros(const Shape& shape, DType dtype, Device device = kCpu);
  static Tensor full(const Shape& shape, double value, DType dtype, Device device = kCpu);
  // Copies `values` to the CPU; throws Error when their number is not the shape's.
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape);
  static Tensor scalar(double value, DType dtype);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  std::int64_t numel() const { return shape_.numel(); }
  std::size_t bytes() const { return static_cast<std::size_t>(numel()) * size_of(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return storage_ == nullptr ? kCpu : storage_->device; }

  // The elements where they are: what a kernel of the tensor's device is given. Throws Error when T is not
  // the dtype. A const handle gives mutable elements.
  template <class T>
  T* data() const {
    require_dtype(dtype_of<std::remove_cv_t<T>>);
    return static_cast<T*>(raw());
  }
  void* raw() const;
  // The elements for the program itself to read and write: throws Error, also, for a tensor that is not on
  // the CPU; to(kCpu) brings one there.
  template <class T>
  T* host() const {
    require_host();
    return data<T>();
  }
  template <class T>
  std::span<T> span() const {
    return {host<T>(), static_cast<std::size_t>(numel())};
  }

  Tensor slice(std::int64_t begin, std::int64_t end) const;  // rows of the leading dimension, shared
  Tensor reshape(const Shape& shape) const;                  // the same elements, shared
  bool shares_storage(const Tensor& other) const { return storage_ == other.storage_; }

  Tensor clone() const;
  Tensor to(DType dtype) const;  // converted copy (itself when the dtype is already right)
  Tensor to(
      Device device) const;  // copy on another device, in one transfer (itself when it is there already)
  void copy_from(const Tensor& source) const;  // same shape; converts the dtype, from any device
  void fill(double value) const;
  // One element, of a tensor on any device; off the CPU each call waits for the device.
  double item() const;                  // the only element
  double at(std::int64_t index) const;  // of the flattened tensor; slow, for printing and tests

 private:
  void require_dtype(DType wanted) const;
  void require_host() const;

  Storage* storage_ = nullptr;
  std::size_t offset_ = 0;  // bytes from the start of the storage
  Shape shape_;
  DType dtype_ = DType::f32;
};

// The tensor as a matrix for kernels: its last extent the columns, all others rows.
template <class T>
Matrix<const T> matrix(const Tensor& tensor) {
  const std::int64_t cols = tensor.shape().cols();
  return {tensor.data<T>(), tensor.shape().rows(), cols, cols};
}

// "f32 [8, 768]"
std::string describe(const Tensor& tensor);

// Calls f(T{}) with the C++ type of a floating dtype that kernels compute in (f32, f64); throws Error for
// others.
template <class F>
decltype(auto) dispatch(DType dtype, F&& f);

[[noreturn]] void fail_not_computable(DType dtype);

template <class F>
decltype(auto) dispatch(DType dtype, F&& f) {
  if (dtype == DType::f32) return f(float{});
  if (dtype == DType::f64) return f(double{});
  fail_not_computable(dtype);
}

}  // namespace costeff
