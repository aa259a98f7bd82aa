// Kernels over rows: softmax, layer norm, rows by index, means of sequences.
#include "tests/tensor/kernel_test.h"

namespace costeff::testing {
namespace {

template <class T>
class KernelRows : public ::testing::Test {};
TYPED_TEST_SUITE(KernelRows, KernelTypes);

struct Softmax {
  Doubles p, log_p;
};

template <class T>
Softmax naive_softmax(std::int64_t rows, std::int64_t cols, const std::vector<T>& x) {
  Softmax s;
  for (std::int64_t r = 0; r < rows; ++r) {
    const T* row = x.data() + r * cols;
    long double top = -std::numeric_limits<long double>::infinity(), sum = 0;
    for (std::int64_t c = 0; c < cols; ++c) top = std::max(top, static_cast<long double>(row[c]));
    for (std::int64_t c = 0; c < cols; ++c) sum += std::exp(static_cast<long double>(row[c]) - top);
    for (std::int64_t c = 0; c < cols; ++c) {
      const long double z = static_cast<long double>(row[c]) - top;
      s.p.push_back(static_cast<double>(std::exp(z) / sum));
      s.log_p.push_back(static_cast<double>(z - std::log(sum)));
    }
  }
  return s;
}

TYPED_TEST(KernelRows, SoftmaxMatchesItsFormula) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const auto [rows, cols] : kSizes) {
      for (const double spread : {1.0, 1000.0}) {
        const auto x = random_values<T>(rows * cols, 11, spread);
        const Softmax expected = naive_softmax(rows, cols, x);
        std::vector<T> p(x.size()), log_p(x.size());
        k.softmax(rows, cols, x.data(), p.data());
        k.log_softmax(rows, cols, x.data(), log_p.data());
        expect_close(p, expected.p, tolerance<T>(2e-6), "softmax");
        expect_close(log_p, expected.log_p, tolerance<T>(2e-6), "log_softmax");
      }
    }
  });
}

TYPED_TEST(KernelRows, SoftmaxBackwardMatchesItsFormula) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const auto [rows, cols] : kSizes) {
      for (const T beta : {T(0), T(1)}) {
        const Softmax s = naive_softmax(rows, cols, random_values<T>(rows * cols, 12));
        const std::vector<T> p(s.p.begin(), s.p.end()), log_p(s.log_p.begin(), s.log_p.end());
        const auto dy = random_values<T>(rows * cols, 13), old = old_content<T>(rows * cols, beta);
        Doubles expected(p.size()), expected_log(p.size());
        for (std::int64_t r = 0; r < rows; ++r) {
          double dot = 0, sum = 0;
          for (std::int64_t c = 0; c < cols; ++c) {
            const auto i = static_cast<std::size_t>(r * cols + c);
            dot += s.p[i] * static_cast<double>(dy[i]);
            sum += static_cast<double>(dy[i]);
          }
          for (std::int64_t c = 0; c < cols; ++c) {
            const auto i = static_cast<std::size_t>(r * cols + c);
            expected[i] = blended(s.p[i] * (static_cast<double>(dy[i]) - dot), beta, old[i]);
            expected_log[i] = blended(static_cast<double>(dy[i]) - s.p[i] * sum, beta, old[i]);
          }
        }
        auto dx = old;
        k.softmax_backward(rows, cols, p.data(), dy.data(), beta, dx.data());
        expect_close(dx, expected, tolerance<T>(2e-6), "softmax_backward");
        dx = old;
        k.log_softmax_backward(rows, cols, log_p.data(), dy.data(), beta, dx.data());
        expect_close(dx, expected_log, tolerance<T>(1e-5), "log_softmax_backward");
      }
    }
  });
}

