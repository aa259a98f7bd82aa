// The engine on a device that is not the CPU: the mock's kernels are the CPU's, so every number must be the
// same bits, and whatever the host touches on the device kills the test.
#include <filesystem>

#include "costeff/exits/early_exit.h"
#include "costeff/methods/pruning_round.h"
#include "costeff/methods/slenderise.h"
#include "costeff/train/stage.h"
#include "costeff/train/student.h"
#include "nn/checkpoint.h"
#include "tensor/backend.h"
#include "tests/costeff/support.h"
#include "tests/costeff/tiny_run.h"
#include "tests/mock/mock.h"

namespace costeff {
namespace {

using namespace testing;
using mock::kMock;

void expect_same_bits(const Tensor& a, const Tensor& b, const std::string& what) {
  ASSERT_EQ(a.shape(), b.shape()) << what;
  const Tensor here = a.to(kCpu), there = b.to(kCpu);
  EXPECT_EQ(std::memcmp(here.raw(), there.raw(), here.bytes()), 0) << what;
}

void expect_same_model(const Bert& a, const Bert& b) {
  expect_same_bits(a.parameters().values(), b.parameters().values(), "weights");
}

BertConfig multi_exit_config() {
  BertConfig config = small_config();
  config.exits = ExitConfig{};
  return config;
}

std::unique_ptr<Bert> model_on(Device device, std::uint64_t seed,
                               const BertConfig& config = multi_exit_config()) {
  auto model = std::make_unique<Bert>(config);
  model->initialise(seed);
  model->to(device);
  return model;
}

// Distillation of predictions and features under equalisation, from a model or from what it said before.
class Distilled {
 public:
  explicit Distilled(Device device, bool remembered = false, Precision precision = Precision::full)
      : student(model_on(device, 1)),
        teacher(model_on(device, 2)),
        trainer(student->parameters(),
                {.learning_rate = 1e-2, .total = 50, .max_norm = 0.5, .precision = precision}) {
    if (remembered) {
      EXPECT_TRUE(teacher.cache(data, true, 4, std::size_t{1} << 30));
    }
  }

  StepReport step(std::size_t micro_batches = 1, std::optional<std::size_t> pad_to = std::nullopt) {
    const auto at = static_cast<std::int32_t>(trainer.steps() * 3 % 9);
    std::vector<Batch> batches;
    for (std::size_t i = 0; i < micro_batches; ++i) {
      const std::int32_t begin = at + static_cast<std::int32_t>(i) * 4;
      batches.push_back(batch_of(data, begin, begin + 4, pad_to));
    }
    return trainer.step(batches, [&](Forward& forward, const Batch& batch, const TokenBatch& tokens) {
      const TeacherOutputs said = teacher(batch, tokens);
      const MultiExitOutputs out = multi_exit(*student, forward, tokens, true);
      return add(add(prediction_loss(out, said, 2), feature_loss(out, said, tokens.layout)),
                 hard_loss(out, batch));
    });
  }

