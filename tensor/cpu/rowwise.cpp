// How the CPU goes over the rows of tensor/rowwise.h.
#include <cmath>
#include <limits>

#include "tensor/cpu/isa.h"
#include "tensor/cpu/table.h"

#define COSTEFF_ROW COSTEFF_INLINE

namespace costeff::COSTEFF_ISA {

struct Row {
  std::int64_t cols;

  template <class F>
  COSTEFF_INLINE auto sum(F f) const {
    decltype(f(0)) sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < cols; ++c) sum += f(c);
    return sum;
  }
  template <class F>
  COSTEFF_INLINE auto largest(F f) const {
    using T = decltype(f(0));
    T top = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : top)
    for (std::int64_t c = 0; c < cols; ++c) top = f(c) > top ? f(c) : top;
    return top;
  }
  template <class F>
  COSTEFF_INLINE void each(F f) const {
#pragma omp simd
    for (std::int64_t c = 0; c < cols; ++c) f(c);
  }
  template <class T, class F>
  COSTEFF_INLINE void put(const Target<T>& to, std::int64_t at, F f) const {
    T* out = to.data + at;
    const T keep = to.keep;
    with_keep(keep, [=, *this](auto keeps) {
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) COSTEFF_ISA::put<decltype(keeps)::value>(out[c], f(c), keep);
    });
  }
};

template <class F>
void for_rows(const char* /*name*/, std::int64_t rows, std::int64_t cols, std::int64_t cost, F f) {
  parallel_ranges(rows, cost * rows * cols, 1, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) f(Row{cols}, r * cols);
  });
}

}  // namespace costeff::COSTEFF_ISA

#include "tensor/rowwise.h"
