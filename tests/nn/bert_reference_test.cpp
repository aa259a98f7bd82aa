// The encoder against PyTorch: hidden states and attention of forward.safetensors, in f64 and f32, packed and
// padded.
#include "tests/nn/reference.h"

namespace costeff {
namespace {

using namespace testing;

struct Accuracy {
  DType dtype;
  double tolerance;
};

class ForwardReference : public ::testing::TestWithParam<Accuracy> {};

void compare(const Accuracy& p, bool padded) {
  const auto folder = reference_folder();
  COSTEFF_SKIP_WITHOUT(folder);
  const SafetensorsFile file((*folder / "forward.safetensors").string());
  Bert model(config_of(metadata(file, "config")), p.dtype);
  model.initialise(0);
  read_weights(file, "w/", model.parameters());
  model.to(test_device());
  const TokenBatch batch = read_batch(file, "", padded);
  Tape tape;
  Forward forward(tape);
  Variable hidden = model.embed(forward, batch);
  EXPECT_LT(row_error(hidden.value(), read_tensor(file, "out/hidden.0"), *batch.layout), p.tolerance);
  for (std::int64_t k = 1; k <= model.config().layers(); ++k) {
    hidden = model.layer(forward, k, hidden, batch.layout);
    EXPECT_LT(row_error(hidden.value(), read_tensor(file, fmt::format("out/hidden.{}", k)), *batch.layout),
              p.tolerance)
        << k;
  }
  // Attention [sequences, heads, longest, longest] against the saved probabilities, [heads, n, n] for each
  // sequence.
  std::int64_t k = 0;
  for (const Record& r : tape.records()) {
    if (r.op->name != "attention") continue;
    const Tensor expected = read_tensor(file, fmt::format("out/attention.{}", ++k));
    const Tensor probabilities = r.saved(1).to(kCpu);
    const std::int64_t heads = expected.shape()[1];
    const std::int64_t longest = expected.shape()[2];
    double worst = 0;
    for (std::int64_t s = 0; s < batch.layout->sequences(); ++s) {
      const std::int64_t n = batch.layout->offset(s + 1) - batch.layout->offset(s);
      const std::int64_t begin = heads * batch.layout->view().pairs[s];
      for (std::int64_t h = 0; h < heads; ++h) {
        for (std::int64_t i = 0; i < batch.layout->length(s); ++i) {
          for (std::int64_t j = 0; j < n; ++j) {
            const double error = std::abs(probabilities.at(begin + (h * n + i) * n + j) -
                                          expected.at(((s * heads + h) * longest + i) * longest + j));
            worst = worse(worst, error);
          }
        }
      }
    }
    EXPECT_LT(worst, p.tolerance) << "attention of layer " << k;
  }
  EXPECT_EQ(k, model.config().layers());
}

TEST_P(ForwardReference, HiddenStatesAndAttentionPacked) {
  compare(GetParam(), false);
}
TEST_P(ForwardReference, HiddenStatesAndAttentionPadded) {
  compare(GetParam(), true);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, ForwardReference,
                         ::testing::Values(Accuracy{DType::f64, 1e-10}, Accuracy{DType::f32, 1e-5}),
                         [](const auto& test) { return std::string(name_of(test.param.dtype)); });

// The gradients of the single-exit teacher's loss, all parameters, in f64: "teacher_hard" of
// stage_losses.safetensors.
TEST(TeacherReference, LogitsLossAndEveryGradient) {
  const auto folder = reference_folder();
  COSTEFF_SKIP_WITHOUT(folder);
  const SafetensorsFile file((*folder / "stage_losses.safetensors").string());
  Bert model(config_of(metadata(file, "config")), DType::f64);
  model.initialise(0);
  read_weights(file, "w/teacher/", model.parameters());
  model.to(test_device());
  model.parameters().allocate_gradients();
  const TokenBatch batch = read_batch(file, "");
  std::vector<std::int32_t> labels;
  for (const std::int64_t y : read_integers(file, "in/labels"))
    labels.push_back(static_cast<std::int32_t>(y));
  Tape tape;
  Forward forward(tape);
  const Variable logits = model.logits(forward, batch);
  EXPECT_LT(largest_difference(logits.value(), read_tensor(file, "out/teacher.logits")), 1e-10);
  const Variable loss =
      cross_entropy(logits, Tensor::from(std::span<const std::int32_t>(labels), {batch.layout->sequences()}));
  EXPECT_NEAR(loss.value().item(), metadata(file, "losses").at("teacher_hard").get<double>(), 1e-10);
  tape.backward(loss, {.into_parameters = true});
  require_gradients(model.parameters().parameters());
  double largest = 0;
  double worst = 0;
  std::size_t compared = 0;
  for (const NamedTensor& t : model.parameters().named()) {
    const Tensor expected = read_tensor(file, "out/teacher_hard/" + t.name);
    for (std::int64_t i = 0; i < expected.numel(); ++i) largest = std::max(largest, std::abs(expected.at(i)));
    worst = worse(worst, largest_difference(t.gradient(), expected));
    ++compared;
  }
  EXPECT_GT(compared, 10U);
  EXPECT_LT(worst / largest, 1e-10);
}

}  // namespace
}  // namespace costeff
