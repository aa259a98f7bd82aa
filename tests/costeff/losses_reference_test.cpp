// Exits, equalisation and the stages' losses against PyTorch: exit_gradients and stage_losses, in f64 and
// f32.
#include "costeff/methods/costeff.h"
#include "costeff/methods/pruning_round.h"
#include "costeff/train/losses.h"
#include "tests/costeff/reference.h"

namespace costeff {
namespace {

using namespace testing;

struct Accuracy {
  DType dtype;
  double tolerance;
};

class LossesReference : public ::testing::TestWithParam<Accuracy> {
 protected:
  DType dtype() const { return GetParam().dtype; }
  double tolerance() const { return GetParam().tolerance; }
};

// Compares value and gradients of `loss` with the file's.
template <class F>
void compare(const SafetensorsFile& file, const std::string& name, const Bert& model,
             const TokenBatch& tokens, bool equalise, double tolerance, F&& loss) {
  Tape tape;
  Forward forward(tape);
  const Variable value = loss(multi_exit(model, forward, tokens, equalise));
  const double expected = metadata(file, "losses").at(name);
  EXPECT_LT(std::abs(value.value().item() - expected) / std::abs(expected), tolerance) << name;
  const Gradients gradients = tape.backward(value);
  EXPECT_LT(gradient_error(file, name, tape, gradients, model.parameters()), tolerance) << name;
}

TEST_P(LossesReference, GradientsOfExits) {
  const auto folder = reference_folder();
  COSTEFF_SKIP_WITHOUT(folder);
  const SafetensorsFile file((*folder / "exit_gradients.safetensors").string());
  const Batch batch = read_packed(file, "");
  const TokenBatch tokens = token_batch(batch);
  const auto model = read_model(file, "", dtype());
  const auto all = [&](const MultiExitOutputs& out) { return hard_loss(out, batch); };
  for (std::int64_t i = 1; i <= model->config().layers(); ++i) {
    compare(file, fmt::format("exit.{}", i), *model, tokens, false, tolerance(),
            [&](const MultiExitOutputs& out) {
              return hard_loss({i, {out.exit(i)}, out.hidden}, batch);
            });
  }
  compare(file, "sum", *model, tokens, false, tolerance(), all);
  compare(file, "equalised", *model, tokens, true, tolerance(), all);

  const auto later = read_model(file, "", dtype(), ExitConfig{.first = 3});
  compare(file, "sum_from_3", *later, tokens, false, tolerance(), all);
  compare(file, "equalised_from_3", *later, tokens, true, tolerance(), all);

  const auto mean = read_model(file, "", dtype(), ExitConfig{.pooling = Pooling::mean});
  compare(file, "equalised_mean_pooling", *mean, tokens, true, tolerance(), all);
  Forward forward;
  const MultiExitOutputs out = multi_exit(*mean, forward, tokens, true);
  for (std::int64_t i = 1; i <= out.last(); ++i) {
    const Tensor expected = read_tensor(file, fmt::format("out/mean_pooling_logits.{}", i));
    EXPECT_LT(largest_difference(out.exit(i).value(), expected), tolerance()) << i;
  }
}

TEST_P(LossesReference, EveryStage) {
  const auto folder = reference_folder();
  COSTEFF_SKIP_WITHOUT(folder);
  const SafetensorsFile file((*folder / "stage_losses.safetensors").string());
  const Batch batch = read_packed(file, "");
  const TokenBatch tokens = token_batch(batch);
  const auto student = read_model(file, "", dtype());
  const TeacherOutputs teacher = teach(*read_model(file, "teacher/", dtype(), std::nullopt), tokens);
  const TeacherOutputs assistant = teach(*read_model(file, "assistant/", dtype()), tokens);
  EXPECT_LT(largest_difference(teacher.logits.back(), read_tensor(file, "out/teacher.logits")), tolerance());

  const auto check = [&](const std::string& name, auto&& loss) {
    compare(file, name, *student, tokens, true, tolerance(), loss);
  };
  using Out = MultiExitOutputs;
  const auto assist = [&](const Out& s, Prediction prediction, double temperature) {
    return sum_of_terms(prediction_terms({.prediction = prediction, .temperature = temperature}), s, teacher,
                        batch, tokens.layout);
  };
  check("ta_paper_T1", [&](const Out& s) { return assist(s, Prediction::soft, 1); });
  check("ta_release_T1", [&](const Out& s) { return assist(s, Prediction::both, 1); });
  check("ta_release_T4", [&](const Out& s) { return assist(s, Prediction::both, 4); });
  check("ta_features", [&](const Out& s) { return feature_loss(s, teacher, tokens.layout); });
  check("prediction_T1", [&](const Out& s) { return prediction_loss(s, assistant, 1); });
  check("prediction_T2", [&](const Out& s) { return prediction_loss(s, assistant, 2); });
  check("features", [&](const Out& s) { return feature_loss(s, assistant, tokens.layout); });
  check("recovery", [&](const Out& s) {
    return add(prediction_loss(s, assistant, 1), feature_loss(s, assistant, tokens.layout));
  });
  check("importance_release", [&](const Out& s) {
    return sum_of_terms(importance_terms(0.1, 1, LossTerm::Exits::all, FeatureMean::padded), s, assistant,
                        batch, tokens.layout);
  });
}

INSTANTIATE_TEST_SUITE_P(Dtypes, LossesReference,
                         ::testing::Values(Accuracy{DType::f64, 1e-10}, Accuracy{DType::f32, 1e-4}),
                         [](const auto& p) { return std::string(name_of(p.param.dtype)); });

}  // namespace
}  // namespace costeff
