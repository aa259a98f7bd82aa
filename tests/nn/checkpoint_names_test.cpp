// Which weight a name of a checkpoint means, and what a weight is called: against Hugging Face's names.
#include "nn/checkpoint_names.h"

#include <gtest/gtest.h>

#include <map>

#include "nn/bert.h"
#include "tests/support.h"

namespace costeff {
namespace {

// Every weight of a slender model of two layers with exits that have dense layers.
const std::map<std::string, WeightRole> kNames = {
    {"bert.embeddings.word_embeddings1.weight", {Part::word_factor}},
    {"bert.embeddings.word_embeddings2.weight", {Part::word_projection}},
    {"bert.embeddings.position_embeddings.weight", {Part::position}},
    {"bert.embeddings.token_type_embeddings.weight", {Part::token_type}},
    {"bert.embeddings.LayerNorm.weight", {Part::embedding_norm}},
    {"bert.embeddings.LayerNorm.bias", {Part::embedding_norm, 0, 0, Piece::bias}},
    {"bert.encoder.layer.0.attention.self.query.weight", {Part::query, 1}},
    {"bert.encoder.layer.0.attention.self.query.bias", {Part::query, 1, 0, Piece::bias}},
    {"bert.encoder.layer.0.attention.self.key.weight", {Part::key, 1}},
    {"bert.encoder.layer.0.attention.self.key.bias", {Part::key, 1, 0, Piece::bias}},
    {"bert.encoder.layer.0.attention.self.value.weight", {Part::value, 1}},
    {"bert.encoder.layer.0.attention.self.value.bias", {Part::value, 1, 0, Piece::bias}},
    {"bert.encoder.layer.0.attention.output.dense.weight", {Part::attention_output, 1}},
    {"bert.encoder.layer.0.attention.output.dense.bias", {Part::attention_output, 1, 0, Piece::bias}},
    {"bert.encoder.layer.0.attention.output.LayerNorm.weight", {Part::attention_norm, 1}},
    {"bert.encoder.layer.0.attention.output.LayerNorm.bias", {Part::attention_norm, 1, 0, Piece::bias}},
    {"bert.encoder.layer.0.intermediate.dense.weight", {Part::ffn_in, 1}},
    {"bert.encoder.layer.0.intermediate.dense.bias", {Part::ffn_in, 1, 0, Piece::bias}},
    {"bert.encoder.layer.0.output.dense.weight", {Part::ffn_out, 1}},
    {"bert.encoder.layer.0.output.dense.bias", {Part::ffn_out, 1, 0, Piece::bias}},
    {"bert.encoder.layer.0.output.LayerNorm.weight", {Part::ffn_norm, 1}},
    {"bert.encoder.layer.0.output.LayerNorm.bias", {Part::ffn_norm, 1, 0, Piece::bias}},
    {"bert.encoder.layer.1.attention.self.query.weight", {Part::query, 2}},
    {"bert.encoder.layer.1.attention.self.query.bias", {Part::query, 2, 0, Piece::bias}},
    {"bert.encoder.layer.1.attention.self.key.weight", {Part::key, 2}},
    {"bert.encoder.layer.1.attention.self.key.bias", {Part::key, 2, 0, Piece::bias}},
    {"bert.encoder.layer.1.attention.self.value.weight", {Part::value, 2}},
    {"bert.encoder.layer.1.attention.self.value.bias", {Part::value, 2, 0, Piece::bias}},
    {"bert.encoder.layer.1.attention.output.dense.weight", {Part::attention_output, 2}},
    {"bert.encoder.layer.1.attention.output.dense.bias", {Part::attention_output, 2, 0, Piece::bias}},
    {"bert.encoder.layer.1.attention.output.LayerNorm.weight", {Part::attention_norm, 2}},
    {"bert.encoder.layer.1.attention.output.LayerNorm.bias", {Part::attention_norm, 2, 0, Piece::bias}},
    {"bert.encoder.layer.1.intermediate.dense.weight", {Part::ffn_in, 2}},
    {"bert.encoder.layer.1.intermediate.dense.bias", {Part::ffn_in, 2, 0, Piece::bias}},
    {"bert.encoder.layer.1.output.dense.weight", {Part::ffn_out, 2}},
    {"bert.encoder.layer.1.output.dense.bias", {Part::ffn_out, 2, 0, Piece::bias}},
    {"bert.encoder.layer.1.output.LayerNorm.weight", {Part::ffn_norm, 2}},
    {"bert.encoder.layer.1.output.LayerNorm.bias", {Part::ffn_norm, 2, 0, Piece::bias}},
    {"bert.encoder.highway.0.pooler.dense.weight", {Part::exit_dense, 0, 1}},
    {"bert.encoder.highway.0.pooler.dense.bias", {Part::exit_dense, 0, 1, Piece::bias}},
    {"bert.encoder.highway.0.classifier.weight", {Part::exit_classifier, 0, 1}},
    {"bert.encoder.highway.0.classifier.bias", {Part::exit_classifier, 0, 1, Piece::bias}},
    {"bert.pooler.dense.weight", {Part::exit_dense, 0, 2}},
    {"bert.pooler.dense.bias", {Part::exit_dense, 0, 2, Piece::bias}},
    {"classifier.weight", {Part::exit_classifier, 0, 2}},
    {"classifier.bias", {Part::exit_classifier, 0, 2, Piece::bias}},
};

Bert two_layers() {
  BertConfig config = BertConfig::plain(20, 8, 2, 2, 12);
  config.embedding_rank = 4;
  config.exits = ExitConfig{.dense = true};
  return Bert(config);
}

TEST(CheckpointNames, BothWaysForEveryWeight) {
  const CheckpointNames names(kBertNames, 2);
  for (const auto& [name, role] : kNames) {
    EXPECT_EQ(names.role(name), std::optional(role)) << name;
    EXPECT_EQ(names.name(role), name);
    EXPECT_EQ(names.canonical(name), name);
    EXPECT_FALSE(names.is_unused(name)) << name;
  }
  EXPECT_EQ(names.role("bert.embeddings.word_embeddings.weight"), std::optional(WeightRole{Part::word}));
  EXPECT_EQ(CheckpointNames(kBertNames, 12).name({Part::exit_classifier, 0, 11}),
            "bert.encoder.highway.10.classifier.weight");
}

TEST(CheckpointNames, AModelDeclaresThem) {
  const Bert model = two_layers();
  std::map<std::string, WeightRole> found;
  for (const NamedTensor& t : model.parameters().named()) {
    found[t.name] = t.role;
    EXPECT_EQ(model.parameters().find(t.role).name, t.name);
    EXPECT_EQ(t.parameter->decays,
              t.name.find("bias") == std::string::npos && t.name.find("LayerNorm") == std::string::npos)
        << t.name;
  }
  EXPECT_EQ(found, kNames);
}

TEST(CheckpointNames, WhatNoWeightHas) {
  const CheckpointNames names(kBertNames, 2);
  for (const char* name : {"", "weight", "bert.surprise.weight", "bert.encoder.layer.x.output.dense.weight",
                           "bert.encoder.layer..output.dense.weight", "bert.encoder.layer.0.output.dense",
                           "bert.encoder.layer.-.output.dense.weight", "bert.embeddings.LayerNorm.gamma"})
    EXPECT_EQ(names.role(name), std::nullopt) << name;
  const std::string message = testing::message_of<Error>([&] { names.name({}); });
  EXPECT_NE(message.find("no name"), std::string::npos) << message;
  EXPECT_THROW(two_layers().parameters().find(WeightRole{Part::query, 3}), Error);
}

TEST(CheckpointNames, WhatOtherCheckpointsCallThem) {
  const CheckpointNames names(kBertNames, 2);
  EXPECT_EQ(names.canonical("embeddings.LayerNorm.gamma"), "bert.embeddings.LayerNorm.weight");
  EXPECT_EQ(names.canonical("bert.encoder.layer.0.output.LayerNorm.beta"),
            "bert.encoder.layer.0.output.LayerNorm.bias");
  EXPECT_EQ(names.canonical("encoder.highway.0.classifier.bias"), "bert.encoder.highway.0.classifier.bias");
  EXPECT_EQ(names.canonical("cls.predictions.bias"), "cls.predictions.bias");
  EXPECT_TRUE(names.is_unused("cls.predictions.bias"));
  EXPECT_TRUE(names.is_unused(names.canonical("embeddings.position_ids")));
}

}  // namespace
}  // namespace costeff
