// How work is cut: every element once, whatever the size; what a device may be asked for.
#include "tensor/cuda/launch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tensor/cuda/runtime.h"
#include "tensor/error.h"
#include "tests/tensor/kernel_test.h"

namespace costeff::testing {
namespace {

constexpr std::array<std::int64_t, 12> kCounts{1,    31,   32,   33,    255,     257,
                                               1000, 1024, 1025, 65537, 1 << 20, (1 << 24) + 3};

TEST(CudaLaunch, ThreadsOfElementwiseKernelsCoverEveryGroupOnce) {
  for (const std::int64_t n : kCounts) {
    const cuda::Launch l = cuda::elementwise_launch(n);
    const std::int64_t threads = std::int64_t{l.grid_x} * l.threads,
                       groups = cuda::divided_up(n, cuda::kGroup);
    // In strides of the grid each group has one thread; a grid of one block more would have idle ones.
    EXPECT_GT(threads, 0) << n;
    EXPECT_TRUE(threads - l.threads < groups) << n << ": a block has nothing to do";
    EXPECT_TRUE(threads >= groups || l.grid_x == cuda::kMostBlocks) << n;
  }
  EXPECT_TRUE(cuda::elementwise_launch(0).empty());
}

TEST(CudaLaunch, BlocksHaveWholeWarpsThatHaveWork) {
  for (const std::int64_t rows : kCounts) {
    for (const std::int64_t items : kCounts) {
      const cuda::Launch l = cuda::rows_launch(rows, items);
      EXPECT_EQ(l.threads % cuda::kWarp, 0);
      EXPECT_GE(l.threads, cuda::kWarp);
      EXPECT_LE(l.threads, cuda::kThreads);
      EXPECT_LT(l.threads - cuda::kWarp, items) << "a warp has nothing to do";
      EXPECT_LE(l.grid_x, rows);
    }
  }
  EXPECT_TRUE(cuda::rows_launch(0, 5).empty());
}

TEST(CudaLaunch, ChunksOfRowsCoverEveryRowOnce) {
  for (const std::int64_t rows : kCounts) {
    const cuda::ColumnSums cut = cuda::column_sums(rows);
    EXPECT_LE(cut.chunks, cuda::kMostChunks) << rows;
    EXPECT_GE(cut.chunks * cut.rows_per_chunk, rows);
    EXPECT_LT((cut.chunks - 1) * cut.rows_per_chunk, rows)
        << "the last of the chunks of " << rows << " is empty";
    for (const std::int64_t cols : kCounts) {
      const cuda::Launch l = cuda::column_sums_launch(rows, cols);
      EXPECT_EQ(l.grid_y, cut.chunks);
      EXPECT_GE(l.grid_x * cuda::kWarp, cols);
      EXPECT_LT((l.grid_x - 1) * cuda::kWarp, cols);
      // The last element that the last block writes of the last of two sums.
      EXPECT_EQ(cuda::column_sums_workspace(rows, cols, 2), (cut.chunks + cut.chunks - 1) * cols + cols);
    }
  }
  EXPECT_EQ(cuda::column_sums(0).chunks, 0);
}

TEST(CudaLaunch, ReductionsHaveAPartialSumEvenOfNothing) {
  EXPECT_EQ(cuda::reduction_partials(0), 1);
  for (const std::int64_t n : kCounts) {
    const std::int64_t partials = cuda::reduction_partials(n);
    EXPECT_GE(partials, 1);
    EXPECT_LE(partials, cuda::kMostPartials);
    EXPECT_TRUE((partials - 1) * 4 * cuda::kThreads < n) << n;
  }
}

TEST(CudaLaunch, AttentionTilesCoverEveryRowOfThePaddedBatch) {
  for (const std::int64_t longest : {1, 15, 16, 17, 128, 500}) {
    const cuda::Launch l = cuda::attention_launch(70000, 12, longest, 0);
    std::vector<int> rows(static_cast<std::size_t>(longest));
    const std::int64_t warps = l.threads / cuda::kWarp;
    for (std::int64_t block = 0; block < l.grid_x; ++block) {
      for (std::int64_t r = 0; r < warps * cuda::kRowsOfWarp; ++r) {
        const std::int64_t row = block * cuda::kTileRows + r;
        if (row < longest) ++rows[static_cast<std::size_t>(row)];
      }
    }
    EXPECT_EQ(rows, std::vector<int>(rows.size(), 1)) << longest;
    EXPECT_LE(l.grid_z, 65535U) << "more than CUDA allows";
  }
}

TEST(CudaLaunch, AttentionOfBertFitsTheSharedMemoryThatNobodyAsksFor) {
  constexpr std::int64_t kWithoutAsking = 48 << 10, kOfA100 = 163 << 10;
  EXPECT_LE(cuda::attention_keys_shared(64) * 4, kWithoutAsking);
  EXPECT_LE(cuda::attention_keys_shared(128) * 8, kOfA100);
  for (const std::int64_t d : {1, 3, 64}) {
    EXPECT_EQ(cuda::padded_dim(d) % cuda::kGroup, 0);
    EXPECT_LT(cuda::padded_dim(d) - d, cuda::kGroup);
  }
}

TEST(CudaLaunch, AttentionOnTensorCoresCoversEveryRowAndKeepsItsRowsInDifferentBanks) {
  for (const std::int64_t longest : {1, 63, 64, 65, 500}) {
    const cuda::Launch l = cuda::attention_bf16_launch(70000, 12, longest, 64, 1);
    EXPECT_GE(l.grid_x * cuda::kRowsOfBlock, longest);
    EXPECT_LT((l.grid_x - 1) * cuda::kRowsOfBlock, longest) << "a block has nothing to do";
    EXPECT_EQ(l.threads / cuda::kWarp * 16, cuda::kRowsOfBlock);
    EXPECT_LE(l.grid_z, 65535U) << "more than CUDA allows";
  }
  for (const std::int64_t d : {1, 16, 17, 32, 64, 72, 128, 256}) {
    EXPECT_GE(2 * cuda::tile_stride(d), d);
    std::vector<int> banks(32);  // of lane 4 g + t, which reads word t of row g
    for (std::int64_t lane = 0; lane < 32; ++lane)
      ++banks[static_cast<std::size_t>((lane / 4 * cuda::tile_stride(d) + lane % 4) % 32)];
    EXPECT_EQ(banks, std::vector<int>(32, 1)) << d;
  }
  constexpr std::size_t kWithoutAsking = 48 << 10, kOfA100 = 163 << 10;
  EXPECT_LE(cuda::attention_bf16_launch(1, 1, 1, 64, 2).shared, kWithoutAsking);
  EXPECT_LE(cuda::attention_bf16_launch(1, 1, 1, 256, 2).shared, kOfA100);
}

TEST(CudaRuntime, SaysInASentenceWhyThereIsNoDevice) {
  const std::string reason = cuda::unavailable();
  if (reason.empty()) GTEST_SKIP() << "there is a device";
  EXPECT_TRUE(reason.find("no CUDA") != std::string::npos) << reason;
  EXPECT_TRUE(cuda::devices().empty());
  const auto message_of = [](auto&& f) -> std::string {
    try {
      f();
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_EQ(message_of([] { cuda::memory(0); }), reason);
  EXPECT_EQ(message_of([] { cuda::kernels<float>(0); }), reason);
  EXPECT_EQ(message_of([] { cuda::kernels<double>(0); }), reason);
}

TEST(CudaRuntime, ShowsTheDevice) {
  if (!cuda::unavailable().empty()) GTEST_SKIP() << cuda::unavailable();
  const std::vector<cuda::DeviceInfo> devices = cuda::devices();
  ASSERT_FALSE(devices.empty());
  EXPECT_GE(devices[0].major, 8);
  EXPECT_GT(devices[0].memory, devices[0].free_memory);
  DeviceMemory& memory = cuda::memory(0);
  const std::vector<int> values{1, 2, 3};
  const std::size_t bytes = values.size() * sizeof(int);
  void *a = memory.allocate(bytes), *b = memory.allocate(bytes);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a) % 256, 0U);
  memory.copy_in(a, values.data(), bytes);
  memory.copy_within(b, a, bytes);
  memory.zero(a, bytes);
  std::vector<int> back(3, 9), zeros(3, 9);
  memory.copy_out(back.data(), b, bytes);
  memory.copy_out(zeros.data(), a, bytes);
  EXPECT_EQ(back, values);
  EXPECT_EQ(zeros, std::vector<int>(3, 0));
  EXPECT_EQ(memory.allocate(std::size_t{1} << 50), nullptr) << "more than any card has";
  memory.release(a);
  memory.release(b);
}

}  // namespace
}  // namespace costeff::testing
