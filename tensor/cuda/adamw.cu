// AdamW on flat parameters and on rows of a table, and the same steps put off and replayed. The three agree
// bit for bit: this file is compiled without contraction and flushes denormals (cmake/cuda_kernels.cmake).
#include "tensor/cuda/device.h"

namespace costeff::COSTEFF_GPU {
namespace {

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
__device__ void update(const Scalars<T>& s, T& w, T g, T& m, T& v) {
  math::adamw(w, g * s.gradient_scale, m, v, s.beta1, s.one_minus_beta1, s.beta2, s.one_minus_beta2,
              s.decay_before, s.decay_after, s.step_size, s.inv_sqrt_bias2, s.epsilon);
}

template <class T>
__device__ void update_group(std::int64_t i, std::int64_t n, bool whole, const Scalars<T>& s, T* w,
                             const T* g, T* m, T* v) {
  Group<T> wi = load(static_cast<const T*>(w), i, n, whole), mi = load(static_cast<const T*>(m), i, n, whole),
           vi = load(static_cast<const T*>(v), i, n, whole);
  const Group<T> gi = load(g, i, n, whole);
  for (int l = 0; l < kGroup; ++l) update(s, wi.x[l], gi.x[l], mi.x[l], vi.x[l]);
  store(w, i, n, whole, wi);
  store(m, i, n, whole, mi);
  store(v, i, n, whole, vi);
}

template <class T>
__global__ void adamw_kernel(std::int64_t n, bool whole, Scalars<T> s, T* w, const T* g, T* m, T* v) {
  for_each_group(n, [=](std::int64_t i) { update_group(i, n, whole, s, w, g, m, v); });
}
template <class T>
void adamw(std::int64_t n, math::AdamStep step, T* w, const T* g, T* m, T* v) {
  launch("adamw", elementwise_launch(n), adamw_kernel<T>, n, aligned(w, g, m, v), scalars_of<T>(step), w, g,
         m, v);
}

template <class T>
__global__ void adamw_rows_kernel(std::int64_t rows, std::int64_t cols, bool whole,
                                  const std::int32_t* row_index, Scalars<T> s, T* w, const T* g, T* m, T* v) {
  for_each_row(rows, [=](std::int64_t r) {
    const std::int64_t at = row_index[r] * cols;
    for_each_group_of_row(
        cols, [=](std::int64_t c) { update_group(c, cols, whole, s, w + at, g + at, m + at, v + at); });
  });
}
template <class T>
void adamw_rows(std::int64_t rows, std::int64_t cols, const std::int32_t* row_index, math::AdamStep step,
                T* w, const T* g, T* m, T* v) {
  launch("adamw_rows", rows_launch(rows, divided_up(cols, kGroup)), adamw_rows_kernel<T>, rows, cols,
         cols % kGroup == 0 && aligned(w, g, m, v), row_index, scalars_of<T>(step), w, g, m, v);
}

template <class T>
__global__ void adamw_catch_up_kernel(std::int64_t rows, std::int64_t cols, const std::int32_t* row_index,
                                      const math::AdamStep* steps, std::int64_t count, std::int32_t* behind,
                                      T* w, T* m, T* v) {
  for_each_row(rows, [=](std::int64_t r) {
    const std::int64_t row = row_index[r], first = behind[row];
    for_each_column(cols, [=](std::int64_t c) {
      const std::int64_t i = row * cols + c;
      T wi = w[i], mi = m[i], vi = v[i];
      for (std::int64_t t = first; t < count; ++t) update(scalars_of<T>(steps[t]), wi, T(0), mi, vi);
      w[i] = wi;
      m[i] = mi;
      v[i] = vi;
    });
    __syncthreads();  // every thread has read `first`
    if (threadIdx.x == 0) behind[row] = static_cast<std::int32_t>(count);
  });
}
template <class T>
void adamw_catch_up(std::int64_t rows, std::int64_t cols, const std::int32_t* row_index,
                    const math::AdamStep* steps, std::int64_t count, std::int32_t* behind, T* w, T* m, T* v) {
  if (count == 0) return;
  launch("adamw_catch_up", rows_launch(rows, cols), adamw_catch_up_kernel<T>, rows, cols, row_index, steps,
         count, behind, w, m, v);
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

}  // namespace costeff::COSTEFF_GPU
