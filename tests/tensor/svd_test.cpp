// The truncated SVD against a one-sided Jacobi SVD, which works on the matrix itself and is exact to the last
// bits, and against the properties that define it.
#include "tensor/svd.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <numeric>

#include "tensor/error.h"
#include "tests/tensor/kernel_test.h"

namespace costeff::testing {
namespace {

struct Matrix {
  std::int64_t rows, cols;
  Doubles x;
  double& operator()(std::int64_t i, std::int64_t j) { return x[static_cast<std::size_t>(i * cols + j)]; }
  double operator()(std::int64_t i, std::int64_t j) const {
    return x[static_cast<std::size_t>(i * cols + j)];
  }
};

Matrix zeros(std::int64_t rows, std::int64_t cols) {
  return {rows, cols, Doubles(static_cast<std::size_t>(rows * cols))};
}

Matrix random_matrix(std::int64_t rows, std::int64_t cols, unsigned seed) {
  return {rows, cols, random_values<double>(rows * cols, seed)};
}

Matrix matrix_of(const Tensor& t) {
  const Tensor wide = t.to(DType::f64);
  return {t.shape()[0], t.shape()[1], Doubles(wide.span<double>().begin(), wide.span<double>().end())};
}

Tensor tensor_of(const Matrix& m, DType dtype = DType::f64) {
  return Tensor::from<double>(m.x, {m.rows, m.cols}).to(dtype);
}

Matrix transposed(const Matrix& a) {
  Matrix b = zeros(a.cols, a.rows);
  for (std::int64_t i = 0; i < a.rows; ++i) {
    for (std::int64_t j = 0; j < a.cols; ++j) b(j, i) = a(i, j);
  }
  return b;
}

// The sum of the first `rank` columns' products: a b^T.
Matrix product(const Matrix& a, const Matrix& b, std::int64_t rank) {
  Matrix c = zeros(a.rows, b.rows);
  for (std::int64_t i = 0; i < a.rows; ++i) {
    for (std::int64_t j = 0; j < b.rows; ++j) {
      for (std::int64_t k = 0; k < rank; ++k) c(i, j) += a(i, k) * b(j, k);
    }
  }
  return c;
}

Matrix product(const TruncatedSvd& svd) {
  return product(matrix_of(svd.left), matrix_of(svd.right), svd.right.shape()[1]);
}

Matrix with_row_factors(Matrix m, const Doubles& weights) {
  for (std::int64_t i = 0; i < m.rows; ++i) {
    for (std::int64_t j = 0; j < m.cols; ++j) m(i, j) *= std::sqrt(weights[static_cast<std::size_t>(i)]);
  }
  return m;
}

double norm(const Matrix& m) {
  return std::sqrt(std::inner_product(m.x.begin(), m.x.end(), m.x.begin(), 0.0));
}

double distance(const Matrix& a, const Matrix& b) {
  Matrix d = a;
  for (std::size_t i = 0; i < d.x.size(); ++i) d.x[i] -= b.x[i];
  return norm(d);
}

// |left right^T - W| in the norm that the weights give.
double weighted_error(const Matrix& w, const Matrix& left, const Matrix& right, const Doubles& weights) {
  return distance(with_row_factors(product(left, right, right.cols), weights), with_row_factors(w, weights));
}

struct FullSvd {
  Matrix scaled_left, right;  // U S and V, columns in descending order
  Doubles singular_values;
  Matrix truncated(std::int64_t rank) const { return product(scaled_left, right, rank); }
  // The error of the best approximation of that rank.
  double rest(std::int64_t rank) const {
    double sum = 0;
    for (std::size_t i = static_cast<std::size_t>(rank); i < singular_values.size(); ++i)
      sum += singular_values[i] * singular_values[i];
    return std::sqrt(sum);
  }
};

// One-sided Jacobi (Hestenes): turns pairs of columns until all are orthogonal; they are then U S, and the
// turns are V. Needs rows >= cols, so a wide matrix is transposed, and its U S moved to the other side.
FullSvd jacobi(const Matrix& w) {
  if (w.rows < w.cols) {
    FullSvd svd = jacobi(transposed(w));
    for (std::int64_t r = 0; r < svd.right.cols; ++r) {
      const double s = svd.singular_values[static_cast<std::size_t>(r)];
      for (std::int64_t i = 0; i < svd.right.rows; ++i) svd.right(i, r) *= s;
      for (std::int64_t i = 0; i < svd.scaled_left.rows; ++i) svd.scaled_left(i, r) /= s == 0 ? 1 : s;
    }
    std::swap(svd.scaled_left, svd.right);
    return svd;
  }
  Matrix a = w, v = zeros(w.cols, w.cols);
  for (std::int64_t i = 0; i < w.cols; ++i) v(i, i) = 1;
  const auto dot = [&](std::int64_t p, std::int64_t q) {
    double sum = 0;
    for (std::int64_t i = 0; i < a.rows; ++i) sum += a(i, p) * a(i, q);
    return sum;
  };
  bool turned = true;
  for (int sweep = 0; sweep < 40 && turned; ++sweep) {
    turned = false;
    for (std::int64_t p = 0; p < a.cols; ++p) {
      for (std::int64_t q = p + 1; q < a.cols; ++q) {
        const double alpha = dot(p, p), beta = dot(q, q), gamma = dot(p, q);
        if (std::abs(gamma) <= 1e-15 * std::sqrt(alpha * beta)) continue;
        turned = true;
        const double zeta = (beta - alpha) / (2 * gamma);
        const double t = std::copysign(1.0, zeta) / (std::abs(zeta) + std::hypot(1.0, zeta));
        const double c = 1 / std::hypot(1.0, t), s = c * t;
        for (Matrix* m : {&a, &v}) {
          for (std::int64_t i = 0; i < m->rows; ++i) {
            const double x = (*m)(i, p), y = (*m)(i, q);
            (*m)(i, p) = c * x - s * y;
            (*m)(i, q) = s * x + c * y;
          }
        }
      }
    }
  }
  std::vector<std::int64_t> order(static_cast<std::size_t>(a.cols));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](std::int64_t p, std::int64_t q) { return dot(p, p) > dot(q, q); });
  FullSvd svd{zeros(a.rows, a.cols), zeros(a.cols, a.cols), {}};
  for (std::int64_t r = 0; r < a.cols; ++r) {
    const std::int64_t from = order[static_cast<std::size_t>(r)];
    svd.singular_values.push_back(std::sqrt(dot(from, from)));
    for (std::int64_t i = 0; i < a.rows; ++i) svd.scaled_left(i, r) = a(i, from);
    for (std::int64_t i = 0; i < a.cols; ++i) svd.right(i, r) = v(i, from);
  }
  return svd;
}

