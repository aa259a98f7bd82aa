#include "costeff/audit/products.h"

#include <algorithm>

#include "tensor/backend.h"

namespace costeff::audit {

double dot(const Tensor& x, const Tensor& y) {
  double result = 0;
  dispatch(x.dtype(), [&](auto element) {
    using T = decltype(element);
    kernels<T>(x.device()).dot(x.numel(), x.data<T>(), y.data<T>(), &result);
  });
  return result;
}

void add_products(const Tensor& values, std::span<const std::size_t> lanes, std::size_t count,
                  std::vector<double>& products) {
  constexpr std::int64_t kPiece = 4096;  // elements summed up in the gradients' own precision
  const auto rows = static_cast<std::int64_t>(lanes.size());
  if (rows == 0) return;
  const std::int64_t n = values.shape()[1];
  dispatch(values.dtype(), [&](auto element) {
    using T = decltype(element);
    const Kernels<T>& k = kernels<T>(values.device());
    const Tensor piece = Tensor::empty({rows, kPiece}, values.dtype());
    const Tensor found = Tensor::empty({rows, rows}, values.dtype());
    for (std::int64_t begin = 0; begin < n; begin += kPiece) {
      const std::int64_t width = std::min(kPiece, n - begin);
      for (std::int64_t r = 0; r < rows; ++r) {
        const auto lane = static_cast<std::int64_t>(lanes[static_cast<std::size_t>(r)]);
        std::copy_n(values.host<T>() + lane * n + begin, width, piece.host<T>() + r * width);
      }
      const Matrix<const T> gradients{piece.data<T>(), rows, width, width};
      k.gemm(gradients, gradients.t(), {found.data<T>()});
      for (std::size_t a = 0; a < lanes.size(); ++a) {
        for (std::size_t b = 0; b < lanes.size(); ++b)
          products[lanes[a] * count + lanes[b]] += static_cast<double>(found.host<T>()[a * lanes.size() + b]);
      }
    }
  });
}

}  // namespace costeff::audit