TYPED_TEST(KernelRows, SoftmaxTakesInfinitiesAndNaN) {
  using T = TypeParam;
  constexpr T kInfinity = std::numeric_limits<T>::infinity(), kNaN = std::numeric_limits<T>::quiet_NaN();
  for_each_isa<T>([](const Kernels<T>& k) {
    const std::vector<T> x{-kInfinity, 0, 0, /**/ -kInfinity, -kInfinity, -kInfinity, /**/ 1, kNaN, 2};
    std::vector<T> p(9), log_p(9);
    k.softmax(3, 3, x.data(), p.data());
    k.log_softmax(3, 3, x.data(), log_p.data());
    EXPECT_EQ(p[0], T(0));
    EXPECT_NEAR(static_cast<double>(p[1]), 0.5, 1e-7);
    EXPECT_EQ(log_p[0], -kInfinity);
    EXPECT_NEAR(static_cast<double>(log_p[2]), -std::log(2.0), 1e-7);
    for (std::size_t i = 3; i < 9; ++i) EXPECT_TRUE(std::isnan(p[i]) && std::isnan(log_p[i])) << i;
  });
}

struct NormCase {
  bool bias, residual;
  Dropout dropout;
};

TYPED_TEST(KernelRows, LayerNormMatchesItsFormula) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const auto [rows, cols] : kSizes) {
      for (const NormCase& test : {NormCase{false, false, kNoDropout}, NormCase{true, false, kSomeDropout},
                                   NormCase{false, true, kNoDropout}, NormCase{true, true, kSomeDropout}}) {
        const auto x = random_values<T>(rows * cols, 14), bias = random_values<T>(cols, 15);
        const auto residual = random_values<T>(rows * cols, 16, 3);
        const auto gamma = random_values<T>(cols, 17), beta = random_values<T>(cols, 18);
        const double eps = 1e-3;
        Doubles y(x.size()), xhat(x.size()), rstd;
        for (std::int64_t r = 0; r < rows; ++r) {
          Doubles s;
          double mean = 0, variance = 0;
          for (std::int64_t c = 0; c < cols; ++c) {
            const auto i = static_cast<std::size_t>(r * cols + c), at = static_cast<std::size_t>(c);
            const double z = static_cast<double>(x[i]) + (test.bias ? static_cast<double>(bias[at]) : 0);
            s.push_back(z * dropout_factor(test.dropout, r * cols + c) +
                        (test.residual ? static_cast<double>(residual[i]) : 0));
            mean += s.back() / static_cast<double>(cols);
          }
          for (const double z : s) variance += (z - mean) * (z - mean) / static_cast<double>(cols);
          rstd.push_back(1 / std::sqrt(variance + eps));
          for (std::int64_t c = 0; c < cols; ++c) {
            const auto i = static_cast<std::size_t>(r * cols + c), at = static_cast<std::size_t>(c);
            xhat[i] = (s[at] - mean) * rstd.back();
            y[i] = static_cast<double>(gamma[at]) * xhat[i] + static_cast<double>(beta[at]);
          }
        }
        std::vector<T> out(x.size()), norm(x.size()), inverse(static_cast<std::size_t>(rows));
        LayerNormForward<T> call{rows,
                                 cols,
                                 x.data(),
                                 test.bias ? bias.data() : nullptr,
                                 test.dropout,
                                 test.residual ? residual.data() : nullptr,
                                 gamma.data(),
                                 beta.data(),
                                 static_cast<T>(eps),
                                 out.data(),
                                 norm.data(),
                                 inverse.data()};
        k.layer_norm(call);
        expect_close(out, y, tolerance<T>(2e-5, 1e-11), "y");
        expect_close(norm, xhat, tolerance<T>(2e-5, 1e-11), "xhat");
        expect_close(inverse, rstd, tolerance<T>(1e-5, 1e-11), "rstd");
        // What is not kept changes nothing else.
        for (const bool keep_xhat : {false, true}) {
          std::vector<T> alone(x.size()), kept(x.size()), kept_inverse(inverse.size());
          call.y = alone.data();
          call.xhat = keep_xhat ? kept.data() : nullptr;
          call.rstd = keep_xhat ? nullptr : kept_inverse.data();
          k.layer_norm(call);
          EXPECT_EQ(alone, out);
          EXPECT_EQ(keep_xhat ? kept : kept_inverse, keep_xhat ? norm : inverse);
        }
      }
    }
  });
}