// A matrix with the given singular values: the singular vectors of a random one.
Matrix with_spectrum(std::int64_t rows, std::int64_t cols, const Doubles& spectrum, unsigned seed) {
  FullSvd svd = jacobi(random_matrix(rows, cols, seed));
  for (std::int64_t r = 0; r < cols; ++r) {
    const auto k = static_cast<std::size_t>(r);
    for (std::int64_t i = 0; i < rows; ++i) svd.scaled_left(i, r) *= spectrum[k] / svd.singular_values[k];
  }
  return svd.truncated(cols);
}

void expect_orthonormal(const Matrix& right, double limit) {
  Matrix identity = zeros(right.cols, right.cols);
  for (std::int64_t i = 0; i < right.cols; ++i) identity(i, i) = 1;
  EXPECT_LE(distance(product(transposed(right), transposed(right), right.rows), identity), limit);
}

// Everything that one decomposition promises, against the full one; `limit` is relative to |W|, and
// `rank` must lie at a gap of the spectrum.
void expect_truncates(const Matrix& w, std::int64_t rank, double limit) {
  SCOPED_TRACE(fmt::format("[{}, {}] rank {}", w.rows, w.cols, rank));
  const FullSvd full = jacobi(w);
  const TruncatedSvd svd = truncated_svd(tensor_of(w), rank);
  ASSERT_EQ(svd.left.shape(), (Shape{w.rows, rank}));
  ASSERT_EQ(svd.right.shape(), (Shape{w.cols, rank}));
  EXPECT_LE(distance(product(svd), full.truncated(rank)), limit * norm(w));
  EXPECT_NEAR(distance(product(svd), w), full.rest(rank), limit * norm(w));
  expect_orthonormal(matrix_of(svd.right), 1e-13 * static_cast<double>(w.cols));
}

