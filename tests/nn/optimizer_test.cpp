// AdamW, the schedule and clipping: against PyTorch's numbers, and put-off rows against the dense update.
#include "nn/optimizer.h"

#include "tests/nn/reference.h"

namespace costeff {
namespace {

using namespace testing;

Shape shape_of(const TensorInfo& info) {
  return info.shape.size() == 1 ? Shape{info.shape[0]} : Shape{info.shape[0], info.shape[1]};
}

TEST(AdamWReference, BothVariantsWithClippingAndWarmup) {
  const auto folder = reference_folder();
  COSTEFF_SKIP_WITHOUT(folder);
  const SafetensorsFile file((*folder / "adamw.safetensors").string());
  const double lr = metadata(file, "lr");
  const std::int64_t warmup = metadata(file, "warmup");
  const std::int64_t total = metadata(file, "total");
  for (const AdamVariant variant : {AdamVariant::torch, AdamVariant::transformers}) {
    ParameterStore store(DType::f64);
    for (const std::string& name : file.names()) {
      if (!name.starts_with("w/")) continue;
      const WeightRole role{
          .part = name.find("LayerNorm") != std::string::npos ? Part::embedding_norm : Part::other,
          .piece = name.ends_with("bias") ? Piece::bias : Piece::weight};
      store.add(name.substr(2), shape_of(file.info(name)), role);
    }
    store.allocate();
    store.allocate_gradients();
    read_weights(file, "w/", store);
    store.to(test_device());
    for (const Parameter* p : store.parameters()) {
      const auto decayed = metadata(file, "decayed").get<std::vector<std::string>>();
      EXPECT_EQ(p->decays, std::find(decayed.begin(), decayed.end(), p->name) != decayed.end()) << p->name;
    }
    AdamW adam(store, {variant, metadata(file, "betas")[0], metadata(file, "betas")[1], metadata(file, "eps"),
                       metadata(file, "weight_decay")});
    std::int64_t compared = 0;
    for (std::int64_t step = 0; step < total; ++step) {
      for (Parameter* p : store.parameters()) {
        p->gradient.copy_from(read_tensor(file, fmt::format("in/{}/{}", step, p->name)));
        p->has_gradient = true;
      }
      const double norm = gradient_norm(store);
      EXPECT_NEAR(norm, metadata(file, "norms")[static_cast<std::size_t>(step)].get<double>(),
                  1e-10 * (1 + norm));
      const double factor = warmup_linear(step, warmup, total);
      EXPECT_DOUBLE_EQ(factor, metadata(file, "schedule")[static_cast<std::size_t>(step)].get<double>());
      adam.step(lr * factor, clip_scale(norm, metadata(file, "max_norm")));
      for (const Parameter* p : store.parameters()) {
        const std::string name = fmt::format("out/{}/{}/{}", name_of(variant), step, p->name);
        if (!file.contains(name)) continue;
        EXPECT_LT(largest_difference(p->value, read_tensor(file, name)), 1e-10) << name;
        ++compared;
      }
    }
    EXPECT_GE(compared, 6);
  }
}

TEST(AdamW, UnknownVariantIsRefused) {
  EXPECT_THROW(choice_named<AdamVariant>("sgd"), UsageError);
}

// One table twice: by rows with put-off updates, and dense with the same gradients, zero where no row was
// touched.
template <class T>
void compare_put_off(AdamVariant variant, std::uint32_t steps) {
  constexpr std::int64_t kRows = 50;
  constexpr std::int64_t kCols = 19;
  ParameterStore lazy(dtype_of<T>);
  ParameterStore dense(dtype_of<T>);
  Parameter& a = lazy.add_table("table.weight", {kRows, kCols});
  Parameter& b = dense.add("table.weight", {kRows, kCols});
  for (ParameterStore* s : {&lazy, &dense}) {
    s->allocate();
    s->allocate_gradients();
    initialise_normal(s->values(), "w", 0.1, 3);
  }
  AdamW lazy_adam(lazy, {.variant = variant});
  AdamW dense_adam(dense, {.variant = variant});
  for (std::uint32_t step = 0; step < steps; ++step) {
    // Rows 0..9 are touched early on only, 10..29 now and then, 40 and above never.
    std::vector<std::int32_t> rows;
    for (std::int32_t r = 0; r < 40; ++r) {
      const bool often =
          r >= 10 && philox4x32({step, static_cast<std::uint32_t>(r), 0, 0}, {1, 2})[0] % 37 == 0;
      if (often || (r < 10 && step < 3)) rows.push_back(r);
    }
    const Tensor ids =
        Tensor::from(std::span<const std::int32_t>(rows), {static_cast<std::int64_t>(rows.size())});
    lazy_adam.catch_up(ids);
    for (const std::int32_t row : rows) {  // what a forward pass would read
      for (std::int64_t c = 0; c < kCols; ++c)
        ASSERT_EQ(a.value.at(row * kCols + c), b.value.at(row * kCols + c)) << step;
    }
    const Tensor gradient = Tensor::empty({kRows, kCols}, dtype_of<T>);
    initialise_normal(gradient, "g", 1e-3, step);
    b.gradient.fill(0);
    for (const std::int32_t old : a.touched.rows()) a.gradient.slice(old, old + 1).fill(0);
    a.touched.clear();
    a.touched.add(rows.data(), static_cast<std::int64_t>(rows.size()));
    for (const std::int32_t row : rows) {
      a.gradient.slice(row, row + 1).copy_from(gradient.slice(row, row + 1));
      b.gradient.slice(row, row + 1).copy_from(gradient.slice(row, row + 1));
    }
    a.has_gradient = b.has_gradient = true;
    const double lr = 1e-3 * warmup_linear(step, 100, steps + 100);
    lazy_adam.step(lr, 0.9);
    dense_adam.step(lr, 0.9);
  }
  lazy_adam.catch_up_all();
  EXPECT_EQ(std::memcmp(a.value.raw(), b.value.raw(), a.value.bytes()), 0);
  EXPECT_EQ(std::memcmp(lazy_adam.first_moments().raw(), dense_adam.first_moments().raw(), a.value.bytes()),
            0);
  EXPECT_EQ(std::memcmp(lazy_adam.second_moments().raw(), dense_adam.second_moments().raw(), a.value.bytes()),
            0);
}

TEST(AdamW, PutOffRowsAreBitForBitTheDenseUpdate) {
  for (const AdamVariant variant : {AdamVariant::torch, AdamVariant::transformers}) {
    compare_put_off<float>(variant, 1200);
    compare_put_off<double>(variant, 1200);
  }
}

// Longer than the book of steps that may wait.
TEST(AdamW, NoRowWaitsForever) {
  compare_put_off<float>(AdamVariant::torch, 4300);
}

TEST(AdamW, RowsThatATableDoesNotHave) {
  ParameterStore store(DType::f32);
  store.add_table("table.weight", {5, 3});
  store.allocate();
  store.allocate_gradients();
  AdamW adam(store, {});
  for (const std::int32_t id : {5, -1}) {
    const std::int32_t ids[] = {0, id};
    EXPECT_THAT(
        message_of<Error>([&] { adam.catch_up(Tensor::from(std::span<const std::int32_t>(ids), {2})); }),
        ::testing::HasSubstr(fmt::format("table.weight: row {} of 5", id)));
  }
}

TEST(AdamW, ParametersWithoutGradientStay) {
  ParameterStore store(DType::f32);
  Parameter& with = store.add("a.weight", {3});
  Parameter& without = store.add("b.weight", {3});
  store.allocate();
  store.allocate_gradients();
  store.values().fill(1);
  with.gradient.fill(1);
  with.has_gradient = true;
  AdamW(store, {}).step(0.1);
  EXPECT_LT(with.value.at(0), 1);
  EXPECT_EQ(without.value.at(0), 1);
}

}  // namespace
}  // namespace costeff