TYPED_TEST(KernelRows, LayerNormBackwardMatchesItsFormula) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const auto [rows, cols] : kSizes) {
      for (const Dropout& dropout : {kNoDropout, kSomeDropout}) {
        for (const T beta : {T(0), T(1)}) {
          const auto xhat = random_values<T>(rows * cols, 19), dy = random_values<T>(rows * cols, 20);
          const auto gamma = random_values<T>(cols, 21);
          std::vector<T> rstd = random_values<T>(rows, 22);
          for (T& x : rstd) x = std::abs(x) + T(0.1);
          auto dresidual = old_content<T>(rows * cols, beta),
               dx = old_content<T>(rows * cols, T(1) - beta, 98);
          auto dgamma = old_content<T>(cols, beta), dbeta = old_content<T>(cols, T(1) - beta);
          Doubles to_residual(dx.size()), to_x(dx.size()), to_gamma(dgamma.size()), to_beta(dbeta.size());
          for (std::size_t c = 0; c < to_gamma.size(); ++c) {
            to_gamma[c] = blended(0, beta, dgamma[c]);
            to_beta[c] = blended(0, T(1) - beta, dbeta[c]);
          }
          for (std::int64_t r = 0; r < rows; ++r) {
            const auto first = static_cast<std::size_t>(r * cols);
            double mean = 0, dot = 0;
            for (std::size_t c = 0; c < gamma.size(); ++c) {
              const double d = static_cast<double>(dy[first + c]), h = static_cast<double>(xhat[first + c]);
              mean += d * static_cast<double>(gamma[c]) / static_cast<double>(cols);
              dot += d * static_cast<double>(gamma[c]) * h / static_cast<double>(cols);
              to_gamma[c] += d * h;
              to_beta[c] += d;
            }
            for (std::size_t c = 0; c < gamma.size(); ++c) {
              const std::size_t i = first + c;
              const double ds = static_cast<double>(rstd[static_cast<std::size_t>(r)]) *
                                (static_cast<double>(dy[i]) * static_cast<double>(gamma[c]) - mean -
                                 static_cast<double>(xhat[i]) * dot);
              to_residual[i] = blended(ds, beta, dresidual[i]);
              to_x[i] =
                  blended(ds * dropout_factor(dropout, static_cast<std::int64_t>(i)), T(1) - beta, dx[i]);
            }
          }
          auto dx_alone = dx;
          k.layer_norm_backward({rows,
                                 cols,
                                 xhat.data(),
                                 rstd.data(),
                                 gamma.data(),
                                 dy.data(),
                                 dropout,
                                 {dresidual.data(), beta},
                                 {dx.data(), T(1) - beta}});
          expect_close(dresidual, to_residual, tolerance<T>(2e-5, 1e-11), "dresidual");
          expect_close(dx, to_x, tolerance<T>(2e-5, 1e-11), "dx");
          k.layer_norm_backward({rows,
                                 cols,
                                 xhat.data(),
                                 rstd.data(),
                                 gamma.data(),
                                 dy.data(),
                                 dropout,
                                 {},
                                 {dx_alone.data(), T(1) - beta}});
          expect_close(dx_alone, to_x, tolerance<T>(2e-5, 1e-11), "dx alone");
          k.layer_norm_parameters_backward(
              {rows, cols, xhat.data(), dy.data(), {dgamma.data(), beta}, {dbeta.data(), T(1) - beta}});
          expect_close(dgamma, to_gamma, tolerance<T>(1e-5), "dgamma");
          expect_close(dbeta, to_beta, tolerance<T>(1e-5), "dbeta");
        }
      }
    }
  });
}

