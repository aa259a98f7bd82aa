// Checkpoints as Hugging Face directories: round trips, old and unprefixed names, what is missing or too
// much.
#include "nn/checkpoint.h"

#include "tests/nn/reference.h"

namespace costeff {
namespace {

using namespace testing;

BertConfig small_config() {
  BertConfig c = BertConfig::plain(30, 24, 2, 4, 40);
  c.max_position_embeddings = 16;
  return c;
}

// Layers of unequal widths and a factorised embedding.
BertConfig slender_config() {
  BertConfig c = small_config();
  c.heads = {1, 3};
  c.ffn = {8, 17};
  c.embedding_rank = 5;
  return c;
}

class CheckpointTest : public ::testing::Test {
 protected:
  void write(const Bert& model, SaveDType dtype = SaveDType::f32) const {
    save_bert(folder_.path(), model, folder_.path(), dtype);
  }

  // Writes the model's tensors under the names that `rename` gives; an empty name leaves one out.
  void write_renamed(const Bert& model, const std::function<std::string(const std::string&)>& rename) const {
    write(model);
    std::vector<SafetensorsEntry> entries;
    for (const NamedTensor& t : model.parameters().named()) {
      const Tensor value = t.value();
      SafetensorsEntry entry{rename(t.name), {value.shape()[0]}, value.data<const float>()};
      if (value.shape().rank() == 2) entry.shape.push_back(value.shape()[1]);
      if (!entry.name.empty()) entries.push_back(entry);
    }
    entries.push_back({"cls.predictions.bias", {3}, extra_});
    write_safetensors(folder_.path("model.safetensors"), entries);
  }

  static void expect_equal(const Bert& a, const Bert& b, double tolerance = 0) {
    const auto left = a.parameters().named();
    const auto right = b.parameters().named();
    ASSERT_EQ(left.size(), right.size());
    for (std::size_t i = 0; i < left.size(); ++i) {
      EXPECT_EQ(left[i].name, right[i].name);
      EXPECT_LE(largest_difference(left[i].value(), right[i].value()), tolerance) << left[i].name;
    }
  }

