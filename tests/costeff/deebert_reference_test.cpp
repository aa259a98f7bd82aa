// DeeBERT's two stages and its exits against PyTorch, as its published code computes them:
// deebert.safetensors.
#include "costeff/exits/evaluate.h"
#include "costeff/methods/method_list.h"
#include "costeff/train/stage.h"
#include "costeff/train/step_loss.h"
#include "tests/costeff/reference.h"

namespace costeff {
namespace {

using namespace testing;

struct Accuracy {
  DType dtype;
  double tolerance;
};

class DeebertReference : public ::testing::TestWithParam<Accuracy> {
 protected:
  void SetUp() override {
    const auto folder = reference_folder();
    COSTEFF_SKIP_WITHOUT(folder);
    const auto path = *folder / "baselines" / "deebert.safetensors";
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path;
    file_ = std::make_unique<SafetensorsFile>(path.string());
    model_ = read_model(*file_, "", GetParam().dtype, ExitConfig{.dense = true});
    for (std::size_t i = 0; i < 3; ++i) batches_.push_back(read_packed(*file_, fmt::format("{}.", i)));
  }

  // The one phase of a stage of the method.
  Phase phase(const std::string& stage, std::int64_t steps) const {
    const StageSpec& spec = find_method("deebert").stage(stage);
    Settings s = spec.defaults;
    s.epochs = 1;
    return spec.phases(decided(spec, s), model_->config(), steps).at(0);
  }

  Variable loss(const Phase& p, Forward& forward, const Batch& batch) const {
    return step_loss(p, false, *model_, nullptr, forward, batch, token_batch(batch));
  }

  // The largest error of the weights against "out/NAME/...", of those that the file has.
  double weights_error(const std::string& name) const {
    double worst = 0;
    std::size_t compared = 0;
    for (const NamedTensor& t : model_->parameters().named()) {
      const std::string key = "out/" + name + "/" + t.name;
      if (!file_->contains(key)) continue;
      worst = worse(worst, largest_difference(t.value(), read_tensor(*file_, key)));
      ++compared;
    }
    EXPECT_GT(compared, 0U) << name;
    return worst;
  }

  // Loss and gradients of the first batch, and the norm that clipping takes.
  void expect_gradients(const std::string& name, const Phase& p) {
    Tape tape;
    Forward forward(tape);
    freeze_for(p, false, *model_);
    const Variable value = loss(p, forward, batches_[0]);
    const double expected = metadata(*file_, "losses").at(name);
    EXPECT_NEAR(value.value().item(), expected, GetParam().tolerance * expected);
    const Gradients gradients = tape.backward(value);
    double worst = 0, largest = 0;
    for (const NamedTensor& t : model_->parameters().named()) {
      const std::string key = "out/" + name + "/" + t.name;
      const Tensor whole = gradients.of(tape.parameter(*t.parameter));
      EXPECT_EQ(whole.defined(), file_->contains(key)) << name << " " << t.name;
      if (!whole.defined() || !file_->contains(key)) continue;
      const Tensor reference = read_tensor(*file_, key);
      worst = worse(worst, largest_difference(whole.slice(t.begin, t.end), reference));
      largest =
          std::max(largest, largest_difference(reference, Tensor::zeros(reference.shape(), DType::f64)));
    }
    EXPECT_LT(worst, GetParam().tolerance * largest) << name;
  }

