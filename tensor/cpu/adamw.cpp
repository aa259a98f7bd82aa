// AdamW on flat parameters and on rows of a table, and the same steps put off and replayed.
//
// The three must agree bit for bit, so no product is contracted with a sum into one rounding in this file:
// where that happens, compilers choose loop by loop. Denormals are flushed to zero: first moments decay into
// them some 900 steps after a row's last gradient.
#pragma GCC optimize("fp-contract=off")
#include <cmath>

#include "tensor/cpu/isa.h"
#include "tensor/cpu/table.h"

namespace costeff::COSTEFF_ISA {
namespace {

// Flushes denormals while it lives, in the thread that made it.
class FlushDenormals {
 public:
  COSTEFF_INLINE FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040u); }  // FTZ | DAZ
  COSTEFF_INLINE ~FlushDenormals() { _mm_setcsr(saved_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  unsigned saved_;
};

template <class T>
struct Scalars {
  T beta1, one_minus_beta1, beta2, one_minus_beta2, decay_before, decay_after, step_size, inv_sqrt_bias2,
      epsilon, gradient_scale;
};

template <class T>
COSTEFF_INLINE Scalars<T> scalars_of(const math::AdamStep& s) {
  return {static_cast<T>(s.beta1),
          static_cast<T>(1 - s.beta1),
          static_cast<T>(s.beta2),
          static_cast<T>(1 - s.beta2),
          static_cast<T>(s.decay_first ? s.decay : 1),
          static_cast<T>(s.decay_first ? 1 : s.decay),
          static_cast<T>(s.step_size),
          static_cast<T>(s.inv_sqrt_bias2),
          static_cast<T>(s.epsilon),
          static_cast<T>(s.gradient_scale)};
}

template <class T>
COSTEFF_INLINE void update(const Scalars<T>& s, T& w, T g, T& m, T& v) {
  math::adamw(w, g, m, v, s.beta1, s.one_minus_beta1, s.beta2, s.one_minus_beta2, s.decay_before,
              s.decay_after, s.step_size, s.inv_sqrt_bias2, s.epsilon);
}

template <class T>
COSTEFF_INLINE void update_range(std::int64_t n, const Scalars<T>& s, T* w, const T* g, T* m, T* v) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) update(s, w[i], g[i] * s.gradient_scale, m[i], v[i]);
}

template <class T>
void adamw(std::int64_t n, math::AdamStep step, T* w, const T* g, T* m, T* v) {
  const Scalars<T> s = scalars_of<T>(step);
  parallel_ranges(n, 2 * n, 64, [=](std::int64_t begin, std::int64_t end) {
    const FlushDenormals flush;
    update_range(end - begin, s, w + begin, g + begin, m + begin, v + begin);
  });
}

template <class T>
void adamw_rows(std::int64_t rows, std::int64_t cols, const std::int32_t* row_index, math::AdamStep step,
                T* w, const T* g, T* m, T* v) {
  const Scalars<T> s = scalars_of<T>(step);
  parallel_ranges(rows, 2 * rows * cols, 1, [=](std::int64_t begin, std::int64_t end) {
    const FlushDenormals flush;
    for (std::int64_t r = begin; r < end; ++r) {
      const std::int64_t at = row_index[r] * cols;
      update_range(cols, s, w + at, g + at, m + at, v + at);
    }
  });
}

constexpr std::int64_t kBlock = 128;  // columns whose w, m and v stay in the first-level cache over all steps
constexpr std::int64_t kRecheck = 32;  // steps between two looks whether the first moment has gone

template <class T>
COSTEFF_INLINE bool all_zero(std::int64_t n, const T* x) {
  std::int64_t others = 0;
#pragma omp simd reduction(+ : others)
  for (std::int64_t i = 0; i < n; ++i) others += x[i] == T(0) ? 0 : 1;
  return others == 0;
}

// Steps [begin, end) with zero gradient on a block of n columns.
template <class T>
COSTEFF_INLINE void replay(std::int64_t n, const math::AdamStep* steps, std::int64_t begin, std::int64_t end,
                           T* w, T* m, T* v) {
  for (std::int64_t t = begin; t < end;) {
    const std::int64_t until = smaller(end, t + kRecheck);
    if (!all_zero(n, m)) {
      for (; t < until; ++t) {
        const Scalars<T> s = scalars_of<T>(steps[t]);
#pragma omp simd
        for (std::int64_t i = 0; i < n; ++i) update(s, w[i], T(0) * s.gradient_scale, m[i], v[i]);
      }
      continue;
    }
    // With m = 0 the step subtracts 0 / (sqrt(v) .. + epsilon) = 0: what is left is decay, of w and of v.
    for (std::int64_t i = 0; i < n; ++i) m[i] = 0;  // it may hold -0 or denormals
    const bool no_v = all_zero(n, v);
    for (std::int64_t i = 0; no_v && i < n; ++i) v[i] = 0;
    for (; t < end; ++t) {
      const Scalars<T> s = scalars_of<T>(steps[t]);
      if (s.epsilon == T(0)) {  // 0 / 0 for the rule as it stands
#pragma omp simd
        for (std::int64_t i = 0; i < n; ++i) update(s, w[i], T(0), m[i], v[i]);
        continue;
      }
      if (!no_v) {
#pragma omp simd
        for (std::int64_t i = 0; i < n; ++i) v[i] = s.beta2 * v[i];
      }
      const T decay = s.decay_before * s.decay_after;  // one of them is 1
#pragma omp simd
      for (std::int64_t i = 0; i < n; ++i) w[i] = w[i] * decay;
    }
  }
}

template <class T>
void adamw_catch_up(std::int64_t rows, std::int64_t cols, const std::int32_t* row_index,
                    const math::AdamStep* steps, std::int64_t count, std::int32_t* behind, T* w, T* m, T* v) {
  if (rows == 0 || count == 0) return;
  const auto row = [=](std::int64_t r) {
    const std::int64_t index = row_index[r];
    for (std::int64_t c = 0; c < cols; c += kBlock) {
      const std::int64_t at = index * cols + c;
      replay(smaller(kBlock, cols - c), steps, behind[index], count, w + at, m + at, v + at);
    }
    behind[index] = static_cast<std::int32_t>(count);
  };
  if (rows * cols < kParallelWork / 8 || omp_get_max_threads() == 1) {
    const FlushDenormals flush;
    for (std::int64_t r = 0; r < rows; ++r) row(r);
    return;
  }
#pragma omp parallel
  {
    const FlushDenormals flush;
#pragma omp for schedule(dynamic, 16)  // rows wait for different numbers of steps
    for (std::int64_t r = 0; r < rows; ++r) row(r);
  }
}

}  // namespace

template <class T>
void fill_adamw(Kernels<T>& k) {
  k.adamw = adamw<T>;
  k.adamw_catch_up = adamw_catch_up<T>;
  k.adamw_rows = adamw_rows<T>;
}
template void fill_adamw(Kernels<float>& k);
template void fill_adamw(Kernels<double>& k);

}  // namespace costeff::COSTEFF_ISA
