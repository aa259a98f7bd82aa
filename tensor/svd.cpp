#include "tensor/svd.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>

#include "tensor/backend.h"
#include "tensor/error.h"

extern "C" {
// LAPACK, which Debian's OpenBLAS holds but its headers do not declare: the eigenvalues of a symmetric
// matrix, ascending, and in its place the eigenvectors. The last two are what Fortran passes for strings,
// their lengths.
// NOLINTNEXTLINE(readability-identifier-naming): Fortran ends its names so
void dsyevd_(const char* job, const char* triangle, const blasint* n, double* a, const blasint* lda,
             double* eigenvalues, double* work, const blasint* work_size, blasint* int_work,
             const blasint* int_work_size, blasint* info, std::size_t job_length,
             std::size_t triangle_length);
}

namespace costeff {
namespace {

// Rows that are converted to f64 at a time: enough for a matrix product at full speed, 6 MB at 768 columns.
constexpr std::int64_t kBlockRows = 1024;
// LAPACK counts its 2 columns^2 elements of workspace in 32 bits.
constexpr std::int64_t kMostColumns = 30'000;

// Throws unless the weights fit; the largest of them, 1 where there are none.
double check_weights(std::span<const double> weights, const Tensor& w) {
  if (weights.empty()) return 1;
  const std::int64_t rows = w.shape()[0];
  if (static_cast<std::int64_t>(weights.size()) != rows)
    fail("truncated_svd: {} row weights for {}; there must be {}", weights.size(), describe(w), rows);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (!std::isfinite(weights[i]) || weights[i] < 0)
      fail("truncated_svd: row {} has the weight {}; it must be finite and not negative", i, weights[i]);
  }
  const double largest = *std::max_element(weights.begin(), weights.end());
  if (largest == 0) fail("truncated_svd: all {} row weights are 0; at least one must be positive", rows);
  return largest;
}

// Throws unless every element is finite; the power of two that brings the largest |element| to about 1, so
// that no square overflows or vanishes.
template <class T>
double scale_of(const Tensor& w) {
  const Range range = kernels<T>(w.device()).range(w.numel(), w.data<T>());
  if (range.non_finite > 0)
    fail("truncated_svd: {} of the elements of {} are not finite", range.non_finite, describe(w));
  const double largest = std::max(std::abs(range.smallest), std::abs(range.largest));
  return largest == 0 ? 1 : std::ldexp(1.0, std::clamp(-std::ilogb(largest), -1000, 1000));
}

// Calls f(first row, rows, elements in f64) for each block of rows of w.
template <class T, class F>
void for_each_block(const Tensor& w, F&& f) {
  const std::int64_t rows = w.shape()[0], columns = w.shape()[1];
  std::vector<double> block(static_cast<std::size_t>(std::min(rows, kBlockRows) * columns));
  for (std::int64_t begin = 0; begin < rows; begin += kBlockRows) {
    const std::int64_t count = std::min(kBlockRows, rows - begin);
    const T* source = w.host<T>() + begin * columns;
    std::transform(source, source + count * columns, block.begin(),
                   [](T x) { return static_cast<double>(x); });
    f(begin, count, block.data());
  }
}

// The upper triangle of W^T diag(factors^2) W, [columns, columns]; what is below the diagonal stays 0.
template <class T>
std::vector<double> gram_matrix(const Tensor& w, std::span<const double> factors) {
  const std::int64_t columns = w.shape()[1];
  const auto n = static_cast<blasint>(columns);
  std::vector<double> gram(static_cast<std::size_t>(columns * columns));
  for_each_block<T>(w, [&](std::int64_t begin, std::int64_t count, double* block) {
    for (std::int64_t i = 0; i < count; ++i) {
      const double factor = factors[static_cast<std::size_t>(begin + i)];
      for (std::int64_t j = 0; j < columns; ++j) block[i * columns + j] *= factor;
    }
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, n, static_cast<blasint>(count), 1, block, n, 1,
                gram.data(), n);
  });
  return gram;
}