struct Case {
  std::int64_t rows, cols, rank;
};
constexpr std::array<Case, 10> kCases{{{1, 1, 1},
                                       {7, 1, 1},
                                       {1, 7, 1},
                                       {5, 5, 5},
                                       {40, 24, 1},
                                       {40, 24, 7},
                                       {40, 24, 24},
                                       {9, 20, 4},
                                       {9, 20, 9},
                                       {2100, 6, 3}}};

TEST(TruncatedSvd, IsTheFullOneCutOff) {
  for (const Case& c : kCases) expect_truncates(random_matrix(c.rows, c.cols, 7), c.rank, 1e-12);
}

TEST(TruncatedSvd, GivesAllSingularValuesDescending) {
  for (const Case& c : kCases) {
    const Matrix w = random_matrix(c.rows, c.cols, 8);
    const TruncatedSvd svd = truncated_svd(tensor_of(w), c.rank);
    ASSERT_EQ(svd.singular_values.size(), static_cast<std::size_t>(std::min(c.rows, c.cols)));
    EXPECT_TRUE(std::is_sorted(svd.singular_values.rbegin(), svd.singular_values.rend()));
    expect_close(svd.singular_values, jacobi(w).singular_values, 1e-12, "singular_values");
  }
}

TEST(TruncatedSvd, LeftHasOrthogonalColumnsAsLongAsTheSingularValues) {
  const TruncatedSvd svd = truncated_svd(tensor_of(random_matrix(50, 12, 9)), 5);
  const Matrix left = transposed(matrix_of(svd.left));
  Matrix squares = zeros(5, 5);
  for (std::int64_t i = 0; i < 5; ++i)
    squares(i, i) = std::pow(svd.singular_values[static_cast<std::size_t>(i)], 2);
  EXPECT_LE(distance(product(left, left, left.cols), squares), 1e-12 * norm(squares));
}

TEST(TruncatedSvd, HoldsOnADecayingSpectrum) {
  Doubles spectrum;
  for (int i = 0; i < 24; ++i) spectrum.push_back(100 * std::pow(0.6, i));  // down to 1e-5 of the first
  const Matrix w = with_spectrum(60, 24, spectrum, 10);
  for (const std::int64_t rank : {1, 4, 12, 20, 23, 24}) expect_truncates(w, rank, 1e-10);
}

TEST(TruncatedSvd, HoldsWhereTheRankIsShort) {
  Doubles spectrum(16, 0.0);
  for (std::size_t i = 0; i < 5; ++i) spectrum[i] = 3.0 / static_cast<double>(i + 1);
  const Matrix w = with_spectrum(50, 16, spectrum, 11);
  for (const std::int64_t rank : {2, 5}) expect_truncates(w, rank, 1e-12);
  for (const std::int64_t rank : {6, 16}) {  // more than there is: exact, and right is still orthonormal
    const TruncatedSvd svd = truncated_svd(tensor_of(w), rank);
    EXPECT_LE(distance(product(svd), w), 1e-12 * norm(w));
    expect_orthonormal(matrix_of(svd.right), 1e-12);
    for (std::size_t i = 5; i < 16; ++i) EXPECT_LE(svd.singular_values[i], 1e-7);
  }
  const TruncatedSvd nothing = truncated_svd(Tensor::zeros({6, 4}, DType::f64), 2);
  EXPECT_EQ(norm(matrix_of(nothing.left)), 0);
  expect_orthonormal(matrix_of(nothing.right), 1e-14);
}

