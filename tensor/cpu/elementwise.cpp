// How the CPU goes over the elements of tensor/elementwise.h, dropout, and rounding.
#include "tensor/cpu/isa.h"
#include "tensor/cpu/random.h"
#include "tensor/cpu/table.h"

namespace costeff::COSTEFF_ISA {
namespace {

constexpr std::int64_t kStep = 64;  // elements: threads' ranges do not share cache lines

// y[i] = f(x[i]...)
template <class T, class F, class... X>
void map(const char* /*name*/, std::int64_t cost, std::int64_t n, F f, Target<T> target, const X*... x) {
  T* y = target.data;
  const T keep = target.keep;
  with_keep(keep, [&](auto keeps) {
    parallel_ranges(n, cost * n, kStep, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) put<decltype(keeps)::value>(y[i], f(x[i]...), keep);
    });
  });
}

}  // namespace
}  // namespace costeff::COSTEFF_ISA

#include "tensor/elementwise.h"

namespace costeff::COSTEFF_ISA {
namespace {

template <class T>
void dropout(std::int64_t n, Dropout drop, const T* x, T keep, T* y) {
  if (drop.p == 0) {
    map("dropout", 1, n, Scaled<T>{T(1)}, Target<T>{y, keep}, x);
    return;
  }
  with_keep(keep, [&](auto keeps) {
    parallel_ranges(n, 4 * n, kDropoutChunk, [=](std::int64_t begin, std::int64_t end) {
      alignas(64) T buffer[kDropoutBuffer];
      for (std::int64_t i0 = begin; i0 < end; i0 += kDropoutChunk) {
        const std::int64_t count = smaller(kDropoutChunk, end - i0);
        const T* factor = dropout_factors(drop, i0, count, buffer);
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i)
          put<decltype(keeps)::value>(y[i0 + i], x[i0 + i] * factor[i], keep);
      }
    });
  });
}

template <class T>
void round_bf16(std::int64_t n, const T* x, bf16* y) {
  parallel_ranges(n, n, kStep, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) y[i] = to_bf16(static_cast<float>(x[i]));
  });
}

}  // namespace

template <class T>
void fill_elementwise(Kernels<T>& k) {
  fill_maps(k);
  k.dropout = dropout<T>;
  k.round_bf16 = round_bf16<T>;
}
template void fill_elementwise(Kernels<float>& k);
template void fill_elementwise(Kernels<double>& k);

}  // namespace costeff::COSTEFF_ISA
