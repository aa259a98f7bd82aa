// Kernels that treat every element by itself.
#include "tensor/cpu/isa.h"
#include "tensor/cpu/random.h"
#include "tensor/cpu/table.h"

namespace costeff::COSTEFF_ISA {
namespace {

constexpr std::int64_t kStep = 64;  // elements: threads' ranges do not share cache lines

template <class T>
void scale(std::int64_t n, T alpha, const T* x, T beta, T* y) {
  with_beta(beta, [&](auto keep) {
    parallel_ranges(n, n, kStep, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) put<decltype(keep)::value>(y[i], alpha * x[i], beta);
    });
  });
}

template <class T>
void add(std::int64_t n, const T* a, const T* b, T* y) {
  parallel_ranges(n, n, kStep, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) y[i] = a[i] + b[i];
  });
}

template <class T>
void multiply(std::int64_t n, const T* a, const T* b, T beta, T* y) {
  with_beta(beta, [&](auto keep) {
    parallel_ranges(n, n, kStep, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) put<decltype(keep)::value>(y[i], a[i] * b[i], beta);
    });
  });
}

template <class T>
void tanh(std::int64_t n, const T* x, T* y) {
  parallel_ranges(n, 16 * n, kStep, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
    for (std::int64_t i = begin; i < end; ++i) y[i] = math::tanh(x[i]);
  });
}

template <class T>
void tanh_backward(std::int64_t n, const T* y, const T* dy, T beta, T* dx) {
  with_beta(beta, [&](auto keep) {
    parallel_ranges(n, n, kStep, [=](std::int64_t begin, std::int64_t end) {
#pragma omp simd
      for (std::int64_t i = begin; i < end; ++i) {
        put<decltype(keep)::value>(dx[i], dy[i] * (T(1) - y[i] * y[i]), beta);
      }
    });
  });
}

template <class T>
void dropout(std::int64_t n, Dropout drop, const T* x, T beta, T* y) {
  if (drop.p == 0) {
    scale(n, T(1), x, beta, y);
    return;
  }
  with_beta(beta, [&](auto keep) {
    parallel_ranges(n, 4 * n, kDropoutChunk, [=](std::int64_t begin, std::int64_t end) {
      alignas(64) T buffer[kDropoutBuffer];
      for (std::int64_t i0 = begin; i0 < end; i0 += kDropoutChunk) {
        const std::int64_t count = smaller(kDropoutChunk, end - i0);
        const T* factor = dropout_factors(drop, i0, count, buffer);
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i)
          put<decltype(keep)::value>(y[i0 + i], x[i0 + i] * factor[i], beta);
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
  k.scale = scale<T>;
  k.add = add<T>;
  k.multiply = multiply<T>;
  k.tanh = tanh<T>;
  k.tanh_backward = tanh_backward<T>;
  k.dropout = dropout<T>;
  k.round_bf16 = round_bf16<T>;
}
template void fill_elementwise(Kernels<float>& k);
template void fill_elementwise(Kernels<double>& k);

}  // namespace costeff::COSTEFF_ISA