TEST(TruncatedSvd, WorksOnF32) {
  const Tensor w = tensor_of(random_matrix(1500, 10, 12), DType::f32);
  const TruncatedSvd svd = truncated_svd(w, 4);
  EXPECT_EQ(svd.left.dtype(), DType::f32);
  EXPECT_EQ(svd.right.dtype(), DType::f32);
  const FullSvd full = jacobi(matrix_of(w));
  EXPECT_LE(distance(product(svd), full.truncated(4)), 2e-7 * norm(matrix_of(w)));
  expect_close(svd.singular_values, full.singular_values, 1e-12, "singular_values");
}

// Some of weight 0, some far apart, as counts of words are.
Doubles some_weights(std::int64_t rows) {
  Doubles weights;
  for (std::int64_t i = 0; i < rows; ++i)
    weights.push_back(i % 5 == 2 ? 0.0 : 1000.0 / static_cast<double>(i * i + 1));
  return weights;
}

TEST(TruncatedSvd, WeightsAreThePlainOneOfRowsTimesTheirRoot) {
  for (const auto& [rows, cols, rank] : {Case{40, 10, 3}, {1300, 6, 2}, {12, 20, 4}}) {
    const Matrix w = random_matrix(rows, cols, 13);
    const Doubles weights = some_weights(rows);
    const FullSvd full = jacobi(with_row_factors(w, weights));
    const TruncatedSvd svd = truncated_svd(tensor_of(w), rank, weights);
    const double size = full.singular_values[0];
    EXPECT_LE(distance(with_row_factors(product(svd), weights), full.truncated(rank)), 1e-11 * size);
    for (std::size_t i = 0; i < 4; ++i)
      EXPECT_NEAR(svd.singular_values[i], full.singular_values[i], 1e-12 * size);
    // Rows of weight 0 are projected like the others.
    const Matrix left = matrix_of(svd.left);
    EXPECT_LE(distance(left, product(w, transposed(matrix_of(svd.right)), cols)), 1e-13 * norm(w));
  }
}

TEST(TruncatedSvd, WeightsMatterOnlyAgainstEachOther) {
  const Tensor w = tensor_of(random_matrix(30, 8, 14));
  const Matrix plain = product(truncated_svd(w, 3));
  for (const double weight : {1e-300, 1.0, 1e300}) {
    const TruncatedSvd svd = truncated_svd(w, 3, Doubles(30, weight));
    EXPECT_LE(distance(product(svd), plain), 1e-12 * norm(plain));
    EXPECT_NEAR(svd.singular_values[0] / std::sqrt(weight), truncated_svd(w, 3).singular_values[0], 1e-12);
  }
}

TEST(TruncatedSvd, NothingNearbyIsBetter) {
  const Matrix w = random_matrix(30, 10, 15);
  for (const Doubles& weights : {Doubles(30, 1.0), some_weights(30)}) {
    const TruncatedSvd svd = truncated_svd(tensor_of(w), 4, weights);
    const Matrix left = matrix_of(svd.left), right = matrix_of(svd.right);
    const double best = weighted_error(w, left, right, weights);
    for (unsigned seed = 100; seed < 140; ++seed) {
      const double size = std::pow(10.0, -static_cast<double>(seed % 4));
      Matrix other_left = left, other_right = right;
      const Doubles d = random_values<double>(30 * 4, seed), e = random_values<double>(10 * 4, seed + 1000);
      for (std::size_t i = 0; i < d.size(); ++i) other_left.x[i] += size * d[i];
      for (std::size_t i = 0; i < e.size(); ++i) other_right.x[i] += size * e[i];
      EXPECT_GT(weighted_error(w, other_left, right, weights), best);
      EXPECT_GT(weighted_error(w, left, other_right, weights), best);
      EXPECT_GT(weighted_error(w, other_left, other_right, weights), best);
    }
  }
}

