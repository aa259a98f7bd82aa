// The tables themselves, the matrix product, thread counts, and what the backend says of itself.
#include "tensor/backend.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "tensor/error.h"
#include "tests/tensor/kernel_test.h"

namespace costeff::testing {
namespace {

template <class T>
class Backend : public ::testing::Test {};
TYPED_TEST_SUITE(Backend, KernelTypes);

TYPED_TEST(Backend, EveryTableIsComplete) {
  using T = TypeParam;
  for_each_isa<T>([](const Kernels<T>& k) {
    static_assert(sizeof(k) % sizeof(void*) == 0, "a table holds nothing but functions");
    std::array<void*, sizeof(k) / sizeof(void*)> entries;
    std::memcpy(entries.data(), &k, sizeof k);
    const bool mixed = std::is_same_v<T, float>;  // mixed precision is of f32
    EXPECT_EQ(k.gemm_bf16 != nullptr, mixed);
    EXPECT_EQ(k.attention_bf16 != nullptr, mixed);
    EXPECT_EQ(k.attention_bf16_backward != nullptr, mixed);
    EXPECT_EQ(std::count(entries.begin(), entries.end(), nullptr), mixed ? 0 : 3);
  });
}

TEST(BackendOfBf16, GemmMatchesPlainLoops) {
  for_each_isa<float>([](const Kernels<float>& k) {
    constexpr std::int64_t m = 45, n = 23, depth = 31;
    for (int form = 0; form < 8; ++form) {
      const bool trans_a = (form & 1) != 0, trans_b = (form & 2) != 0;
      const float beta = (form & 4) != 0 ? 1.0F : 0.0F;
      const std::int64_t lda = (trans_a ? m : depth) + 2, ldb = (trans_b ? depth : n) + 1;
      std::vector<bf16> a, b;
      for (const float x : random_values<float>((trans_a ? depth : m) * lda, 61)) a.push_back(to_bf16(x));
      for (const float x : random_values<float>((trans_b ? n : depth) * ldb, 62)) b.push_back(to_bf16(x));
      auto c = old_content<float>(m * n, beta);
      Doubles expected(c.begin(), c.end());
      for (std::int64_t i = 0; i < m; ++i) {
        for (std::int64_t j = 0; j < n; ++j) {
          double sum = 0;
          for (std::int64_t l = 0; l < depth; ++l) {
            sum +=
                static_cast<double>(
                    to_f32(a[static_cast<std::size_t>(trans_a ? l * lda + i : i * lda + l)])) *
                static_cast<double>(to_f32(b[static_cast<std::size_t>(trans_b ? j * ldb + l : l * ldb + j)]));
          }
          const auto at = static_cast<std::size_t>(i * n + j);
          expected[at] = blended(sum, beta, c[at]);
        }
      }
      k.gemm_bf16(factor(a.data(), m, depth, lda, trans_a), factor(b.data(), depth, n, ldb, trans_b),
                  {c.data(), beta});
      for (std::size_t i = 0; i < c.size(); ++i) {
        ASSERT_NEAR(c[i], expected[i], 1e-5) << "form " << form << ", element " << i;
      }
    }
  });
}

// With b alone transposed, a few rows and a small b are paths of their own (tensor/cpu/few_rows.cpp,
// small_weight.cpp).
template <class T>
void compare_gemm(const Kernels<T>& k, bool trans_a, bool trans_b, std::int64_t m, std::int64_t n,
                  std::int64_t depth, T keep) {
  const std::int64_t lda = (trans_a ? m : depth) + 2, ldb = (trans_b ? depth : n) + 1;
  const auto a = random_values<T>((trans_a ? depth : m) * lda, 61),
             b = random_values<T>((trans_b ? n : depth) * ldb, 62);
  auto c = old_content<T>(m * n, keep);
  Doubles expected;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t p = 0; p < depth; ++p) {
        sum += static_cast<double>(a[static_cast<std::size_t>(trans_a ? p * lda + i : i * lda + p)]) *
               static_cast<double>(b[static_cast<std::size_t>(trans_b ? j * ldb + p : p * ldb + j)]);
      }
      expected.push_back(blended(sum, keep, c[static_cast<std::size_t>(i * n + j)]));
    }
  }
  k.gemm(factor(a.data(), m, depth, lda, trans_a), factor(b.data(), depth, n, ldb, trans_b),
         {c.data(), keep});
  // A sum of `depth` products in f32: an ulp a term at most, less where they are added in lanes.
  expect_close(c, expected, tolerance<T>(0x1p-23 * static_cast<double>(depth + 8)));
}

TYPED_TEST(Backend, GemmMatchesPlainLoops) {
  using T = TypeParam;
  struct Case {
    std::int64_t m, n, depth;
  };
  const Case cases[] = {{1, 1, 1},   {5, 3, 7},   {17, 33, 64}, {4, 6, 0},     {0, 3, 2},
                        {3, 0, 2},   {6, 4, 16},  {7, 9, 17},   {40, 10, 31},  {41, 10, 31},
                        {2, 5, 130}, {3, 66, 40}, {11, 4, 33},  {10, 301, 200}};
  for_each_isa<T>([&](const Kernels<T>& k) {
    for (const auto [m, n, depth] : cases) {
      for (const bool trans_a : {false, true}) {
        for (const bool trans_b : {false, true}) {
          for (const T keep : {T(0), T(1)}) compare_gemm(k, trans_a, trans_b, m, n, depth, keep);
        }
      }
    }
  });
}

