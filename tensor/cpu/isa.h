// What the CPU kernel files share: vectors of the instruction set's width, and loops split over threads.
//
// Each tensor/cpu/*.cpp is compiled once per instruction set inside a namespace of that name
// (cmake/cpu_kernels.cmake). Everything here is inlined by force or a template inside that namespace, so that
// no copy of a function compiled for one set serves another.
#pragma once

#include <immintrin.h>
#include <omp.h>

#include <cstdint>
#include <type_traits>

#include "tensor/inline.h"

namespace costeff::COSTEFF_ISA {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

// A register of T: Vec computes lane by lane with the usual operators. The `_part` forms touch the first n
// lanes in memory alone (1 <= n <= kLanes) and read the others as 0.
template <class T>
struct Simd {
  typedef T Vec __attribute__((vector_size(kVectorBytes)));
  typedef T Unaligned __attribute__((vector_size(kVectorBytes), aligned(alignof(T)), may_alias));
  static constexpr std::int64_t kLanes = kVectorBytes / static_cast<std::int64_t>(sizeof(T));

  COSTEFF_INLINE static Vec load(const T* p) { return *reinterpret_cast<const Unaligned*>(p); }
  COSTEFF_INLINE static void store(T* p, Vec v) { *reinterpret_cast<Unaligned*>(p) = v; }
  COSTEFF_INLINE static Vec broadcast(T x) { return x - Vec{}; }  // 0 + x would not be -0

  COSTEFF_INLINE static Vec load_part(const T* p, std::int64_t n) {
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<T, float>) {
      return (Vec)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p);
    } else {
      return (Vec)_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1u), p);
    }
#else
    Vec v{};
    for (std::int64_t i = 0; i < n; ++i) v[i] = p[i];
    return v;
#endif
  }
  COSTEFF_INLINE static void store_part(T* p, std::int64_t n, Vec v) {
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<T, float>) {
      _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), (__m512)v);
    } else {
      _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1u), (__m512d)v);
    }
#else
    for (std::int64_t i = 0; i < n; ++i) p[i] = v[i];
#endif
  }
};

// Lanes c .. of an array of n elements, 0 beyond its end; and their way back.
template <class T>
COSTEFF_INLINE typename Simd<T>::Vec load_up_to(const T* p, std::int64_t c, std::int64_t n) {
  return n - c >= Simd<T>::kLanes ? Simd<T>::load(p + c) : Simd<T>::load_part(p + c, n - c);
}

template <class T>
COSTEFF_INLINE void store_up_to(T* p, std::int64_t c, std::int64_t n, typename Simd<T>::Vec v) {
  if (n - c >= Simd<T>::kLanes) {
    Simd<T>::store(p + c, v);
  } else {
    Simd<T>::store_part(p + c, n - c, v);
  }
}

COSTEFF_INLINE std::int64_t smaller(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}
COSTEFF_INLINE std::int64_t round_up(std::int64_t n, std::int64_t step) {
  return (n + step - 1) / step * step;
}

// Below this many elements' worth of work, waking other threads costs more than it saves.
inline constexpr std::int64_t kParallelWork = 1 << 15;

// Calls f(begin, end) on consecutive ranges of [0, n), one a thread, their borders on multiples of `step`; on
// the whole when `work` is small.
template <class F>
COSTEFF_INLINE void parallel_ranges(std::int64_t n, std::int64_t work, std::int64_t step, F&& f) {
  if (work < kParallelWork || n <= step || omp_get_max_threads() == 1) {
    f(std::int64_t{0}, n);
    return;
  }
#pragma omp parallel
  {
    const std::int64_t steps = (n + step - 1) / step;
    const std::int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
    const std::int64_t begin = steps * thread / threads * step;
    const std::int64_t end = smaller(steps * (thread + 1) / threads * step, n);
    if (begin < end) f(begin, end);
  }
}

// out = result + keep * out; the old content is not read where kKeep is false.
template <bool kKeep, class T>
COSTEFF_INLINE void put(T& out, T result, T keep) {
  if constexpr (kKeep) {
    out = result + keep * out;
  } else {
    out = result;
  }
}

// Calls f(constant) with std::true_type where keep is not 0: a loop for each case.
template <class T, class F>
COSTEFF_INLINE void with_keep(T keep, F&& f) {
  if (keep == T(0)) {
    f(std::false_type{});
  } else {
    f(std::true_type{});
  }
}

}  // namespace costeff::COSTEFF_ISA
