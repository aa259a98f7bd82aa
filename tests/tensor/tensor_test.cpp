// Shapes, tensors as handles, dtypes, and the caching allocator.
#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tensor/error.h"

namespace costeff {
namespace {

TEST(Shape, CountsAndRefuses) {
  EXPECT_EQ(Shape({}).numel(), 1);
  EXPECT_EQ(Shape({2, 3, 4}).numel(), 24);
  EXPECT_EQ(Shape({2, 3, 4}).rows(), 6);
  EXPECT_EQ(Shape({2, 3, 4}).cols(), 4);
  EXPECT_EQ(Shape({2, 0}).numel(), 0);
  EXPECT_EQ(to_string(Shape{8, 128}), "[8, 128]");
  EXPECT_FALSE((Shape{2, 3} == Shape{2, 3, 1}));
  EXPECT_THROW((Shape{2, -1}), Error);
  constexpr std::int64_t kMany = std::int64_t{1} << 32;
  EXPECT_EQ(Shape({kMany, 3}).numel(), 3 * kMany);
  EXPECT_THROW((Shape{kMany, kMany}), Error);
  EXPECT_THROW(Shape({kMany, 3}).with_back(kMany), Error);
  EXPECT_THROW(Shape({2, kMany}).with_front(kMany), Error);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1}), Error);
}

TEST(Tensor, CopiesShareAndClonesDoNot) {
  const Tensor a = Tensor::zeros({2, 3}, DType::f32);
  Tensor shared;
  shared = a;
  const Tensor copy = a.clone();
  a.fill(7);
  EXPECT_EQ(shared.at(5), 7);
  EXPECT_EQ(copy.at(5), 0);
  EXPECT_TRUE(a.shares_storage(shared));
  EXPECT_FALSE(a.shares_storage(copy));
}

TEST(Tensor, SlicesAndReshapesAreViews) {
  const float values[] = {0, 1, 2, 3, 4, 5, 6, 7};
  const Tensor t = Tensor::from<float>(values, {4, 2});
  const Tensor middle = t.slice(1, 3);
  EXPECT_EQ(middle.shape(), (Shape{2, 2}));
  EXPECT_EQ(middle.at(0), 2);
  middle.reshape({4}).fill(9);
  EXPECT_EQ(t.at(2), 9);
  EXPECT_EQ(t.at(6), 6);
  EXPECT_THROW(t.slice(3, 5), Error);
  EXPECT_THROW(t.slice(2, 1), Error);
  EXPECT_THROW(t.reshape({3, 3}), Error);
  EXPECT_THROW(Tensor::from<float>(values, {3, 2}), Error);
}

TEST(Tensor, TheWrongTypeAndAnUndefinedTensorAreErrors) {
  const Tensor t = Tensor::zeros({2}, DType::f32);
  EXPECT_THROW(t.data<double>(), Error);
  EXPECT_THROW(t.item(), Error);
  EXPECT_THROW(t.at(2), Error);
  EXPECT_THROW(Tensor().raw(), Error);
  EXPECT_THROW(dispatch(DType::i32, [](auto) {}), Error);
  EXPECT_THROW(Tensor::empty({2}, DType::f32, {Device::Type::cuda, 0}), Error);
}

TEST(Tensor, ConvertsBetweenTypes) {
  const double values[] = {0, -1.5, 1e-3, 65504, 3.25};
  const Tensor wide = Tensor::from<double>(values, {5});
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Tensor there = wide.to(dtype);
    const Tensor back = there.to(DType::f64);
    const double precision = dtype == DType::f32 ? 0x1p-24 : 0x1p-8;
    for (std::int64_t i = 0; i < 5; ++i)
      EXPECT_NEAR(back.at(i), wide.at(i), std::abs(wide.at(i)) * precision);
  }
  EXPECT_EQ(wide.to(DType::i32).at(3), 65504);
  EXPECT_EQ(wide.to(DType::bf16).bytes(), 10U);
}

TEST(Bf16, RoundsToTheNearestTiesToEven) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {  // every bf16 is itself
    const bf16 x{static_cast<std::uint16_t>(bits)};
    const float wide = to_f32(x);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(to_f32(to_bf16(wide))));
    } else {
      EXPECT_EQ(to_bf16(wide).bits, x.bits);
    }
  }
  // Between 1 and 1 + 2^-7: the middle goes to the even neighbour, all else to the nearer.
  EXPECT_EQ(to_f32(to_bf16(1 + 0x1p-8f)), 1);
  EXPECT_EQ(to_f32(to_bf16(1 + 0x1.8p-8f)), 1 + 0x1p-7f);
  EXPECT_EQ(to_f32(to_bf16(1 + 0x1p-7f + 0x1p-8f)), 1 + 0x1p-6f);
  EXPECT_EQ(to_f32(to_bf16(std::numeric_limits<float>::max())), std::numeric_limits<float>::infinity());
  EXPECT_EQ(to_f32(to_bf16(-std::numeric_limits<float>::infinity())),
            -std::numeric_limits<float>::infinity());
}

TEST(Allocator, GivesBlocksAgainWithoutAskingTheSystem) {
  void* first = nullptr;
  {
    const Tensor t = Tensor::empty({1000}, DType::f32);
    first = t.raw();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 64, 0U);
  }
  const std::uint64_t asked = allocator_stats(kCpu).system_requests;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Tensor::empty({1000}, DType::f32).raw(), first);
  EXPECT_EQ(allocator_stats(kCpu).system_requests, asked);
}

TEST(Allocator, CountsWhatIsInUse) {
  reset_allocator_peak(kCpu);
  const std::size_t before = allocator_stats(kCpu).in_use;
  {
    const Tensor t = Tensor::empty({1 << 20}, DType::f32);
    const Tensor view = t.slice(0, 10);
    EXPECT_GE(allocator_stats(kCpu).in_use, before + (1U << 22));
  }
  EXPECT_EQ(allocator_stats(kCpu).in_use, before);
  EXPECT_GE(allocator_stats(kCpu).peak, before + (1U << 22));
  empty_allocator_cache(kCpu);
  EXPECT_EQ(allocator_stats(kCpu).reserved, allocator_stats(kCpu).in_use);
}

TEST(Allocator, AViewKeepsItsStorage) {
  Tensor view;
  {
    const Tensor t = Tensor::full({4, 4}, 3, DType::f32);
    view = t.slice(2, 3);
  }
  const Tensor other = Tensor::full({4, 4}, 8, DType::f32);
  EXPECT_EQ(view.at(0), 3);
}

TEST(Allocator, TooMuchIsAnError) {
  EXPECT_THROW(Tensor::empty({std::int64_t{1} << 46}, DType::f64), Error);
}

TEST(Allocator, EverySizeFits) {
  for (std::int64_t n = 0; n < 3000; ++n) {
    const Tensor t = Tensor::empty({n}, DType::bf16);
    std::fill_n(static_cast<unsigned char*>(t.raw()), t.bytes(), static_cast<unsigned char>(n));
  }
  CachedVector<int> v;
  for (int i = 0; i < 10000; ++i) v.push_back(i);
  EXPECT_EQ(v[9999], 9999);
}

}  // namespace
}  // namespace costeff
