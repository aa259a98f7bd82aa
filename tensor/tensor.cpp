#include "tensor/tensor.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "tensor/backend.h"
#include "tensor/error.h"

namespace costeff {
namespace {

template <class F>
void with_elements(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::f64:
      return f(double{});
    case DType::bf16:
      return f(bf16{});
    case DType::i32:
      return f(std::int32_t{});
  }
}

template <class To, class From>
To convert(From x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else if constexpr (std::is_same_v<From, bf16>) {
    return static_cast<To>(to_f32(x));
  } else if constexpr (std::is_same_v<To, bf16>) {
    return to_bf16(static_cast<float>(x));
  } else {
    return static_cast<To>(x);
  }
}

void retain(Storage* storage) {
  if (storage != nullptr) storage->references.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

Tensor::Tensor(const Tensor& other) noexcept
    : storage_(other.storage_), offset_(other.offset_), shape_(other.shape_), dtype_(other.dtype_) {
  retain(storage_);
}

Tensor::Tensor(Tensor&& other) noexcept
    : storage_(std::exchange(other.storage_, nullptr)),
      offset_(other.offset_),
      shape_(other.shape_),
      dtype_(other.dtype_) {}

Tensor& Tensor::operator=(Tensor other) noexcept {
  std::swap(storage_, other.storage_);
  offset_ = other.offset_;
  shape_ = other.shape_;
  dtype_ = other.dtype_;
  return *this;
}

Tensor::~Tensor() {
  if (storage_ != nullptr && storage_->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
    release_storage(storage_);
}

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  Tensor t;
  t.shape_ = shape;
  t.dtype_ = dtype;
  t.storage_ = allocate_storage(device, t.bytes());
  retain(t.storage_);
  return t;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  t.fill(0);
  return t;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  t.fill(value);
  return t;
}

template <class T>
Tensor Tensor::from(std::span<const T> values, const Shape& shape) {
  if (static_cast<std::int64_t>(values.size()) != shape.numel()) {
    fail("{} values do not fill a tensor of shape {}", values.size(), to_string(shape));
  }
  Tensor t = empty(shape, dtype_of<T>);
  std::copy(values.begin(), values.end(), t.data<T>());
  return t;
}

template Tensor Tensor::from<float>(std::span<const float>, const Shape&);
template Tensor Tensor::from<double>(std::span<const double>, const Shape&);
template Tensor Tensor::from<std::int32_t>(std::span<const std::int32_t>, const Shape&);

Tensor Tensor::scalar(double value, DType dtype) {
  return full({}, value, dtype);
}

void* Tensor::raw() const {
  if (storage_ == nullptr) fail("an undefined tensor has no elements");
  return static_cast<std::byte*>(storage_->data) + offset_;
}

void Tensor::require_host() const {
  if (device() != kCpu)
    fail("tensor {} is on {}, where the host cannot read it; to(kCpu) copies it", describe(*this),
         to_string(device()));
}

void Tensor::require_dtype(DType wanted) const {
  if (dtype_ != wanted) fail("tensor {} read as {}", describe(*this), name_of(wanted));
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t end) const {
  if (shape_.rank() == 0 || begin < 0 || begin > end || end > shape_[0]) {
    fail("slice {}:{} of a tensor of shape {}", begin, end, to_string(shape_));
  }
  Tensor t = *this;
  const std::int64_t row = shape_[0] == 0 ? 0 : numel() / shape_[0];
  t.offset_ += static_cast<std::size_t>(begin * row) * size_of(dtype_);
  t.shape_ = shape_.with_front(end - begin);
  return t;
}

Tensor Tensor::reshape(const Shape& shape) const {
  if (shape.numel() != numel())
    fail("cannot give a tensor of shape {} the shape {}", to_string(shape_), to_string(shape));
  Tensor t = *this;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::clone() const {
  Tensor t = empty(shape_, dtype_, device());
  device_memory(device()).copy_within(t.raw(), raw(), bytes());
  return t;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor t = empty(shape_, dtype, device());
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(Device device) const {
  if (device == this->device()) return *this;
  Tensor t = empty(shape_, dtype_, device);
  t.copy_from(*this);
  return t;
}

void Tensor::copy_from(const Tensor& source) const {
  if (!(source.shape_ == shape_)) fail("cannot copy {} into {}", describe(source), describe(*this));
  const Device here = device(), there = source.device();
  if (source.dtype_ == dtype_) {
    if (here == there) return device_memory(here).copy_within(raw(), source.raw(), bytes());
    if (there == kCpu) return device_memory(here).copy_in(raw(), source.raw(), bytes());
    if (here == kCpu) return device_memory(there).copy_out(raw(), source.raw(), bytes());
  }
  if (here != kCpu || there != kCpu) return copy_from(source.to(kCpu).to(dtype_));  // the host converts
  with_elements(dtype_, [&](auto to) {
    with_elements(source.dtype_, [&](auto from) {
      using To = decltype(to);
      using From = decltype(from);
      std::transform(source.host<From>(), source.host<From>() + numel(), host<To>(), convert<To, From>);
    });
  });
}

void Tensor::fill(double value) const {
  if (value == 0) return device_memory(device()).zero(raw(), bytes());
  with_elements(dtype_, [&](auto to) {
    using To = decltype(to);
    const To element = convert<To>(value);
    if (device() == kCpu) {
      std::fill_n(host<To>(), numel(), element);
    } else if constexpr (std::is_same_v<To, float> || std::is_same_v<To, double>) {
      const Tensor one = empty({1}, dtype_, device());
      device_memory(device()).copy_in(one.raw(), &element, sizeof element);
      kernels<To>(device()).fill_rows(numel(), 1, one.data<To>(), data<To>());
    } else {
      copy_from(full(shape_, value, dtype_));
    }
  });
}

double Tensor::item() const {
  if (numel() != 1) fail("item() of a tensor of shape {}", to_string(shape_));
  return at(0);
}

double Tensor::at(std::int64_t index) const {
  if (index < 0 || index >= numel()) fail("element {} of a tensor of shape {}", index, to_string(shape_));
  double value = 0;
  with_elements(dtype_, [&](auto element) {
    const auto* own = data<decltype(element)>() + index;
    if (device() == kCpu) {
      element = *own;
    } else {
      device_memory(device()).copy_out(&element, own, sizeof element);
    }
    value = convert<double>(element);
  });
  return value;
}

std::string describe(const Tensor& tensor) {
  return tensor.defined() ? fmt::format("{} {}", name_of(tensor.dtype()), to_string(tensor.shape()))
                          : "undefined";
}

void fail_not_computable(DType dtype) {
  fail("no kernel computes in {}; use f32 or f64", name_of(dtype));
}

}  // namespace costeff
