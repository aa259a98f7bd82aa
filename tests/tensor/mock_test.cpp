// Tensors and the allocator on a device that is not the CPU, and the mock device's own strictness.
#include "tests/mock/mock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tensor/backend.h"
#include "tensor/error.h"
#include "tensor/svd.h"
#include "tensor/tensor.h"

namespace costeff::testing {
namespace {

using mock::kMock;
using ::testing::HasSubstr;

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

class Mock : public ::testing::Test {
 protected:
  Mock() { mock::install(); }
  ~Mock() override {
    mock::set_memory(mock::kMemory);
    empty_allocator_cache(kMock);
  }

  const Kernels<float>& k() const { return kernels<float>(kMock); }
  static float* data(const Tensor& t) { return t.data<float>(); }
  static Tensor on_mock(const Shape& shape) { return Tensor::full(shape, 2, DType::f32, kMock); }
};

using MockTensor = Mock;
using MockContract = Mock;
using MockAllocator = Mock;

TEST_F(MockTensor, GoesThereAndBack) {
  const float values[] = {1, 2, 3, 4, 5, 6};
  const Tensor here = Tensor::from<float>(values, {3, 2});
  const Tensor there = here.to(kMock);
  EXPECT_EQ(there.device(), kMock);
  EXPECT_EQ(there.at(4), 5);
  EXPECT_EQ(there.slice(1, 2).to(kCpu).at(1), 4);
  EXPECT_TRUE(there.to(kMock).shares_storage(there));
  const Tensor copy = there.clone();
  there.fill(7);
  EXPECT_EQ(copy.at(5), 6);
  EXPECT_EQ(there.at(5), 7);
  there.slice(0, 1).copy_from(here.slice(2, 3));  // from the host
  EXPECT_EQ(there.at(0), 5);
  there.slice(2, 3).copy_from(copy.slice(0, 1).to(DType::f64));  // another dtype, on the device
  EXPECT_EQ(there.at(5), 2);
  EXPECT_EQ(Tensor::full({3}, 9, DType::i32, kMock).at(2), 9);
  EXPECT_EQ(Tensor::full({3}, 0.5, DType::bf16, kMock).at(2), 0.5);
  EXPECT_EQ(Tensor::zeros({}, DType::f64, kMock).item(), 0);
}

TEST_F(MockTensor, IsOneTransferEachWay) {
  const Tensor here = Tensor::zeros({100, 7}, DType::f32);
  const mock::Counts before = mock::counts();
  const Tensor there = here.to(kMock);
  EXPECT_EQ(mock::counts().copies_in, before.copies_in + 1);
  EXPECT_EQ(there.clone().device(), kMock);
  EXPECT_EQ(mock::counts().copies_out, before.copies_out);
  EXPECT_EQ(there.to(kCpu).at(699), 0);
  EXPECT_EQ(mock::counts().copies_out, before.copies_out + 1);
}

TEST_F(MockTensor, IsNotTheHostsToRead) {
  const Tensor t = on_mock({2});
  EXPECT_THAT(error_of([&] { t.host<float>(); }), HasSubstr("f32 [2] is on mock"));
  EXPECT_THAT(error_of([&] { t.span<float>(); }), HasSubstr("to(kCpu)"));
  EXPECT_DEATH(data(t)[0] = 1, "");
  EXPECT_DEATH(static_cast<void>(*static_cast<volatile float*>(data(t))), "");
}

TEST_F(MockTensor, BeginsAsNaN) {
  EXPECT_TRUE(std::isnan(Tensor::empty({1 << 20}, DType::f64, kMock).at(77)));
}

TEST_F(MockTensor, SvdIsTheHosts) {
  const float values[] = {3, 0, 0, 2, 0, 0};
  const Tensor w = Tensor::from<float>(values, {3, 2});
  const TruncatedSvd here = truncated_svd(w, 1), there = truncated_svd(w.to(kMock), 1);
  EXPECT_EQ(there.left.device(), kCpu);
  for (std::int64_t i = 0; i < 3; ++i) EXPECT_EQ(there.left.at(i), here.left.at(i));
}

TEST_F(MockContract, RefusesArraysThatAreTooShort) {
  const Tensor x = on_mock({6}), y = on_mock({4096}), w = on_mock({2});
  EXPECT_THAT(error_of([&] { k().add(4096, data(x), data(y), data(y)); }),
              HasSubstr("mock: add: a: 16384 bytes"));
  EXPECT_THAT(error_of([&] { k().sum_rows(2048, 2, data(x), 0, data(w)); }), HasSubstr("sum_rows: x"));
  EXPECT_THAT(error_of([&] {
                k().gemm({data(x), 3, 512, 2}, {data(y), 512, 4, 512, true}, {data(w)});
              }),
              HasSubstr("gemm: a"));
}

TEST_F(MockContract, RefusesTheHostsArrays) {
  const Tensor here = Tensor::zeros({8}, DType::f32), there = on_mock({8});
  EXPECT_THAT(error_of([&] { k().tanh(8, data(here), data(there)); }), HasSubstr("mock: tanh: x: 32 bytes"));
  EXPECT_THAT(error_of([&] { k().tanh(8, data(there), data(here)); }), HasSubstr("mock: tanh: y"));
  double squares = 0;
  EXPECT_THAT(error_of([&] { k().dot(8, data(there), data(there), &squares); }), HasSubstr("mock: dot: out"));
  const std::int32_t rows[] = {0, 1};
  EXPECT_THAT(error_of([&] { k().gather_rows(2, 2, data(there), rows, data(there)); }), HasSubstr("index"));
}

TEST_F(MockContract, RefusesAnIndexOutsideTheTable) {
  const std::int32_t rows[] = {0, 4096};
  const Tensor index = Tensor::from<std::int32_t>(rows, {2}).to(kMock), table = on_mock({4, 2}),
               y = on_mock({2, 2});
  EXPECT_THAT(error_of([&] { k().gather_rows(2, 2, data(table), index.data<std::int32_t>(), data(y)); }),
              HasSubstr("mock: gather_rows: table"));
}

TEST_F(MockContract, RefusesOutputsThatOverlap) {
  const Tensor x = on_mock({8});
  k().scale(8, 2, data(x), 0, data(x));  // in place: allowed
  EXPECT_EQ(x.at(7), 4);
  EXPECT_THAT(error_of([&] { k().scale(6, 2, data(x), 0, data(x) + 1); }),
              HasSubstr("y, which it writes, overlaps x"));
  EXPECT_THAT(error_of([&] { k().tanh_backward(8, data(x), data(x), 0, data(x)); }), HasSubstr("dx"));
  EXPECT_THAT(error_of([&] { k().sum_rows(4, 2, data(x), 0, data(x)); }), HasSubstr("sum, which it writes"));
}

TEST_F(MockContract, RefusesWhatIsNotAligned) {
  const Tensor x = on_mock({8});
  auto* odd = reinterpret_cast<float*>(static_cast<std::byte*>(x.raw()) + 2);
  EXPECT_THAT(error_of([&] { k().sum(4, odd, data(x) + 7); }), HasSubstr("not aligned to 4 bytes"));
}

TEST_F(MockContract, RefusesMemoryThatWasGivenBack) {
  float* gone = nullptr;
  {
    const Tensor x = on_mock({8});
    gone = data(x);
  }
  empty_allocator_cache(kMock);
  const Tensor out = Tensor::empty({1 << 20}, DType::f32, kMock);
  EXPECT_THAT(error_of([&] { k().sum(1 << 21, gone, data(out)); }), HasSubstr("mock: sum: x"));
}

TEST_F(MockContract, CoversEveryKernel) {
  const auto* slots = reinterpret_cast<void (*const*)()>(&k());
  for (std::size_t i = 0; i < sizeof(Kernels<float>) / sizeof(void (*)()); ++i)
    EXPECT_NE(slots[i], nullptr) << i;
}

TEST_F(MockAllocator, GivesBlocksAgainWithoutAskingTheDevice) {
  void* first = nullptr;
  {
    const Tensor t = Tensor::empty({1000}, DType::f32, kMock);
    first = t.raw();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 256, 0U);
  }
  const std::uint64_t asked = allocator_stats(kMock).system_requests;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Tensor::empty({1000}, DType::f32, kMock).raw(), first);
  EXPECT_EQ(allocator_stats(kMock).system_requests, asked);
}