  // Three steps as the published optimiser makes them, each compared.
  void expect_steps(const std::string& name, Phase p) {
    const nlohmann::json about = metadata(*file_, "optimiser");
    ASSERT_EQ(about.at("adam"), "transformers");
    Trainer trainer(model_->parameters(), {.adam = {.variant = AdamVariant::transformers,
                                                    .beta1 = about.at("betas").at(0),
                                                    .beta2 = about.at("betas").at(1),
                                                    .epsilon = about.at("eps"),
                                                    .weight_decay = about.at("weight_decay")},
                                           .learning_rate = about.at("lr"),
                                           .warmup = about.at("warmup"),
                                           .total = about.at("total"),
                                           .max_norm = about.at("max_norm")});
    const nlohmann::json log = metadata(*file_, "steps").at(name);
    for (std::size_t i = 0; i < log.size(); ++i) {
      freeze_for(p, false, *model_);
      const StepReport report = trainer.step(
          std::span(batches_).subspan(i, 1), [&](Forward& forward, const Batch& batch, const TokenBatch&) {
            Forward plain(*forward.tape());  // the file's numbers are without dropout
            return loss(p, plain, batch);
          });
      trainer.flush();
      const auto close = [&](double found, double expected) {
        EXPECT_NEAR(found, expected, GetParam().tolerance * std::abs(expected)) << name << " step " << i + 1;
      };
      close(report.loss, log.at(i).at(0));
      close(report.gradient_norm, log.at(i).at(1));
      close(report.learning_rate, log.at(i).at(2));
      EXPECT_LT(weights_error(fmt::format("steps/{}/{}", name, i + 1)), GetParam().tolerance);
    }
  }

  std::unique_ptr<SafetensorsFile> file_;
  std::unique_ptr<Bert> model_;
  std::vector<Batch> batches_;
};

TEST_P(DeebertReference, LossesAndGradientsOfBothStages) {
  expect_gradients("stage1", phase("finetune", 5));
  expect_gradients("stage2", phase("exits", 5));
}

TEST_P(DeebertReference, ThreeStepsOfEachStage) {
  expect_steps("stage1", phase("finetune", 5));
  // What stage 1 ends with, to the last bit of the file: errors do not add up.
  read_weights(*file_, "out/steps/stage1/3/", model_->parameters());
  std::vector<double> before;
  for (std::int64_t i = 0; i < model_->parameters().values().numel(); ++i)
    before.push_back(model_->parameters().values().to(kCpu).at(i));
  expect_steps("stage2", phase("exits", 5));
  for (const NamedTensor& t : model_->parameters().named()) {
    if (is_exit(t.role.part) && t.role.exit < model_->config().layers()) continue;
    const auto at = static_cast<std::size_t>(model_->parameters().offset(*t.parameter));
    EXPECT_EQ(t.parameter->value.to(kCpu).at(0), before[at]) << t.name << " must stay as it is";
  }
}

TEST_P(DeebertReference, ExitsAtEveryThreshold) {
  const Batch batch = read_packed(*file_, "eval.");
  Forward forward;
  const MultiExitOutputs out = multi_exit(*model_, forward, token_batch(batch), false);
  ExitLogits logits{.first = out.first, .labels = model_->config().num_labels()};
  for (std::int64_t i = out.first; i <= out.last(); ++i) {
    const bool last = i == out.last();
    const Tensor expected =
        read_tensor(*file_, last ? "out/eval/logits.main" : fmt::format("out/eval/logits.{}", i));
    EXPECT_LT(largest_difference(out.exit(i).value(), expected), GetParam().tolerance) << i;
    std::vector<double>& exit = logits.exits.emplace_back();
    const Tensor host = out.exit(i).value().to(kCpu);
    for (std::int64_t j = 0; j < host.numel(); ++j) exit.push_back(host.at(j));
  }
  const nlohmann::json thresholds = metadata(*file_, "thresholds");
  for (std::size_t t = 0; t < thresholds.size(); ++t) {
    const ExitChoice choice = choose_exits(logits, entropy_below(thresholds[t]));
    EXPECT_EQ(choice.exits, read_integers(*file_, fmt::format("out/eval/exit/entropy.{}", t)))
        << thresholds[t];
    const auto answers = read_integers(*file_, fmt::format("out/eval/answer/entropy.{}", t));
    const auto labels = static_cast<std::size_t>(logits.labels);
    for (std::size_t s = 0; s < answers.size(); ++s) {
      const auto row = std::span(choice.logits).subspan(s * labels, labels);
      EXPECT_EQ(std::max_element(row.begin(), row.end()) - row.begin(), answers[s])
          << thresholds[t] << " " << s;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, DeebertReference,
                         ::testing::Values(Accuracy{DType::f64, 1e-10}, Accuracy{DType::f32, 1e-3}),
                         [](const auto& p) { return std::string(name_of(p.param.dtype)); });

}  // namespace
}  // namespace costeff
