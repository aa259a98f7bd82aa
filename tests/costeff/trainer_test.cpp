// Identities of a training step: accumulation, padding, refusals, memory.
#include "costeff/exits/multi_exit.h"
#include "tests/allocations.h"
#include "tests/costeff/support.h"

namespace costeff {
namespace {

using namespace testing;

struct Stepped {
  StepReport report;
  Tensor weights;
};

// The weights after two steps on the same sequences, cut into micro-batches of the given sizes.
Stepped after_steps(const std::vector<std::int32_t>& sizes, std::optional<std::size_t> pad_to,
                    DType dtype = DType::f64) {
  Bert model(small_config(), dtype);
  model.initialise(1);
  BertConfig& c = model.config();
  c.hidden_dropout_prob = c.attention_probs_dropout_prob = c.classifier_dropout = 0;
  const EncodedDataset data = random_dataset(12);
  std::vector<Batch> batches;
  std::int32_t begin = 0;
  for (const std::int32_t size : sizes) {
    batches.push_back(batch_of(data, begin, begin + size, pad_to));
    begin += size;
  }
  Trainer trainer(model.parameters(), {.learning_rate = 1e-2, .total = 10});
  Stepped s;
  for (int i = 0; i < 2; ++i) s.report = trainer.step(batches, loss_of(model));
  trainer.flush();
  s.weights = model.parameters().values().clone();
  return s;
}

TEST(Trainer, AccumulationOverMicroBatchesEqualsOneBatch) {
  const Stepped whole = after_steps({12}, std::nullopt);
  for (const std::vector<std::int32_t>& sizes : {std::vector<std::int32_t>{4, 4, 4}, {6, 6}, {1, 7, 4}}) {
    const Stepped parts = after_steps(sizes, std::nullopt);
    EXPECT_NEAR(parts.report.loss, whole.report.loss, 1e-12);
    EXPECT_NEAR(parts.report.gradient_norm, whole.report.gradient_norm, 1e-11);
    EXPECT_LT(largest_difference(parts.weights, whole.weights), 1e-9);
  }
}

TEST(Trainer, PackedEqualsPadded) {
  const Stepped packed = after_steps({12}, std::nullopt);
  const Stepped padded = after_steps({12}, 20);
  EXPECT_NEAR(padded.report.loss, packed.report.loss, 1e-12);
  EXPECT_NEAR(padded.report.gradient_norm, packed.report.gradient_norm, 1e-11);
  // The rows of [PAD] and of late positions get no gradient from padding, so the weights agree everywhere.
  EXPECT_LT(largest_difference(padded.weights, packed.weights), 1e-9);
}

TEST(Trainer, WhatStandsInPaddingNeverMatters) {
  Bert model(small_config(), DType::f32);
  model.initialise(1);
  Batch batch = batch_of(random_dataset(6), 0, 6, 20);
  const auto before = predict_logits(model, batch);
  for (std::size_t s = 0; s < batch.sequences(); ++s) {
    for (std::int32_t t = batch.offsets[s] + batch.lengths[s]; t < batch.offsets[s + 1]; ++t) {
      batch.ids[static_cast<std::size_t>(t)] = 7;
      batch.token_types[static_cast<std::size_t>(t)] = 1;
    }
  }
  EXPECT_EQ(predict_logits(model, batch), before);
}

TEST(Trainer, ABatchGivesEachSequenceWhatItGetsAlone) {
  Bert model(small_config(), DType::f64);
  model.initialise(1);
  const EncodedDataset data = random_dataset(6);
  const auto together = predict_logits(model, batch_of(data, 0, 6));
  for (std::int32_t s = 0; s < 6; ++s) {
    const auto alone = predict_logits(model, batch_of(data, s, s + 1));
    for (std::size_t c = 0; c < alone[0].size(); ++c)
      EXPECT_NEAR(alone[0][c], together[static_cast<std::size_t>(s)][c], 1e-12);
  }
}

TEST(Trainer, LastLayerOnFirstRowsEqualsAllRows) {
  Bert model(small_config(), DType::f64);
  model.initialise(1);
  const TokenBatch batch = token_batch(batch_of(random_dataset(6), 0, 6));
  Forward forward;
  const Variable h0 = model.embed(forward, batch);
  const Variable all = first_rows(model.layer(forward, 1, h0, batch.layout), batch.layout);
  const Variable first = model.layer(forward, 1, h0, batch.layout, true);
  EXPECT_LT(largest_difference(all.value(), first.value()), 1e-13);
}

TEST(Trainer, AParameterThatNoLossReachesIsAnErrorByName) {
  Bert model(small_config(), DType::f32);
  model.initialise(1);
  const Batch batch = batch_of(random_dataset(6), 0, 6);
  const Trainer::Loss no_pooler = [&](Forward& f, const Batch& /*b*/, const TokenBatch& tokens) {
    return mean(model.layer(f, 1, model.embed(f, tokens), tokens.layout));
  };
  Trainer trainer(model.parameters(), {.learning_rate = 1e-2, .total = 10});
  const std::string message = message_of<Error>([&] { trainer.step(std::span(&batch, 1), no_pooler); });
  EXPECT_NE(message.find("bert.encoder.layer.1."), std::string::npos) << message;
  model.parameters().freeze([](const WeightRole& role) { return role.layer > 1 || role.exit > 0; });
  trainer.step(std::span(&batch, 1), no_pooler);  // what is frozen may be unreached
}

TEST(Trainer, AStepThatIsNotFiniteChangesNothing) {
  Bert model(small_config(), DType::f32);
  model.initialise(1);
  model.parameters()
      .find("bert.encoder.layer.1.output.dense.bias")
      .value()
      .fill(std::numeric_limits<double>::quiet_NaN());
  const Tensor before = model.parameters().values().clone();
  const Batch batch = batch_of(random_dataset(6), 0, 6);
  Trainer plain(model.parameters(), {.learning_rate = 1e-2, .total = 10});
  EXPECT_NE(message_of<Error>([&] { plain.step(std::span(&batch, 1), loss_of(model)); }).find("check_finite"),
            std::string::npos);
  EXPECT_EQ(std::memcmp(before.raw(), model.parameters().values().raw(), before.bytes()), 0);
  Trainer checked(model.parameters(), {.learning_rate = 1e-2, .total = 10, .check_finite = true});
  const std::string message = message_of<Error>([&] { checked.step(std::span(&batch, 1), loss_of(model)); });
  EXPECT_NE(message.find("bias_dropout_residual_layer_norm at 'bert.encoder.layer.1.ffn'"), std::string::npos)
      << message;
}

TEST(Trainer, SavedAndRestoredGoesOnBitForBit) {
  const TemporaryFolder folder;
  const EncodedDataset data = random_dataset(20);
  const auto run = [&](int interrupted_at) {
    auto model = std::make_unique<Bert>(small_config(), DType::f32);
    model->initialise(1);
    auto trainer =
        std::make_unique<Trainer>(model->parameters(), TrainerOptions{.learning_rate = 1e-2, .total = 30});
    for (int i = 0; i < 10; ++i) {
      if (i == interrupted_at) {
        trainer->save(folder.path());
        model = std::make_unique<Bert>(small_config(), DType::f32);
        trainer = std::make_unique<Trainer>(model->parameters(),
                                            TrainerOptions{.learning_rate = 1e-2, .total = 30});
        trainer->restore(folder.path(), i);
      }
      const Batch batch = batch_of(data, i, i + 5);
      trainer->step(std::span(&batch, 1), loss_of(*model));
    }
    trainer->flush();
    return model->parameters().values().clone();
  };
  const Tensor whole = run(-1);
  for (const int at : {1, 4, 9}) {
    const Tensor resumed = run(at);
    EXPECT_EQ(std::memcmp(whole.raw(), resumed.raw(), whole.bytes()), 0) << at;
  }
}

TEST(Trainer, SteadyStateAllocatesNothing) {
  Bert model(small_config(), DType::f32);
  model.initialise(1);
  const EncodedDataset data = random_dataset(32);
  const std::vector<Batch> batches = {batch_of(data, 0, 16), batch_of(data, 16, 32)};
  const Trainer::Loss loss = loss_of(model);
  Trainer trainer(model.parameters(), {.learning_rate = 1e-3, .total = 1000});
  for (int i = 0; i < 4; ++i) trainer.step(batches, loss);
  const std::size_t heap = allocation_count();
  const std::uint64_t system = allocator_stats(kCpu).system_requests;
  for (int i = 0; i < 8; ++i) trainer.step(batches, loss);
  EXPECT_EQ(allocation_count(), heap);
  EXPECT_EQ(allocator_stats(kCpu).system_requests, system);
}

}  // namespace
}  // namespace costeff
