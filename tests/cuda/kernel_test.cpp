// The CUDA kernels of all families but attention against the CPU's.
#include "tests/cuda/fixture.h"

namespace costeff::testing {
namespace {

TYPED_TEST_SUITE(CudaKernel, Devices, Names);

TYPED_TEST(CudaKernel, Gemm) {
  if (!TypeParam::kGpu) GTEST_SKIP() << "the matrix product is cuBLAS's";
  struct Product {
    std::int64_t m, n, k;
  };
  for (const Product p : {Product{1, 1, 1}, {3, 5, 7}, {33, 64, 129}, {257, 768, 64}, {4, 3, 0}}) {
    for (int form = 0; form < 8; ++form) {
      const bool ta = (form & 1) != 0, tb = (form & 2) != 0;
      const double beta = (form & 4) != 0 ? 1 : 0;
      const std::int64_t lda = (ta ? p.m : p.k) + 3, ldb = (tb ? p.k : p.n) + 1;
      this->compare(
          fmt::format("gemm {} x {} x {} ta {} tb {} beta {}", p.m, p.n, p.k, ta, tb, beta),
          [&](auto& side) {
            using V = typename std::decay_t<decltype(side)>::Value;
            const V *a = side.input(numbers((ta ? p.k : p.m) * lda, 1)),
                    *b = side.input(numbers((tb ? p.n : p.k) * ldb, 2));
            side.k.gemm({a, p.m, p.k, lda, ta}, {b, p.k, p.n, ldb, tb},
                        {side.output("c", p.m * p.n, beta), V(beta)});
          },
          tolerance<typename TypeParam::Value>(2e-5));
    }
  }
}

TYPED_TEST(CudaKernel, GemmOfBf16) {
  if (!TypeParam::kGpu) GTEST_SKIP() << "the matrix product is cuBLAS's";
  if (sizeof(typename TypeParam::Value) != 4) GTEST_SKIP() << "mixed precision is of f32";
  struct Product {
    std::int64_t m, n, k;
  };
  for (const Product p : {Product{1, 1, 1}, {3, 5, 7}, {33, 64, 129}, {257, 768, 64}, {4, 3, 0}}) {
    for (int form = 0; form < 6; ++form) {
      const bool ta = form % 3 == 1, tb = form % 3 == 2;
      const double beta = form >= 3 ? 1 : 0;
      const std::int64_t lda = ta ? p.m : p.k, ldb = tb ? p.k : p.n;
      std::vector<bf16> a, b;
      for (const double x : numbers(p.m * p.k, 1)) a.push_back(to_bf16(static_cast<float>(x)));
      for (const double x : numbers(p.k * p.n, 2)) b.push_back(to_bf16(static_cast<float>(x)));
      this->compare(
          fmt::format("gemm_bf16 {} x {} x {} ta {} tb {} beta {}", p.m, p.n, p.k, ta, tb, beta),
          [&](auto& side) {
            using V = typename std::decay_t<decltype(side)>::Value;
            const auto wide = [](const std::vector<bf16>& narrow) {
              Doubles values;
              for (const bf16 x : narrow) values.push_back(to_f32(x));
              return values;
            };
            if constexpr (std::is_same_v<V, float>) {
              const bf16 *x = side.raw(a), *y = side.raw(b);
              side.k.gemm_bf16({x, p.m, p.k, lda, ta}, {y, p.k, p.n, ldb, tb},
                               {side.output("c", p.m * p.n, beta), V(beta)});
            } else {
              const V *x = side.input(wide(a)), *y = side.input(wide(b));
              side.k.gemm({x, p.m, p.k, lda, ta}, {y, p.k, p.n, ldb, tb},
                          {side.output("c", p.m * p.n, beta), V(beta)});
            }
          },
          1e-4);
    }
  }
}

TYPED_TEST(CudaKernel, Elementwise) {
  for (const std::int64_t n : TestFixture::lengths()) {
    for (const std::int64_t off : {0, 1}) {
      for (const double beta : {0.0, 1.0}) {
        const Size s{n, off};
        const Doubles x = numbers(n, 1, 2), z = numbers(n, 2);
        this->compare(label("scale", s, beta), [&](auto& side) {
          using V = typename std::decay_t<decltype(side)>::Value;
          side.k.scale(n, V(0.5), side.input_off(x, off), V(beta), side.output("y", n, beta));
        });
        this->compare(label("multiply", s, beta), [&](auto& side) {
          using V = typename std::decay_t<decltype(side)>::Value;
          side.k.multiply(n, side.input_off(x, off), side.input(z), V(beta), side.output("y", n, beta));
        });
        this->compare(label("tanh_backward", s, beta), [&](auto& side) {
          using V = typename std::decay_t<decltype(side)>::Value;
          side.k.tanh_backward(n, side.input_off(x, off), side.input(z), V(beta), side.output("dx", n, beta));
        });
        for (const Dropout& dropout : {kNoDropout, kSomeDropout}) {
          this->compare(label("dropout", s, beta), [&](auto& side) {
            using V = typename std::decay_t<decltype(side)>::Value;
            side.k.dropout(n, dropout, side.input_off(x, off), V(beta), side.output("y", n, beta));
          });
        }
      }
      this->compare(label("add", {n, off}), [&](auto& side) {
        side.k.add(n, side.input_off(numbers(n, 1), off), side.input(numbers(n, 2)), side.output("y", n, 0));
      });
      this->compare(
          label("round_bf16", {n, off}),
          [&](auto& side) {
            using V = typename std::decay_t<decltype(side)>::Value;
            Doubles x = numbers(n, 1, 3);
            for (double& v : x) v = static_cast<float>(v);  // the same numbers on either side
            const V* in = side.input_off(x, off);
            side.k.round_bf16(n, in, side.bf16_out("y", n));
          },
          0);
      this->compare(label("tanh", {n, off}), [&](auto& side) {
        side.k.tanh(n, side.input_off(numbers(n, 1, 3), off), side.output("y", n, 0));
      });
    }
  }
}

TYPED_TEST(CudaKernel, RowsWithBias) {
  for (const Size s : TestFixture::sizes()) {
    const std::int64_t n = s.rows * s.cols;
    const Doubles x = numbers(n, 1, 2), bias = numbers(s.cols, 2), dy = numbers(n, 3);
    this->compare(label("fill_rows", s), [&](auto& side) {
      side.k.fill_rows(s.rows, s.cols, side.input(bias), side.output("y", n, 0));
    });
    for (const bool with_bias : {false, true}) {
      const auto maybe = [&](auto& side) { return with_bias ? side.input(bias) : nullptr; };
      this->compare(label("bias_gelu", s), [&](auto& side) {
        side.k.bias_gelu(s.rows, s.cols, side.input(x), maybe(side), side.output("y", n, 0));
      });
      for (const double beta : {0.0, 1.0}) {
        this->compare(label("bias_gelu_backward without dbias", s, beta), [&](auto& side) {
          using V = typename std::decay_t<decltype(side)>::Value;
          side.k.bias_gelu_backward({s.rows,
                                     s.cols,
                                     side.input(x),
                                     maybe(side),
                                     side.input(dy),
                                     {side.output("dx", n, beta), V(beta)}});
        });
        this->compare(label("bias_gelu_backward", s, beta), [&](auto& side) {
          using V = typename std::decay_t<decltype(side)>::Value;
          side.k.bias_gelu_backward({s.rows,
                                     s.cols,
                                     side.input(x),
                                     maybe(side),
                                     side.input(dy),
                                     {side.output("dx", n, beta), V(beta)},
                                     {side.output("dbias", s.cols, 1 - beta), V(1 - beta)}});
        });
      }
    }
    for (const double beta : {0.0, 1.0}) {
      this->compare(label("sum_rows", s, beta), [&](auto& side) {
        using V = typename std::decay_t<decltype(side)>::Value;
        side.k.sum_rows(s.rows, s.cols, side.input(x), V(beta), side.output("sum", s.cols, beta));
      });
    }
  }
}

TYPED_TEST(CudaKernel, Softmax) {
  for (const Size s : TestFixture::sizes()) {
    const std::int64_t n = s.rows * s.cols;
    Doubles x = numbers(n, 1, 3);
    if (s.cols > 2 && s.rows > 0) x[1] = -std::numeric_limits<double>::infinity();
    const Doubles y = numbers(n, 2), dy = numbers(n, 3);
    this->compare(label("softmax", s),
                  [&](auto& side) { side.k.softmax(s.rows, s.cols, side.input(x), side.output("y", n, 0)); });
    this->compare(label("log_softmax", s), [&](auto& side) {
      side.k.log_softmax(s.rows, s.cols, side.input(x), side.output("y", n, 0));
    });
    for (const double beta : {0.0, 1.0}) {
      this->compare(label("softmax_backward", s, beta), [&](auto& side) {
        using V = typename std::decay_t<decltype(side)>::Value;
        side.k.softmax_backward(s.rows, s.cols, side.input(y), side.input(dy), V(beta),
                                side.output("dx", n, beta));
      });
      this->compare(label("log_softmax_backward", s, beta), [&](auto& side) {
        using V = typename std::decay_t<decltype(side)>::Value;
        side.k.log_softmax_backward(s.rows, s.cols, side.input(y), side.input(dy), V(beta),
                                    side.output("dx", n, beta));
      });
    }
  }
}

TYPED_TEST(CudaKernel, LayerNormOfNearlyConstantRows) {
  Doubles x = numbers(3 * 48, 1, 0.01);
  for (double& v : x) v = static_cast<double>(static_cast<float>(1000 + v));
  this->compare("layer_norm of rows near 1000", [&](auto& side) {
    using V = typename std::decay_t<decltype(side)>::Value;
    const V* ones = side.input(Doubles(48, 1.0));
    side.k.layer_norm({.rows = 3,
                       .cols = 48,
                       .x = side.input(x),
                       .gamma = ones,
                       .beta = ones,
                       .eps = V(1e-12),
                       .y = side.output("y", 3 * 48, 0)});
  });
}

TYPED_TEST(CudaKernel, LayerNorm) {
  for (const Size s : TestFixture::sizes()) {
    const std::int64_t n = s.rows * s.cols;
    const Doubles x = numbers(n, 1), bias = numbers(s.cols, 2), residual = numbers(n, 3),
                  gamma = numbers(s.cols, 4), shift = numbers(s.cols, 5);
    for (int form = 0; form < 8; ++form) {
      const bool with_bias = (form & 1) != 0, with_residual = (form & 2) != 0, kept = (form & 4) != 0;
      for (const Dropout& dropout : {kNoDropout, kSomeDropout}) {
        const auto what = fmt::format("{} bias {} residual {} p {}", label("layer_norm", s), with_bias,
                                      with_residual, dropout.p);
        this->compare(what, [&](auto& side) {
          using V = typename std::decay_t<decltype(side)>::Value;
          side.k.layer_norm({s.rows, s.cols, side.input(x), with_bias ? side.input(bias) : nullptr, dropout,
                             with_residual ? side.input(residual) : nullptr, side.input(gamma),
                             side.input(shift), V(0.5), side.output("y", n, 0),
                             kept ? side.output("xhat", n, 0) : nullptr,
                             kept ? side.output("rstd", s.rows, 0) : nullptr});
        });
      }
    }
    const Doubles rstd = numbers(s.rows, 6), dy = numbers(n, 7);
    for (int form = 1; form < 4; ++form) {
      const bool to_residual = (form & 1) != 0, to_x = (form & 2) != 0;
      for (const double beta : {0.0, 1.0}) {
        for (const Dropout& dropout : {kNoDropout, kSomeDropout}) {
          const auto what =
              fmt::format("{} form {} p {}", label("layer_norm_backward", s, beta), form, dropout.p);
          this->compare(what, [&](auto& side) {
            using V = typename std::decay_t<decltype(side)>::Value;
            side.k.layer_norm_backward({s.rows,
                                        s.cols,
                                        side.input(x),
                                        side.input(rstd),
                                        side.input(gamma),
                                        side.input(dy),
                                        dropout,
                                        {to_residual ? side.output("dresidual", n, beta) : nullptr, V(beta)},
                                        {to_x ? side.output("dx", n, 1 - beta) : nullptr, V(1 - beta)}});
          });
        }
      }
    }
    for (const double beta : {0.0, 1.0}) {
      this->compare(label("layer_norm_parameters_backward", s, beta), [&](auto& side) {
        using V = typename std::decay_t<decltype(side)>::Value;
        side.k.layer_norm_parameters_backward({s.rows,
                                               s.cols,
                                               side.input(x),
                                               side.input(dy),
                                               {side.output("dgamma", s.cols, beta), V(beta)},
                                               {side.output("dbeta", s.cols, 1 - beta), V(1 - beta)}});
      });
    }
  }
}

TYPED_TEST(CudaKernel, RowsByIndex) {
  for (const Size s : TestFixture::sizes()) {
    for (const std::int32_t table_rows : {1, 7, 100}) {
      std::mt19937 random(5);
      std::vector<std::int32_t> index(static_cast<std::size_t>(s.rows)), other(index.size());
      for (auto& i : index) i = static_cast<std::int32_t>(random() % static_cast<unsigned>(table_rows));
      for (auto& i : other) i = static_cast<std::int32_t>(random() % static_cast<unsigned>(table_rows));
      const std::int64_t n = s.rows * s.cols;
      const Doubles table = numbers(table_rows * s.cols, 1), x = numbers(n, 2);
      this->compare(label("gather_rows", s), [&](auto& side) {
        side.k.gather_rows(s.rows, s.cols, side.input(table), side.raw(index), side.output("y", n, 0));
      });
      this->compare(
          fmt::format("{} into {}", label("scatter_add_rows", s), table_rows),
          [&](auto& side) {
            side.k.scatter_add_rows(s.rows, s.cols, side.input(x), side.raw(index),
                                    side.updated("table", table));
          },
          tolerance<typename TypeParam::Value>(1e-4));
      this->compare(label("add_gathered_rows", s), [&](auto& side) {
        side.k.add_gathered_rows(s.rows, s.cols, side.input(x), side.input(table), side.raw(index),
                                 side.input(table), side.raw(other), side.output("y", n, 0));
      });
    }
  }
}

TYPED_TEST(CudaKernel, RowsByIndexInSeveralTiles) {
  const std::int64_t n = 600, cols = 3;
  std::vector<std::int32_t> index;
  index.reserve(static_cast<std::size_t>(n));
  for (std::int32_t i = 0; i < n; ++i) index.push_back(i % 5 == 0 ? 1 : i / 3);
  this->compare(
      "scatter_add_rows of 600",
      [&](auto& side) {
        side.k.scatter_add_rows(n, cols, side.input(numbers(n * cols, 1)), side.raw(index),
                                side.updated("table", numbers(200 * cols, 2)));
      },
      tolerance<typename TypeParam::Value>(1e-4));
}

TYPED_TEST(CudaKernel, SequenceMeans) {
  for (const Batch& batch : {Batch{}, Batch{1}, Batch({5, 1, 33}, 3), Batch{130, 2}}) {
    for (const std::int64_t cols : {1, 33, 300}) {
      const std::int64_t n = batch.tokens() * cols, count = static_cast<std::int64_t>(batch.lengths.size());
      const Size s{batch.tokens(), cols};
      this->compare(label("sequence_mean", s), [&](auto& side) {
        side.k.sequence_mean(on(side, batch), cols, side.input(numbers(n, 1)),
                             side.output("mean", count * cols, 0));
      });
      for (const double beta : {0.0, 1.0}) {
        this->compare(label("sequence_mean_backward", s, beta), [&](auto& side) {
          using V = typename std::decay_t<decltype(side)>::Value;
          side.k.sequence_mean_backward(on(side, batch), cols, side.input(numbers(count * cols, 2)), V(beta),
                                        side.output("dx", n, beta));
        });
      }
    }
  }
}

TYPED_TEST(CudaKernel, SumsOfAll) {
  for (const std::int64_t n : TestFixture::lengths()) {
    const Doubles x = numbers(n, 1), y = numbers(n, 2);
    this->compare(fmt::format("sum of {}", n),
                  [&](auto& side) { side.k.sum(n, side.input(x), side.output("out", 1, 0)); });
    this->compare(fmt::format("dot of {}", n),
                  [&](auto& side) { side.k.dot(n, side.input(x), side.input(y), side.scalar("out")); });
    this->compare(fmt::format("squares of rows of {}", n), [&](auto& side) {
      const std::int32_t* index = side.raw(std::vector<std::int32_t>{2, 0, 2});
      const auto* table = side.input(numbers(3 * n, 3));
      double* out = side.scalars("out", 3);
      side.k.squares_of_rows(3, n, table, index, out);
    });
    for (const bool all_bad : {false, true}) {
      Doubles z = x;
      for (std::size_t i = 0; i < z.size(); ++i) {
        if (all_bad || i % 7 == 3)
          z[i] =
              i % 2 == 0 ? std::numeric_limits<double>::quiet_NaN() : std::numeric_limits<double>::infinity();
      }
      this->compare(fmt::format("range of {}", n), [&](auto& side) {
        const Range r = side.k.range(n, side.input(z));
        side.updated("range", {r.smallest, r.largest, static_cast<double>(r.non_finite)});
      });
    }
  }
}

TYPED_TEST(CudaKernel, Losses) {
  for (const Size s : TestFixture::sizes()) {
    const std::int64_t n = s.rows * s.cols;
    const Doubles a = numbers(n, 1), b = numbers(n, 2), w = numbers(s.rows, 3);
    Doubles target = numbers(n, 4), log_p = a;
    for (std::size_t i = 0; i < target.size(); i += 3) {
      target[i] = 0;
      log_p[i] = -std::numeric_limits<double>::infinity();
    }
    this->compare(label("cross_entropy", s), [&](auto& side) {
      side.k.cross_entropy(s.rows, s.cols, side.input(log_p), side.input(target), side.output("out", 1, 0));
    });
    for (const bool weighted : {false, true}) {
      const auto maybe = [&](auto& side) { return weighted ? side.input(w) : nullptr; };
      this->compare(label("squared_error", s), [&](auto& side) {
        using V = typename std::decay_t<decltype(side)>::Value;
        side.k.squared_error(s.rows, s.cols, maybe(side), V(0.25), side.input(a), side.input(b),
                             side.output("out", 1, 0));
      });
      for (const double beta : {0.0, 1.0}) {
        this->compare(label("squared_error_backward", s, beta), [&](auto& side) {
          using V = typename std::decay_t<decltype(side)>::Value;
          side.k.squared_error_backward(s.rows, s.cols, maybe(side), V(0.25), side.input(a), side.input(b),
                                        V(beta), side.output("da", n, beta));
        });
      }
    }
    for (const double beta : {0.0, 1.0}) {
      this->compare(label("cross_entropy_backward", s, beta), [&](auto& side) {
        using V = typename std::decay_t<decltype(side)>::Value;
        side.k.cross_entropy_backward(s.rows, s.cols, side.input(log_p), side.input(target), V(0.25), V(beta),
                                      side.output("dz", n, beta));
      });
    }
  }
}

TYPED_TEST(CudaKernel, AdamW) {
  const auto step = [](bool decay_first, double size) {
    return math::AdamStep{.epsilon = 1e-6,
                          .decay = 0.99,
                          .step_size = size,
                          .inv_sqrt_bias2 = 1.5,
                          .gradient_scale = 0.5,
                          .decay_first = decay_first};
  };
  const auto positive = [](Doubles v) {
    for (double& x : v) x = std::abs(x);
    return v;
  };
  for (const std::int64_t n : TestFixture::lengths()) {
    this->compare(fmt::format("adamw of {}", n), [&](auto& side) {
      side.k.adamw(n, step(n % 2 == 0, 0.125), side.updated("w", numbers(n, 1)), side.input(numbers(n, 2)),
                   side.updated("m", numbers(n, 3)), side.updated("v", positive(numbers(n, 4))));
    });
  }
  const std::int64_t table_rows = 9, cols = 33, n = table_rows * cols;
  const std::vector<std::int32_t> rows{7, 0, 3, 8};
  this->compare("adamw_rows", [&](auto& side) {
    side.k.adamw_rows(4, cols, side.raw(rows), step(true, 0.125), side.updated("w", numbers(n, 1)),
                      side.input(numbers(n, 2)), side.updated("m", numbers(n, 3)),
                      side.updated("v", positive(numbers(n, 4))));
  });
  const std::vector<math::AdamStep> steps{step(true, 0.125), step(false, 0.25), step(true, 0.0625)};
  this->compare("adamw_catch_up", [&](auto& side) {
    std::int32_t* behind = side.indices_out("behind", {0, 1, 2, 1, 0, 0, 3, 2, 3});
    side.k.adamw_catch_up(4, cols, side.raw(rows), side.raw(steps), 3, behind,
                          side.updated("w", numbers(n, 1)), side.updated("m", numbers(n, 3)),
                          side.updated("v", positive(numbers(n, 4))));
  });
}

}  // namespace
}  // namespace costeff::testing