  EncodedDataset data = random_dataset(30);
  std::unique_ptr<Bert> student;
  Teacher teacher;
  Trainer trainer;
};

class OnDevice : public ::testing::Test {
 protected:
  OnDevice() { mock::install(); }
};

TEST_F(OnDevice, TrainingStepsGiveTheSameBits) {
  for (const auto& [remembered, precision] :
       {std::pair{false, Precision::full}, {true, Precision::full}, {false, Precision::bf16}}) {
    Distilled here(kCpu, remembered, precision), there(kMock, remembered, precision);
    for (int i = 0; i < 6; ++i) {
      const auto pad_to = i == 4 ? std::optional<std::size_t>(20) : std::nullopt;
      const StepReport a = here.step(i == 2 ? 3 : 1, pad_to), b = there.step(i == 2 ? 3 : 1, pad_to);
      EXPECT_EQ(a.loss, b.loss) << i;
      EXPECT_EQ(a.gradient_norm, b.gradient_norm) << i;
      EXPECT_LT(a.clip_scale, 1) << "clipping is part of what is compared";
      if (i != 2) continue;
      here.trainer.flush();  // as an evaluation between steps does
      there.trainer.flush();
    }
    here.trainer.flush();
    there.trainer.flush();
    expect_same_model(*here.student, *there.student);
  }
}

// Each thing that runs a model does so in the precision that it was given.
TEST_F(OnDevice, MixedPrecisionIsOfThePass) {
  Distilled full(kCpu), mixed(kCpu, false, Precision::bf16);
  EXPECT_NEAR(mixed.step().loss, full.step().loss, 2e-2);
  EXPECT_NE(mixed.step().loss, full.step().loss);
  const auto model = factorise(*full.student, 2, {});
  const Batch batch = batch_of(full.data, 0, 4);
  const TokenBatch tokens = token_batch(batch);
  const auto differs = [](const auto& by) {
    const auto a = by(Precision::full), b = by(Precision::bf16);
    double largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
    return largest > 0 && largest < 0.1;
  };
  const auto values = [](const Tensor& t) {
    std::vector<double> all;
    for (std::int64_t i = 0; i < t.numel(); ++i) all.push_back(t.at(i));
    return all;
  };
  EXPECT_TRUE(differs([&](Precision p) { return predict_logits(*model, batch, p)[0]; }));
  EXPECT_TRUE(differs([&](Precision p) { return early_exit(*model, tokens, entropy_below(0), p).logits; }));
  EXPECT_TRUE(
      differs([&](Precision p) { return predict_exits(*model, full.data, {.precision = p}).exits[0]; }));
  EXPECT_TRUE(
      differs([&](Precision p) { return predict_last_exit(*model, full.data, {.precision = p}).exits[0]; }));
  EXPECT_TRUE(differs([&](Precision p) { return values(teach(*model, tokens, p).logits[0]); }));
  EXPECT_TRUE(
      differs([&](Precision p) { return values(Teacher(model->copy(kCpu), p)(batch, tokens).logits[0]); }));
  EXPECT_TRUE(differs([&](Precision p) {
    Importance importance(*model, UnitSum::paper, p);
    importance.add(batch, [&](Forward& forward, const Batch& b, const TokenBatch& t) {
      return hard_loss(multi_exit(*model, forward, t, true), b);
    });
    return importance.scores().neurons[0];
  }));
}

TEST_F(OnDevice, AStepCopiesLittle) {
  Distilled there(kMock);
  for (int i = 0; i < 3; ++i) there.step();
  const mock::Counts before = mock::counts();
  there.step();
  const mock::Counts after = mock::counts();
  // In: ids, positions and types for teacher and student, where sequences lie, row weights of the feature
  // loss, labels at three exits; rows that catch up, what they wait for (two), rows that are stepped.
  EXPECT_EQ(after.copies_in - before.copies_in, 6U + 1 + 1 + 3 + 3 + 1);
  // Out: the loss and the gradient's norm, for the log.
  EXPECT_EQ(after.copies_out - before.copies_out, 2U);
}

TEST_F(OnDevice, ASteadyStepAsksTheDeviceForNothing) {
  Distilled there(kMock);
  for (int i = 0; i < 8; ++i) there.step();
  const std::uint64_t asked = allocator_stats(kMock).system_requests;
  for (int i = 0; i < 8; ++i) there.step();
  EXPECT_EQ(allocator_stats(kMock).system_requests, asked);
}

TEST_F(OnDevice, ChecksForNumbersThatAreNotFinite) {
  const auto model = model_on(kMock, 1);
  model->parameters().find("bert.encoder.layer.1.output.dense.bias").value().fill(INFINITY);
  const Batch batch = batch_of(random_dataset(6), 0, 6);
  Trainer trainer(model->parameters(), {.learning_rate = 1e-2, .total = 10, .check_finite = true});
  const std::string message = message_of<Error>([&] { trainer.step(std::span(&batch, 1), loss_of(*model)); });
  EXPECT_THAT(message, ::testing::HasSubstr("'bert.encoder.layer.1.ffn'"));
}

TEST_F(OnDevice, ResumedFromAFileOnEither) {
  const TemporaryFolder folder;
  Distilled here(kCpu), there(kMock);
  for (int i = 0; i < 3; ++i) there.step();
  there.trainer.save(folder.path());
  here.trainer.restore(folder.path(), 3);
  Distilled again(kMock);
  again.trainer.restore(folder.path(), 3);
  for (int i = 0; i < 2; ++i) EXPECT_EQ(here.step().loss, again.step().loss);
  here.trainer.flush();
  again.trainer.flush();
  expect_same_model(*here.student, *again.student);
}

TEST_F(OnDevice, SlenderisesTheSame) {
  Settings s = costeff_stage("slenderise").defaults;
  s.heads = 2;
  s.ffn = 16;
  s.rank = 6;
  s.calibration = 12;
  s.batch = 5;
  s.importance = ImportanceKind::paper;
  s.embedding = EmbeddingKind::weighted;
  const EncodedDataset data = random_dataset(30);
  const auto slender_on = [&](Device device) {
    const Teacher teacher(model_on(device, 2));
    const auto student = model_on(device, 1);
    const auto first = slenderise({s, 1, 2, student->config(), *student, teacher, data});
    return slenderise({s, 2, 2, student->config(), *first, teacher, data});
  };
  const auto here = slender_on(kCpu), there = slender_on(kMock);
  EXPECT_EQ(there->device(), kMock);
  EXPECT_EQ(here->config().kept_heads, there->config().kept_heads);
  EXPECT_EQ(here->config().kept_neurons, there->config().kept_neurons);
  expect_same_model(*here, *there);
}

TEST_F(OnDevice, LeavesEarlyAtTheSameExits) {
  const EncodedDataset data = random_dataset(20);
  for (const ExitConfig& exits :
       {ExitConfig{}, ExitConfig{.pooling = Pooling::mean}, ExitConfig{.last_hidden = 2, .dense = true}}) {
    BertConfig config = small_config();
    config.exits = exits;
    const auto here = model_on(kCpu, 3, config), there = model_on(kMock, 3, config);
    const ExitLogits a = predict_exits(*here, data, {.batch = 7}),
                     b = predict_exits(*there, data, {.batch = 7});
    EXPECT_EQ(a.exits, b.exits);
    std::vector<double> entropies;  // of the first exit
    for (std::size_t at = 0; at < a.exits[0].size(); at += 3)
      entropies.push_back(entropy(std::span(a.exits[0]).subspan(at, 3)));
    std::sort(entropies.begin(), entropies.end());
    const double threshold = entropies[entropies.size() / 2];
    const TokenBatch batch = token_batch(batch_of(data, 0, 20));
    const EarlyExitOutputs left = early_exit(*here, batch, entropy_below(threshold)),
                           same = early_exit(*there, batch, entropy_below(threshold));
    EXPECT_EQ(left.exits, same.exits);
    EXPECT_EQ(left.logits, same.logits);
    EXPECT_LT(average_exit(left.exits), 3);
    EXPECT_GT(average_exit(left.exits), 1);
  }
}

TEST_F(OnDevice, OperandsOnTwoDevicesAreAnError) {
  const Variable here(Tensor::zeros({2, 3}, DType::f32)), there(Tensor::zeros({2, 3}, DType::f32, kMock));
  const std::string message = message_of<Error>([&] { add(here, there); });
  EXPECT_THAT(message, ::testing::HasSubstr("op add: f32 [2, 3] is on cpu and f32 [2, 3] on mock"));
  EXPECT_THROW(linear(there, here), Error);
  EXPECT_THROW(soft_cross_entropy(there, here.value(), 1), Error);
  EXPECT_THROW(weighted_squared_error(there, there, Tensor::zeros({2}, DType::f32)), Error);
}

class OnDeviceRun : public OnDevice, protected TinyRun {
 protected:
  StageResult run_on(const std::string& stage, const std::string& device) const {
    return run(stage, settings(stage, device));
  }
};

TEST_F(OnDeviceRun, FinetuneAndAssistEndWithTheSameModels) {
  for (const char* stage : {"finetune", "assist"}) {
    const StageResult here = run_on(stage, "cpu"), there = run_on(stage, "mock");
    ASSERT_TRUE(there.finished);
    EXPECT_EQ(here.record.best_step, there.record.best_step);
    for (std::size_t i = 0; i < here.best.exits.size(); ++i)
      EXPECT_EQ(here.best.exits[i].loss, there.best.exits[i].loss);
    for (const char* kept : {"/best", "/last"}) {
      const Classifier a = load_classifier(settings(stage, "cpu").out + kept, {});
      const Classifier b = load_classifier(settings(stage, "mock").out + kept, {});
      expect_same_model(*a.model, *b.model);
    }
  }
  const nlohmann::json config = read_json(folder().path("finetune mock/config.json"));
  EXPECT_EQ(config["environment"]["device"], "mock");
}

}  // namespace
}  // namespace costeff