TEST(TruncatedSvd, TheLargestOfEachRightVectorIsPositive) {
  for (unsigned seed = 20; seed < 24; ++seed) {
    Matrix w = random_matrix(30, 9, seed);
    const Matrix right = matrix_of(truncated_svd(tensor_of(w), 9).right);
    for (std::int64_t r = 0; r < 9; ++r) {
      double largest = 0;
      for (std::int64_t i = 0; i < 9; ++i) {
        if (std::abs(right(i, r)) > std::abs(largest)) largest = right(i, r);
      }
      EXPECT_GT(largest, 0);
    }
    for (double& x : w.x) x = -x;  // the same Gram matrix, so only left turns round
    EXPECT_EQ(matrix_of(truncated_svd(tensor_of(w), 9).right).x, right.x);
  }
}

TEST(TruncatedSvd, IsTheSameEachTime) {
  const Tensor w = tensor_of(random_matrix(1200, 40, 25), DType::f32);
  const TruncatedSvd first = truncated_svd(w, 10);
  for (int again = 0; again < 5; ++again) {
    const TruncatedSvd svd = truncated_svd(w, 10);
    EXPECT_EQ(matrix_of(svd.left).x, matrix_of(first.left).x);
    EXPECT_EQ(matrix_of(svd.right).x, matrix_of(first.right).x);
    EXPECT_EQ(svd.singular_values, first.singular_values);
  }
}

TEST(TruncatedSvd, SquaresNeitherOverflowNorVanish) {
  const Matrix w = random_matrix(20, 6, 26);
  const TruncatedSvd plain = truncated_svd(tensor_of(w), 2);
  for (const double size : {0x1p-900, 0x1p900}) {  // powers of two round nothing
    Matrix scaled = w;
    for (double& x : scaled.x) x *= size;
    const TruncatedSvd svd = truncated_svd(tensor_of(scaled), 2);
    EXPECT_EQ(matrix_of(svd.right).x, matrix_of(plain.right).x);
    EXPECT_EQ(svd.singular_values[0], plain.singular_values[0] * size);
  }
}

TEST(TruncatedSvd, SaysWhatDoesNotFit) {
  using ::testing::HasSubstr;
  const Tensor w = tensor_of(random_matrix(6, 4, 27));
  const auto expect_error = [](const Tensor& matrix, std::int64_t rank, const Doubles& weights,
                               const char* words) {
    EXPECT_THAT([&] { truncated_svd(matrix, rank, weights); },
                ::testing::ThrowsMessage<Error>(HasSubstr(words)));
  };
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  for (const std::int64_t rank : {-1, 0, 5}) expect_error(w, rank, {}, "of f64 [6, 4]; it can be 1 to 4");
  expect_error(Tensor::zeros({3, 8}, DType::f32), 4, {}, "rank 4 of f32 [3, 8]; it can be 1 to 3");
  expect_error(w, 2, Doubles(5, 1.0), "5 row weights for f64 [6, 4]; there must be 6");
  expect_error(w, 2, {1, 1, -0.5, 1, 1, 1}, "row 2 has the weight -0.5");
  expect_error(w, 2, {1, 1, 1, kNaN, 1, 1}, "row 3 has the weight nan");
  expect_error(w, 2, {1, 1, 1, 1, 1, kInfinity}, "row 5 has the weight inf");
  expect_error(w, 2, Doubles(6, 0.0), "all 6 row weights are 0");
  expect_error(Tensor(), 1, {}, "undefined is not a matrix");
  expect_error(Tensor::zeros({24}, DType::f32), 1, {}, "f32 [24] is not a matrix");
  expect_error(Tensor::zeros({2, 3, 4}, DType::f32), 1, {}, "f32 [2, 3, 4] is not a matrix");
  expect_error(Tensor::zeros({0, 4}, DType::f32), 1, {}, "rank 1");
  expect_error(Tensor::zeros({6, 4}, DType::i32), 1, {}, "i32");
  expect_error(Tensor::zeros({2, 30'001}, DType::f32), 1, {}, "more than 30000 columns");
  for (const double bad : {kNaN, kInfinity, -kInfinity}) {
    const Tensor broken = w.clone();
    broken.data<double>()[13] = bad;
    expect_error(broken, 2, {}, "1 of the elements of f64 [6, 4] are not finite");
  }
}

}  // namespace
}  // namespace costeff::testing