TYPED_TEST(KernelRows, RowsAreGatheredAndScatteredInOrder) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const auto [rows, cols] : kSizes) {
      const std::int64_t table_rows = rows / 2 + 1;  // so that rows repeat
      std::mt19937 generator(23);
      std::vector<std::int32_t> ia, ib;
      for (std::int64_t i = 0; i < rows; ++i) {
        ia.push_back(static_cast<std::int32_t>(generator() % static_cast<unsigned>(table_rows)));
        ib.push_back(static_cast<std::int32_t>(generator() % static_cast<unsigned>(table_rows)));
      }
      const auto a = random_values<T>(table_rows * cols, 24), b = random_values<T>(table_rows * cols, 25);
      const auto x = random_values<T>(rows * cols, 26);
      std::vector<T> gathered(x.size()), added(x.size()), expected_gathered, expected_added;
      auto scattered = a, expected_scattered = a;
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t c = 0; c < cols; ++c) {
          const auto at = static_cast<std::size_t>(i * cols + c), row = static_cast<std::size_t>(i);
          const auto in_a = static_cast<std::size_t>(ia[row] * cols + c),
                     in_b = static_cast<std::size_t>(ib[row] * cols + c);
          expected_gathered.push_back(a[in_a]);
          expected_added.push_back(x[at] + a[in_a] + b[in_b]);
          expected_scattered[in_a] += x[at];
        }
      }
      k.gather_rows(rows, cols, a.data(), ia.data(), gathered.data());
      k.add_gathered_rows(rows, cols, x.data(), a.data(), ia.data(), b.data(), ib.data(), added.data());
      k.scatter_add_rows(rows, cols, x.data(), ia.data(), scattered.data());
      EXPECT_EQ(gathered, expected_gathered);
      EXPECT_EQ(added, expected_added);
      EXPECT_EQ(scattered, expected_scattered);
    }
  });
}

TYPED_TEST(KernelRows, SequenceMeanIgnoresPadding) {
  using T = TypeParam;
  const std::vector<std::int32_t> offsets{0, 3, 4, 24}, lengths{2, 1, 20};
  const std::vector<std::int64_t> pairs{0, 9, 10, 410};
  const Sequences sequences{3, offsets.data(), lengths.data(), pairs.data(), 20};
  for_each_isa<T>([&](const Kernels<T>& k) {
    for (const std::int64_t cols : {1, 19, 2000}) {
      for (const T beta : {T(0), T(1)}) {
        const auto x = random_values<T>(24 * cols, 27), dmean = random_values<T>(3 * cols, 28);
        std::vector<T> mean(dmean.size());
        auto dx = old_content<T>(24 * cols, beta);
        Doubles expected(mean.size()), expected_dx(dx.size());
        for (std::size_t s = 0; s < 3; ++s) {
          for (std::int32_t i = offsets[s]; i < offsets[s + 1]; ++i) {
            const bool real = i < offsets[s] + lengths[s];
            for (std::int64_t c = 0; c < cols; ++c) {
              const auto at = static_cast<std::size_t>(i * cols + c),
                         out = s * static_cast<std::size_t>(cols) + static_cast<std::size_t>(c);
              if (real) expected[out] += static_cast<double>(x[at]) / lengths[s];
              expected_dx[at] =
                  blended(real ? static_cast<double>(dmean[out]) / lengths[s] : 0, beta, dx[at]);
            }
          }
        }
        k.sequence_mean(sequences, cols, x.data(), mean.data());
        expect_close(mean, expected, tolerance<T>(2e-6));
        k.sequence_mean_backward(sequences, cols, dmean.data(), beta, dx.data());
        expect_close(dx, expected_dx, tolerance<T>(2e-6));
      }
    }
  });
}

}  // namespace
}  // namespace costeff::testing