  TemporaryFolder folder_;
  float extra_[3] = {1, 2, 3};
};

TEST_F(CheckpointTest, RoundTripKeepsEveryBit) {
  for (const BertConfig& config : {small_config(), slender_config()}) {
    Bert model(config);
    model.initialise(4);
    write(model);
    expect_equal(model, *load_bert(folder_.path(), {}));
  }
}

TEST_F(CheckpointTest, HalfPrecisionRounds) {
  Bert model(small_config());
  model.initialise(4);
  write(model, SaveDType::f16);
  expect_equal(model, *load_bert(folder_.path(), {}), 4e-5);  // half of a place below 1/8
  const auto wide = load_bert(folder_.path(), {.dtype = DType::f64});
  expect_equal(*load_bert(folder_.path(), {}), *wide);
}

TEST_F(CheckpointTest, NamesWithoutPrefixAndOldLayerNormNames) {
  Bert model(small_config());
  model.initialise(4);
  write_renamed(model, [](const std::string& name) {
    std::string n = name.starts_with("bert.") ? name.substr(5) : name;
    if (n.ends_with("LayerNorm.weight")) n.replace(n.size() - 6, 6, "gamma");
    if (n.ends_with("LayerNorm.bias")) n.replace(n.size() - 4, 4, "beta");
    return n;
  });
  LoadReport report;
  expect_equal(model, *load_bert(folder_.path(), {}, &report));
  EXPECT_EQ(report.ignored, std::vector<std::string>{"cls.predictions.bias"});
}

TEST_F(CheckpointTest, ANewClassifierIsInitialisedAndReported) {
  Bert model(small_config());
  model.initialise(4);
  write(model);
  LoadReport report;
  const auto loaded = load_bert(folder_.path(), {.labels = {"a", "b", "c"}, .seed = 1}, &report);
  EXPECT_EQ(loaded->config().labels, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(report.initialised, (std::vector<std::string>{"classifier.weight", "classifier.bias"}));
}

TEST_F(CheckpointTest, TheSameLabelsInAnotherOrderTakeTheirRowsAlong) {
  BertConfig config = small_config();
  config.labels = {"a", "b", "c"};
  Bert model(config);
  model.initialise(4);
  write(model);
  const auto loaded = load_bert(folder_.path(), {.labels = {"c", "a", "b"}});
  const Tensor before = model.parameters().find("classifier.weight").value();
  const Tensor after = loaded->parameters().find("classifier.weight").value();
  EXPECT_EQ(largest_difference(after.slice(0, 1), before.slice(2, 3)), 0);
  EXPECT_EQ(largest_difference(after.slice(1, 2), before.slice(0, 1)), 0);
  EXPECT_EQ(largest_difference(after.slice(2, 3), before.slice(1, 2)), 0);
}

TEST_F(CheckpointTest, MissingAndUnexpectedTensorsAreListed) {
  Bert model(small_config());
  model.initialise(4);
  write_renamed(model, [](const std::string& name) {
    return name.find("layer.1.output.dense") != std::string::npos ? "" : name;
  });
  const std::string missing = message_of<Error>([&] { load_bert(folder_.path(), {}); });
  EXPECT_NE(missing.find("bert.encoder.layer.1.output.dense.weight"), std::string::npos) << missing;
  EXPECT_NE(missing.find("bert.encoder.layer.1.output.dense.bias"), std::string::npos) << missing;
  write_renamed(model, [](const std::string& name) {
    return name.starts_with("classifier.") ? "bert.surprise." + name : name;
  });
  EXPECT_THROW(load_bert(folder_.path(), {}), Error);
  const std::string unexpected = message_of<Error>([&] {
    load_bert(folder_.path(), {.labels = {"a", "b"}});
  });
  EXPECT_NE(unexpected.find("bert.surprise"), std::string::npos) << unexpected;
}

// Labels that are asked for may make a classifier new where there is none; a hole among trained ones is an
// error.
TEST_F(CheckpointTest, AnExitAmongOthersIsNotMadeUp) {
  BertConfig config = small_config();
  config.exits = ExitConfig{.first = 1};
  Bert model(config);
  model.initialise(4);
  const std::string lost = "bert.encoder.highway.0.classifier.weight";
  bool found = false;
  write_renamed(model, [&](const std::string& name) {
    found = found || name == lost;
    return name == lost ? "" : name;
  });
  ASSERT_TRUE(found);
  const LoadOptions options{.labels = config.labels};
  EXPECT_THAT(message_of<Error>([&] { load_bert(folder_.path(), options); }),
              ::testing::HasSubstr("missing 1 of the model's tensors: " + lost));
  write_renamed(model, [](const std::string& name) {
    return name.find("classifier") != std::string::npos ? "" : name;
  });
  LoadReport report;
  load_bert(folder_.path(), options, &report);
  EXPECT_NE(std::find(report.initialised.begin(), report.initialised.end(), lost), report.initialised.end());
}

TEST_F(CheckpointTest, AShapeThatTheConfigDoesNotGiveIsNamed) {
  Bert model(small_config());
  model.initialise(4);
  write(model);
  BertConfig wider = small_config();
  wider.ffn = {48, 48};
  write_atomically(folder_.path("config.json"), wider.to_json().dump());
  const std::string message = message_of<Error>([&] { load_bert(folder_.path(), {}); });
  EXPECT_NE(message.find("bert.encoder.layer.0.intermediate.dense.weight is [40, 24]"), std::string::npos)
      << message;
}

TEST_F(CheckpointTest, ASlenderModelComputesWhatItsLayersSay) {
  Bert model(slender_config(), DType::f64);
  model.initialise(4);
  EXPECT_EQ(model.parameters().find("bert.encoder.layer.0.attention.self.query.weight").value().shape(),
            (Shape{6, 24}));
  EXPECT_EQ(model.parameters().find("bert.encoder.layer.1.attention.self.value.bias").value().shape(),
            (Shape{18}));
  EXPECT_EQ(model.parameters().find("bert.embeddings.word_embeddings2.weight").value().shape(),
            (Shape{24, 5}));
  // A factorised embedding computes what its product, as one table, would.
  BertConfig whole = slender_config();
  whole.embedding_rank = -1;
  Bert product(whole, DType::f64);
  for (const NamedTensor& t : product.parameters().named()) {
    if (t.name != "bert.embeddings.word_embeddings.weight")
      t.value().copy_from(model.parameters().find(t.name).value());
  }
  const Variable table =
      matmul(model.parameters().find("bert.embeddings.word_embeddings1.weight").value(),
             model.parameters().find("bert.embeddings.word_embeddings2.weight").value(), true);
  product.parameters().find("bert.embeddings.word_embeddings.weight").value().copy_from(table.value());
  const std::int32_t ids[] = {2, 7, 29, 3, 5}, zeros[] = {0, 0, 0, 0, 0}, positions[] = {0, 1, 2, 0, 1},
                     offsets[] = {0, 3, 5};
  const TokenBatch batch{Tensor::from<std::int32_t>(ids, {5}), Tensor::from<std::int32_t>(zeros, {5}),
                         Tensor::from<std::int32_t>(positions, {5}), make_layout(offsets)};
  Forward forward;
  EXPECT_LT(largest_difference(model.logits(forward, batch).value(), product.logits(forward, batch).value()),
            1e-13);
}

}  // namespace
}  // namespace costeff