// Whole strips of b and parts of one, along n and k; and what a few rows of a large b take.
TYPED_TEST(Backend, GemmOfASmallWeightMatchesPlainLoops) {
  using T = TypeParam;
  const int before = threads();
  set_threads(3);
  for_each_isa<T>([](const Kernels<T>& k) {
    for (const T beta : {T(0), T(1)}) {
      compare_gemm(k, false, true, 41, 128, 64, beta);
      compare_gemm(k, false, true, 157, 71, 33, beta);
      compare_gemm(k, false, true, 50, 66, 530, beta);
      compare_gemm(k, false, true, 49, 3, 512, beta);
      compare_gemm(k, false, true, 13, 331, 300, beta);
    }
  });
  set_threads(before);
}

// Row sums and the like are split between threads in ways that may not change a bit.
TYPED_TEST(Backend, ResultsDoNotDependOnTheNumberOfThreads) {
  using T = TypeParam;
  constexpr std::int64_t kRows = 300, kCols = 520;
  const auto x = random_values<T>(kRows * kCols, 63), y = random_values<T>(kRows * kCols, 64),
             bias = random_values<T>(kCols, 65);
  const std::int32_t offsets[] = {0, 100, 130, 300}, lengths[] = {100, 30, 150};
  const std::int64_t pairs[] = {0, 10000, 10900, 39800};
  const Sequences sequences{3, offsets, lengths, pairs, 170};
  const auto qkv = random_values<T>(kRows * 3 * 4 * 32, 66), dout = random_values<T>(kRows * 4 * 32, 67);
  const int before = threads();
  std::vector<std::vector<T>> results;
  for (const int count : {1, 2, 3}) {
    set_threads(count);
    EXPECT_EQ(threads(), count);
    EXPECT_EQ(cpu_info().blas_threads, count);
    const Kernels<T>& k = kernels<T>(kCpu);
    std::vector<T> all;
    const auto keep = [&](const std::vector<T>& part) { all.insert(all.end(), part.begin(), part.end()); };
    std::vector<T> sum(kCols), dx(x.size()), dbias(kCols), scalar(1), dgamma(kCols), dbeta(kCols),
        rstd(kRows), xhat(x.size());
    k.sum_rows(kRows, kCols, x.data(), T(0), sum.data());
    k.bias_gelu_backward({kRows, kCols, x.data(), bias.data(), y.data(), {dx.data()}, {dbias.data()}});
    k.squared_error(kRows, kCols, nullptr, T(1), x.data(), y.data(), scalar.data());
    k.layer_norm_parameters_backward({kRows, kCols, x.data(), y.data(), {dgamma.data()}, {dbeta.data()}});
    for (const auto& part : {sum, dx, dbias, scalar, dgamma, dbeta}) keep(part);
    k.layer_norm({kRows, kCols, x.data(), bias.data(), kSomeDropout, y.data(), bias.data(), bias.data(),
                  T(1e-5), dx.data(), xhat.data(), rstd.data()});
    for (const auto& part : {dx, xhat, rstd}) keep(part);
    std::vector<T> workspace(static_cast<std::size_t>(k.attention_workspace(170, 32))), p(4 * 39800),
        out(dout.size());
    std::vector<T> dqkv(qkv.size());
    k.attention({sequences, 4, 32, kSomeDropout, qkv.data(), out.data(), p.data(), workspace.data()});
    k.attention_backward(
        {sequences, 4, 32, kSomeDropout, qkv.data(), p.data(), dout.data(), {dqkv.data()}, workspace.data()});
    for (const auto& part : {out, p, dqkv}) keep(part);
    results.push_back(std::move(all));
  }
  set_threads(before);
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST(BackendChoice, RefusesWhatItHasNot) {
  EXPECT_THROW(set_threads(0), Error);
  try {
    kernels<float>(Device{Device::Type::cuda, 127});
    FAIL() << "no machine has 128 GPUs";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("CUDA"), std::string::npos) << error.what();
  }
}

// The test starts itself in a new process, which tunes itself, is started again, and must come to rest with
// the settings made.
TEST(BackendChoice, TuningStartsAProcessAgainOnce) {
  constexpr const char* kInside = "COSTEFF_TEST_TUNING";
  std::string program = "/proc/self/exe",
              filter = "--gtest_filter=BackendChoice.TuningStartsAProcessAgainOnce";
  char* arguments[] = {program.data(), filter.data(), nullptr};
  if (std::getenv(kInside) != nullptr) {
    tune_process(arguments);  // comes back in the process it starts
    EXPECT_NE(std::getenv("GOMP_SPINCOUNT"), nullptr);
    EXPECT_STREQ(std::getenv("OPENBLAS_CORETYPE"), "NEHALEM") << "what the user set stays";
    EXPECT_EQ(std::getenv("COSTEFF_TUNED"), nullptr);
    std::string name;
    std::getline(std::ifstream("/proc/self/comm"), name);
    EXPECT_EQ(name, "test_tensor") << "what ps and pkill know it by";
    return;
  }
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    setenv(kInside, "1", 1);
    setenv("OPENBLAS_CORETYPE", "NEHALEM", 1);
    unsetenv("GOMP_SPINCOUNT");
    unsetenv("OMP_WAIT_POLICY");
    execv(arguments[0], arguments);
    _exit(127);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

TEST(BackendChoice, SaysWhatItRunsOn) {
  const CpuInfo info = cpu_info();
  EXPECT_FALSE(info.processor.empty());
  EXPECT_EQ(info.blas.rfind("OpenBLAS ", 0), 0u) << info.blas;
  EXPECT_FALSE(info.blas_kernels.empty());
  EXPECT_GE(info.blas_threads, 1);
  EXPECT_GE(available_cores(), 1);
  EXPECT_NE(info.isa.find(std::string(name_of(best_isa()))), std::string::npos);
}

}  // namespace
}  // namespace costeff::testing
