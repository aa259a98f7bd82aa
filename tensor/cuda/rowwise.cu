// How a GPU goes over the rows of tensor/rowwise.h, a block a row. A thread reads and writes the same
// elements in every pass.
#include "tensor/cuda/device.h"

#define COSTEFF_ROW __device__

namespace costeff::COSTEFF_GPU {

struct Row {
  std::int64_t cols;

  template <class F>
  __device__ auto sum(F f) const {
    decltype(f(0)) sum = 0;
    for_each_column(cols, [&](std::int64_t c) { sum += f(c); });
    return reduce_block(sum, Add{});
  }
  template <class F>
  __device__ auto largest(F f) const {
    using T = decltype(f(0));
    T top = -std::numeric_limits<T>::infinity();
    for_each_column(cols, [&](std::int64_t c) { top = f(c) > top ? f(c) : top; });
    return reduce_block(top, Larger{});
  }
  template <class F>
  __device__ void each(F f) const {
    for_each_column(cols, f);
  }
  template <class T, class F>
  __device__ void put(const Target<T>& to, std::int64_t at, F f) const {
    for_each_column(cols, [=](std::int64_t c) { COSTEFF_GPU::put(to.data[at + c], f(c), to.keep); });
  }
};

template <class F>
__global__ void rows_kernel(std::int64_t rows, std::int64_t cols, F f) {
  for_each_row(rows, [=](std::int64_t r) { f(Row{cols}, r * cols); });
}
template <class F>
void for_rows(const char* name, std::int64_t rows, std::int64_t cols, std::int64_t /*cost*/, F f) {
  launch(name, rows_launch(rows, cols), rows_kernel<F>, rows, cols, f);
}

}  // namespace costeff::COSTEFF_GPU

#include "tensor/rowwise.h"
