// Rows picked by index, and means over the rows of a sequence.
#include "tensor/cpu/isa.h"
#include "tensor/cpu/table.h"

namespace costeff::COSTEFF_ISA {
namespace {

template <class T>
void gather_rows(std::int64_t n, std::int64_t cols, const T* table, const std::int32_t* index, T* y) {
  parallel_ranges(n, n * cols, 1, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const T* row = table + index[i] * cols;
      T* out = y + i * cols;
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) out[c] = row[c];
    }
  });
}

// Threads share the columns, not the rows: rows with the same index are added in the order of i by one
// thread.
template <class T>
void scatter_add_rows(std::int64_t n, std::int64_t cols, const T* y, const std::int32_t* index, T* table) {
  parallel_ranges(cols, n * cols, 16, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = 0; i < n; ++i) {
      const T* in = y + i * cols;
      T* row = table + index[i] * cols;
#pragma omp simd
      for (std::int64_t c = begin; c < end; ++c) row[c] += in[c];
    }
  });
}

template <class T>
void add_gathered_rows(std::int64_t n, std::int64_t cols, const T* x, const T* a, const std::int32_t* ia,
                       const T* b, const std::int32_t* ib, T* y) {
  parallel_ranges(n, n * cols, 1, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const T *in = x + i * cols, *row_a = a + ia[i] * cols, *row_b = b + ib[i] * cols;
      T* out = y + i * cols;
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) out[c] = in[c] + row_a[c] + row_b[c];
    }
  });
}

template <class T>
void sequence_mean(Sequences sequences, std::int64_t cols, const T* x, T* mean) {
  const std::int64_t tokens = sequences.count == 0 ? 0 : sequences.offsets[sequences.count];
  parallel_ranges(sequences.count, tokens * cols, 1, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t s = begin; s < end; ++s) {
      const T* rows = x + sequences.offsets[s] * cols;
      T* out = mean + s * cols;
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) out[c] = 0;
      for (std::int64_t i = 0; i < sequences.lengths[s]; ++i) {
        const T* row = rows + i * cols;
#pragma omp simd
        for (std::int64_t c = 0; c < cols; ++c) out[c] += row[c];
      }
      const T length = static_cast<T>(sequences.lengths[s]);
#pragma omp simd
      for (std::int64_t c = 0; c < cols; ++c) out[c] /= length;
    }
  });
}

template <class T>
void sequence_mean_backward(Sequences sequences, std::int64_t cols, const T* dmean, T keep, T* dx) {
  const std::int64_t tokens = sequences.count == 0 ? 0 : sequences.offsets[sequences.count];
  with_keep(keep, [&](auto keeps) {
    constexpr bool kKeep = decltype(keeps)::value;
    parallel_ranges(sequences.count, tokens * cols, 1, [=](std::int64_t begin, std::int64_t end) {
      for (std::int64_t s = begin; s < end; ++s) {
        const T* d = dmean + s * cols;
        const T length = static_cast<T>(sequences.lengths[s]);
        const std::int64_t first = sequences.offsets[s], rows = sequences.offsets[s + 1] - first;
        for (std::int64_t i = 0; i < rows; ++i) {
          T* out = dx + (first + i) * cols;
          if (i < sequences.lengths[s]) {
#pragma omp simd
            for (std::int64_t c = 0; c < cols; ++c) put<kKeep>(out[c], d[c] / length, keep);
          } else {
#pragma omp simd
            for (std::int64_t c = 0; c < cols; ++c) put<kKeep>(out[c], T(0), keep);
          }
        }
      }
    });
  });
}

}  // namespace

template <class T>
void fill_rows(Kernels<T>& k) {
  k.gather_rows = gather_rows<T>;
  k.scatter_add_rows = scatter_add_rows<T>;
  k.add_gathered_rows = add_gathered_rows<T>;
  k.sequence_mean = sequence_mean<T>;
  k.sequence_mean_backward = sequence_mean_backward<T>;
}
template void fill_rows(Kernels<float>& k);
template void fill_rows(Kernels<double>& k);

}  // namespace costeff::COSTEFF_ISA