TEST_F(MockAllocator, KeepsItsBooksApartFromTheCpus) {
  const std::size_t on_cpu = allocator_stats(kCpu).reserved;
  reset_allocator_peak(kMock);
  const std::size_t before = allocator_stats(kMock).in_use;
  {
    const Tensor t = Tensor::empty({1 << 20}, DType::f32, kMock);
    EXPECT_EQ(allocator_stats(kMock).in_use, before + (1U << 22));
    EXPECT_LT(allocator_stats(kCpu).reserved, on_cpu + (1U << 20));
  }
  EXPECT_EQ(allocator_stats(kMock).in_use, before);
  EXPECT_EQ(allocator_stats(kMock).peak, before + (1U << 22));
  empty_allocator_cache(kMock);
  EXPECT_EQ(allocator_stats(kMock).reserved, before);
}

TEST_F(MockAllocator, GivesTheCacheBackBeforeItGivesUp) {
  constexpr std::int64_t kMany = 1 << 18;  // 1 MiB of f32
  mock::set_memory(std::size_t{3} << 20);
  {
    const Tensor a = Tensor::empty({kMany}, DType::f32, kMock), b = Tensor::empty({kMany}, DType::f32, kMock);
  }
  EXPECT_EQ(allocator_stats(kMock).reserved, std::size_t{2} << 20);
  const Tensor large = Tensor::empty({2 * kMany}, DType::f32, kMock);  // fits only where the two were
  EXPECT_EQ(allocator_stats(kMock).reserved, std::size_t{2} << 20);
  const std::string message = error_of([&] { Tensor::empty({2 * kMany}, DType::f32, kMock); });
  EXPECT_THAT(message, HasSubstr("out of memory on mock: 2097152 bytes wanted, 2097152 in use"));
  EXPECT_THAT(message, HasSubstr("smaller batches"));
  EXPECT_NO_THROW(Tensor::empty({kMany}, DType::f32, kMock));  // an error leaves the allocator whole
  EXPECT_EQ(allocator_stats(kMock).in_use, std::size_t{2} << 20);
}