// The eigenvalues of a symmetric matrix [n, n] of which the upper triangle is given, ascending. Row i of the
// matrix becomes the eigenvector of the i-th: a row here is a column to Fortran, and upper is lower.
std::vector<double> eigen_decompose(std::vector<double>& matrix, std::int64_t size) {
  const auto n = static_cast<blasint>(size);
  std::vector<double> eigenvalues(static_cast<std::size_t>(size)), work(1);
  std::vector<blasint> int_work(1);
  blasint info = 0;
  const auto run = [&](blasint work_size, blasint int_work_size) {
    dsyevd_("V", "L", &n, matrix.data(), &n, eigenvalues.data(), work.data(), &work_size, int_work.data(),
            &int_work_size, &info, 1, 1);
  };
  run(-1, -1);  // asks how much workspace it wants
  if (info == 0) {
    work.resize(static_cast<std::size_t>(work[0]));
    int_work.resize(static_cast<std::size_t>(int_work[0]));
    run(static_cast<blasint>(work.size()), static_cast<blasint>(int_work.size()));
  }
  if (info != 0)
    fail("truncated_svd: the eigenvalues of a {} x {} matrix were not found (dsyevd: {})", n, n, info);
  return eigenvalues;
}

// The leading eigenvectors as columns, [n, rank]. An eigenvector is known but for its sign, so that is chosen
// by a rule: the largest |x| is positive, the first of equals.
std::vector<double> leading_columns(const std::vector<double>& eigenvectors, std::int64_t n,
                                    std::int64_t rank) {
  std::vector<double> columns(static_cast<std::size_t>(n * rank));
  for (std::int64_t r = 0; r < rank; ++r) {
    const double* vector = eigenvectors.data() + (n - 1 - r) * n;
    const double largest =
        *std::max_element(vector, vector + n, [](double a, double b) { return std::abs(a) < std::abs(b); });
    const double sign = largest < 0 ? -1 : 1;
    for (std::int64_t i = 0; i < n; ++i) columns[static_cast<std::size_t>(i * rank + r)] = sign * vector[i];
  }
  return columns;
}

template <class T>
TruncatedSvd compute(const Tensor& w, std::int64_t rank, std::span<const double> weights) {
  const std::int64_t rows = w.shape()[0], columns = w.shape()[1];
  const double largest_weight = check_weights(weights, w);
  const double scale = scale_of<T>(w);
  std::vector<double> factors(static_cast<std::size_t>(rows), scale);
  for (std::size_t i = 0; i < weights.size(); ++i) factors[i] *= std::sqrt(weights[i] / largest_weight);

  std::vector<double> vectors = gram_matrix<T>(w, factors);
  const std::vector<double> eigenvalues = eigen_decompose(vectors, columns);
  const std::vector<double> right = leading_columns(vectors, columns, rank);

  TruncatedSvd svd{Tensor::empty({rows, rank}, w.dtype()), Tensor::empty({columns, rank}, w.dtype()), {}};
  const auto narrow = [](double x) { return static_cast<T>(x); };
  std::transform(right.begin(), right.end(), svd.right.host<T>(), narrow);
  // W V is right where U S would need a division by small singular values, and serves rows of weight 0.
  std::vector<double> left(static_cast<std::size_t>(std::min(rows, kBlockRows) * rank));
  for_each_block<T>(w, [&](std::int64_t begin, std::int64_t count, const double* block) {
    kernels<double>(kCpu).gemm({block, count, columns, columns}, {right.data(), columns, rank, rank},
                               {left.data()});
    std::transform(left.begin(), left.begin() + count * rank, svd.left.host<T>() + begin * rank, narrow);
  });
  for (std::int64_t r = 0; r < std::min(rows, columns); ++r) {
    const double eigenvalue = eigenvalues[static_cast<std::size_t>(columns - 1 - r)];
    svd.singular_values.push_back(std::sqrt(std::max(eigenvalue, 0.0)) * std::sqrt(largest_weight) / scale);
  }
  return svd;
}

}  // namespace

TruncatedSvd truncated_svd(const Tensor& w, std::int64_t rank, std::span<const double> row_weights) {
  if (w.device() != kCpu) return truncated_svd(w.to(kCpu), rank, row_weights);
  if (!w.defined() || w.shape().rank() != 2)
    fail("truncated_svd: {} is not a matrix; it must have two dimensions", describe(w));
  const std::int64_t most = std::min(w.shape()[0], w.shape()[1]);
  if (rank < 1 || rank > most)
    fail("truncated_svd: rank {} of {}; it can be 1 to {}", rank, describe(w), most);
  if (w.shape()[1] > kMostColumns)
    fail("truncated_svd: {} has more than {} columns; transpose it", describe(w), kMostColumns);
  return dispatch(w.dtype(), [&](auto element) { return compute<decltype(element)>(w, rank, row_weights); });
}

}  // namespace costeff