// Sizes that come and go, as batches of real sentences do: the device is asked for ever less.
TEST_F(MockAllocator, SettlesOnSizesThatVary) {
  std::vector<std::uint64_t> asked;
  for (int round = 0; round < 20; ++round) {
    std::vector<Tensor> held;
    for (std::int64_t i = 0; i < 30; ++i)
      held.push_back(Tensor::empty({100 + (round * 37 + i * 101) % 900}, DType::f32, kMock));
    asked.push_back(allocator_stats(kMock).system_requests);
  }
  EXPECT_LE(asked[19] - asked[9], asked[9] / 5);
  EXPECT_EQ(allocator_stats(kMock).in_use, 0U);
}

TEST(Devices, AreNamedAsUsersWriteThem) {
  EXPECT_EQ(device_named("cpu"), kCpu);
  EXPECT_THROW(device_named("gpu"), UsageError);
  EXPECT_THROW(device_named("cuda:"), UsageError);
  EXPECT_THROW(device_named("cuda:-1"), UsageError);
  EXPECT_THROW(device_named("cuda:1x"), UsageError);
  EXPECT_THROW(device_named("cuda:127"), Error);  // no machine has 128
  EXPECT_EQ(to_string(Device{Device::Type::cuda, 2}), "cuda:2");
}

}  // namespace
}  // namespace costeff::testing
