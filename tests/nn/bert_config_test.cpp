#include "nn/bert_config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "tensor/error.h"
#include "tensor/file.h"

namespace costeff {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

// As Hugging Face writes the config.json of a BERT, shortened.
json huggingface() {
  return json::parse(R"({
    "_name_or_path": "bert-base-uncased", "architectures": ["BertModel"], "attention_probs_dropout_prob": 0.2,
    "classifier_dropout": null, "gradient_checkpointing": false, "hidden_act": "gelu",
    "hidden_dropout_prob": 0.05, "hidden_size": 768, "initializer_range": 0.03, "intermediate_size": 3072,
    "layer_norm_eps": 1e-07, "max_position_embeddings": 256, "model_type": "bert", "num_attention_heads": 12,
    "num_hidden_layers": 3, "pad_token_id": 1, "position_embedding_type": "absolute", "torch_dtype": "float16",
    "transformers_version": "4.30.2", "type_vocab_size": 4, "use_cache": true, "vocab_size": 30522})");
}

// The same after slenderising as the authors' code writes it: 2 heads of 64, 256 neurons, rank 128.
json slender() {
  json config = huggingface();
  config.update({{"num_attention_heads", 2},
                 {"prun_hidden_size", 128},
                 {"prun_intermediate_size", 256},
                 {"emb_hidden_dim", 128},
                 {"pooler_dense", false}});
  return config;
}

json with(json config, const json& changes) {
  config.update(changes);
  return config;
}

std::string error_of(const json& config) {
  try {
    BertConfig::from_json(config, "dir/config.json");
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::StartsWith("dir/config.json: "));
    return error.what();
  }
  return "no error";
}

std::string error_with(const json& changes) {
  return error_of(with(huggingface(), changes));
}

TEST(BertConfigTest, ReadsAPlainConfig) {
  const BertConfig config = BertConfig::from_json(huggingface(), "x");
  EXPECT_EQ(config.vocab_size, 30522);
  EXPECT_EQ(config.hidden_size, 768);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.layers(), 3);
  EXPECT_THAT(config.heads, ElementsAre(12, 12, 12));
  EXPECT_THAT(config.ffn, ElementsAre(3072, 3072, 3072));
  EXPECT_EQ(config.embedding_rank, -1);
  EXPECT_EQ(config.max_position_embeddings, 256);
  EXPECT_EQ(config.type_vocab_size, 4);
  EXPECT_EQ(config.pad_token_id, 1);
  EXPECT_EQ(config.layer_norm_eps, 1e-7);
  EXPECT_EQ(config.initializer_range, 0.03);
  EXPECT_EQ(config.hidden_dropout_prob, 0.05);
  EXPECT_EQ(config.attention_probs_dropout_prob, 0.2);
  EXPECT_EQ(config.classifier_dropout, 0.05) << "null: the hidden one";
  EXPECT_THAT(config.labels, ElementsAre("LABEL_0", "LABEL_1"));
  EXPECT_FALSE(config.is_regression());
  EXPECT_TRUE(config.is_plain());
}

TEST(BertConfigTest, AbsentKeysHaveHuggingFacesDefaults) {
  const BertConfig config = BertConfig::plain(100, 32, 2, 4, 48);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.max_position_embeddings, 512);
  EXPECT_EQ(config.type_vocab_size, 2);
  EXPECT_EQ(config.pad_token_id, 0);
  EXPECT_EQ(config.layer_norm_eps, 1e-12);
  EXPECT_EQ(config.initializer_range, 0.02);
  EXPECT_EQ(config.hidden_dropout_prob, 0.1);
  EXPECT_EQ(config.attention_probs_dropout_prob, 0.1);
  EXPECT_EQ(config.classifier_dropout, 0.1);
  EXPECT_EQ(config.num_labels(), 2);
  EXPECT_THROW(BertConfig::plain(100, 32, 2, 5, 48), Error);
  EXPECT_THROW(BertConfig::plain(100, 32, 0, 4, 48), Error);
}

TEST(BertConfigTest, ReadsASlenderConfig) {
  const BertConfig config = BertConfig::from_json(slender(), "x");
  EXPECT_EQ(config.hidden_size, 768);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_THAT(config.heads, AllOf(SizeIs(3), Each(2)));
  EXPECT_THAT(config.ffn, AllOf(SizeIs(3), Each(256)));
  EXPECT_EQ(config.embedding_rank, 128);
  EXPECT_FALSE(config.is_plain());

  const BertConfig unused = BertConfig::from_json(
      with(huggingface(),
           {{"prun_hidden_size", -1}, {"prun_intermediate_size", nullptr}, {"emb_hidden_dim", -1}}),
      "x");
  EXPECT_TRUE(unused.is_plain());

  const json layers = {{"heads", {1, 2, 1}}, {"ffn", {256, 7, 8}}, {"head_size", 64}, {"exit_start", 2}};
  const BertConfig uneven = BertConfig::from_json(with(slender(), {{"costeff", layers}}), "x");
  EXPECT_THAT(uneven.heads, ElementsAre(1, 2, 1));
  EXPECT_THAT(uneven.ffn, ElementsAre(256, 7, 8));
}

TEST(BertConfigTest, ReadsLabels) {
  const auto labels = [](const json& changes) {
    return BertConfig::from_json(with(huggingface(), changes), "x").labels;
  };
  json twelve;
  for (int i = 0; i < 12; ++i) twelve[std::to_string(i)] = fmt::format("c{}", i);
  EXPECT_EQ(labels({{"id2label", twelve}})[10], "c10") << "by number, not by text";
  EXPECT_THAT(labels({{"label2id", {{"no", 1}, {"yes", 0}}}}), ElementsAre("yes", "no"));
  EXPECT_THAT(labels({{"num_labels", 3}}), ElementsAre("LABEL_0", "LABEL_1", "LABEL_2"));
  EXPECT_THAT(labels({{"num_labels", 1}, {"problem_type", "regression"}}), ElementsAre("LABEL_0"));
  EXPECT_THAT(labels({{"id2label", {{"0", "a"}, {"1", "b"}}}, {"label2id", {{"a", 0}, {"b", 1}}}}),
              ElementsAre("a", "b"));
}

TEST(BertConfigTest, ContradictoryLabelsAreRefused) {
  EXPECT_THAT(error_with({{"id2label", {{"0", "a"}, {"2", "b"}}}}), HasSubstr("'id2label'"));
  EXPECT_THAT(error_with({{"id2label", {{"0", 5}}}}), HasSubstr("'id2label'"));
  EXPECT_THAT(error_with({{"id2label", json::object()}}), HasSubstr("'id2label'"));
  EXPECT_THAT(error_with({{"id2label", {{"0", "a"}, {"1", "a"}}}}), HasSubstr("same name"));
  EXPECT_THAT(error_with({{"label2id", {{"a", 0}, {"b", 0}}}}), HasSubstr("'label2id'"));
  EXPECT_THAT(error_with({{"label2id", {{"a", -1}, {"b", 0}}}}), HasSubstr("'label2id'"));
  EXPECT_THAT(error_with({{"label2id", json::array({1})}}), HasSubstr("'label2id'"));
  EXPECT_THAT(error_with({{"id2label", {{"0", "a"}, {"1", "b"}}}, {"label2id", {{"a", 1}, {"b", 0}}}}),
              HasSubstr("contradict"));
  EXPECT_THAT(error_with({{"num_labels", 3}, {"id2label", {{"0", "a"}, {"1", "b"}}}}),
              HasSubstr("'num_labels'"));
  EXPECT_THAT(error_with({{"num_labels", 0}}), HasSubstr("'num_labels'"));
  EXPECT_THAT(error_with({{"problem_type", "regression"}}), HasSubstr("'problem_type'"));
  EXPECT_THAT(error_with({{"problem_type", "multi_label_classification"}}), HasSubstr("'problem_type'"));
}

TEST(BertConfigTest, EverySizeIsChecked) {
  const json bad[] = {-3,
                      0,
                      1.5,
                      768.0,
                      "12",
                      true,
                      json::array(),
                      (1 << 20) + 1,
                      9223372036854775807,
                      18446744073709551615u,
                      1e30,
                      std::numeric_limits<std::int64_t>::min()};
  for (const char* key : {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                          "intermediate_size", "max_position_embeddings", "type_vocab_size",
                          "prun_hidden_size", "prun_intermediate_size", "emb_hidden_dim"}) {
    for (const json& value : bad) {
      EXPECT_THAT(error_with({{key, value}}), HasSubstr(fmt::format("'{}'", key))) << value;
    }
  }
  for (const char* key :
       {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"}) {
    json config = huggingface();
    config.erase(key);
    EXPECT_THAT(error_of(config), AllOf(HasSubstr("missing"), HasSubstr(key)));
    EXPECT_THAT(error_with({{key, nullptr}}), AllOf(HasSubstr("missing"), HasSubstr(key)));
  }
  for (const json& value : {json(-1), json(30522), json(0.5)}) {
    EXPECT_THAT(error_with({{"pad_token_id", value}}), HasSubstr("'pad_token_id'"));
  }
  EXPECT_THAT(error_with({{"hidden_size", 1 << 20}, {"num_attention_heads", 16}}), HasSubstr("2^33"));
  EXPECT_THAT(error_with({{"num_hidden_layers", 1 << 20}}), HasSubstr("2^33"));
}

TEST(BertConfigTest, SizesThatDoNotFitTogetherAreRefused) {
  EXPECT_THAT(error_with({{"num_attention_heads", 7}}),
              AllOf(HasSubstr("'hidden_size' (768)"), HasSubstr("(7)")));
  EXPECT_THAT(error_of(with(slender(), {{"prun_hidden_size", 127}})), HasSubstr("'prun_hidden_size' (127)"));
  EXPECT_THAT(error_of(with(slender(), {{"emb_hidden_dim", 769}})), HasSubstr("'emb_hidden_dim'"));
  const auto costeff = [](const json& ours) { return error_of(with(slender(), {{"costeff", ours}})); };
  EXPECT_EQ(costeff({{"heads", {2, 1, 1}}, {"ffn", {1, 1, 256}}}), "no error");
  EXPECT_THAT(costeff({{"heads", {2, 2}}}), AllOf(HasSubstr("costeff: 'heads'"), HasSubstr("3 sizes")));
  EXPECT_THAT(costeff({{"heads", 2}}), HasSubstr("costeff: 'heads'"));
  EXPECT_THAT(costeff({{"heads", {2, 0, 2}}}), HasSubstr("costeff: 'heads'"));
  EXPECT_THAT(costeff({{"heads", {1, 1, 1}}}),
              AllOf(HasSubstr("'heads'"), HasSubstr("'num_attention_heads'")));
  EXPECT_THAT(costeff({{"ffn", {1, 1.5, 256}}}), HasSubstr("costeff: 'ffn'"));
  EXPECT_THAT(costeff({{"ffn", {1, 1, 257}}}),
              AllOf(HasSubstr("'ffn'"), HasSubstr("'prun_intermediate_size'")));
  EXPECT_THAT(costeff({{"head_size", 32}}), HasSubstr("costeff: 'head_size'"));
  EXPECT_THAT(costeff(json::array()), HasSubstr("costeff: it is not a JSON object"));
}

TEST(BertConfigTest, RatesAreChecked) {
  for (const char* key : {"hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"}) {
    for (const json& value : {json(-0.1), json(1.0), json(5), json("0.1")}) {
      EXPECT_THAT(error_with({{key, value}}), HasSubstr(fmt::format("'{}'", key))) << value;
    }
  }
  EXPECT_THAT(error_with({{"layer_norm_eps", 0}}), HasSubstr("'layer_norm_eps'"));
  EXPECT_THAT(error_with({{"layer_norm_eps", std::numeric_limits<double>::infinity()}}),
              HasSubstr("'layer_norm_eps'"));
  EXPECT_THAT(error_with({{"initializer_range", -1}}), HasSubstr("'initializer_range'"));
  EXPECT_EQ(error_with({{"hidden_dropout_prob", 0}}), "no error");
}

TEST(BertConfigTest, WhatTheEngineDoesNotComputeIsRefused) {
  EXPECT_THAT(error_with({{"model_type", "roberta"}}),
              HasSubstr("'model_type' is \"roberta\"; only \"bert\""));
  for (const char* activation : {"gelu_new", "relu", "silu", "gelu_fast"}) {
    EXPECT_THAT(error_with({{"hidden_act", activation}}),
                AllOf(HasSubstr(activation), HasSubstr("only \"gelu\"")));
  }
  EXPECT_THAT(error_with({{"hidden_act", 3}}), HasSubstr("'hidden_act'"));
  EXPECT_THAT(error_with({{"position_embedding_type", "relative_key"}}), HasSubstr("only \"absolute\""));
  EXPECT_THAT(error_with({{"is_decoder", true}}), HasSubstr("'is_decoder'"));
  EXPECT_THAT(error_with({{"add_cross_attention", true}}), HasSubstr("'add_cross_attention'"));
  EXPECT_THAT(error_with({{"pruned_heads", {{"0", {1}}}}}), HasSubstr("'pruned_heads'"));
  EXPECT_EQ(error_with({{"is_decoder", false}, {"pruned_heads", json::object()}}), "no error");
  json config = huggingface();
  config.erase("model_type");
  EXPECT_EQ(error_of(config), "no error");
  EXPECT_THAT(error_of(json::array()), HasSubstr("not a JSON object"));
}

TEST(BertConfigTest, APlainConfigMakesTheRoundTrip) {
  BertConfig config = BertConfig::from_json(huggingface(), "x");
  config.labels = {"negative", "positive"};
  const json written = config.to_json();
  json kept = with(huggingface(), written);
  kept.erase("torch_dtype");
  EXPECT_EQ(written, kept) << "no other key is lost";
  EXPECT_EQ(written["architectures"], json({"BertForSequenceClassification"}));
  EXPECT_EQ(written["id2label"], json({{"0", "negative"}, {"1", "positive"}}));
  EXPECT_EQ(written["label2id"], json({{"negative", 0}, {"positive", 1}}));
  EXPECT_EQ(written["problem_type"], "single_label_classification");
  EXPECT_EQ(written["classifier_dropout"], nullptr);
  EXPECT_EQ(written["transformers_version"], "4.30.2") << "keys of others stay";
  for (const char* key : {"torch_dtype", "num_labels", "costeff", "prun_hidden_size", "emb_hidden_dim"}) {
    EXPECT_FALSE(written.contains(key)) << key;
  }
  const BertConfig again = BertConfig::from_json(written, "x");
  EXPECT_EQ(again.to_json(), written);
  EXPECT_EQ(again.labels, config.labels);
}

TEST(BertConfigTest, ASlenderConfigMakesTheRoundTrip) {
  BertConfig config = BertConfig::from_json(with(huggingface(), {{"costeff", {{"comment", 2}}}}), "x");
  config.heads = {1, 3, 2};
  config.ffn = {5, 4, 6};
  config.embedding_rank = 9;
  config.labels = {"score"};
  const json written = config.to_json();
  EXPECT_EQ(written["num_attention_heads"], 3);
  EXPECT_EQ(written["prun_hidden_size"], 192);
  EXPECT_EQ(written["prun_intermediate_size"], 6);
  EXPECT_EQ(written["intermediate_size"], 3072) << "the original's";
  EXPECT_EQ(written["emb_hidden_dim"], 9);
  EXPECT_EQ(written["costeff"], json({{"comment", 2},
                                      {"format", kModelFormat},
                                      {"head_size", 64},
                                      {"heads", {1, 3, 2}},
                                      {"ffn", {5, 4, 6}}}));
  EXPECT_EQ(written["problem_type"], "regression");

  BertConfig again = BertConfig::from_json(written, "x");
  EXPECT_EQ(again.heads, config.heads);
  EXPECT_EQ(again.ffn, config.ffn);
  EXPECT_EQ(again.head_dim, 64);
  EXPECT_EQ(again.embedding_rank, 9);
  EXPECT_TRUE(again.is_regression());
  EXPECT_EQ(again.to_json(), written);

  // Grown back to full size, nothing slender is left in it.
  again.heads.assign(3, 12);
  again.ffn.assign(3, 3072);
  again.embedding_rank = -1;
  const json plain = again.to_json();
  EXPECT_EQ(plain["costeff"], json({{"comment", 2}}));
  EXPECT_FALSE(plain.contains("prun_hidden_size"));
  EXPECT_TRUE(BertConfig::from_json(plain, "x").is_plain());
}

TEST(BertConfigTest, FilesAreReadAndDamagedOnesRefused) {
  std::string pattern = testing::TempDir() + "costeff_config_XXXXXX";
  const std::string folder = ::mkdtemp(pattern.data());
  const std::string path = folder + "/config.json";
  const auto error_of_file = [&](const std::string& text) -> std::string {
    fs::remove(path);
    std::ofstream(path, std::ios::binary) << text;
    try {
      BertConfig::read(path);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  const std::string text = huggingface().dump(2);
  EXPECT_EQ(error_of_file(text), "no error");
  for (const char* broken : {"", "{", "{\"vocab_size\": NaN}", "\xff"}) {
    EXPECT_THAT(error_of_file(broken), AllOf(HasSubstr(path), HasSubstr("not valid JSON")));
  }
  const std::string nest = "{\"x\": " + std::string(1000000, '[') + std::string(1000000, ']') + "}";
  EXPECT_THAT(error_of_file(nest), AllOf(HasSubstr(path), HasSubstr("64 levels deep")));
  EXPECT_THROW(BertConfig::read(folder), Error);
  EXPECT_THROW(BertConfig::read(folder + "/none"), Error);

  std::mt19937 random(1);
  const auto below = [&](std::size_t n) {
    return std::uniform_int_distribution<std::size_t>(0, n - 1)(random);
  };
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = text;
    damaged[below(text.size())] = "0123456789-.e\"{}[],:nx\xff"[below(23)];
    if (below(4) == 0) damaged.resize(below(text.size()));
    const std::string error = error_of_file(damaged);
    EXPECT_TRUE(error == "no error" || error.find(path) == 0) << error;
  }
  fs::remove_all(folder);
}

TEST(BertConfigTest, ExitsMakeTheRoundTripUnderTheAuthorsKeys) {
  BertConfig config = BertConfig::from_json(huggingface(), "x");
  EXPECT_FALSE(config.exits);
  EXPECT_EQ(config.first_exit(), config.layers());
  config.exits = ExitConfig{2, Pooling::mean, HiddenMode::average, 3, true};
  config.heads = {1, 2, 1};
  config.kept_heads = {{4}, {0, 11}, {5}};
  config.kept_neurons = {};
  const json written = config.to_json();
  EXPECT_EQ(written["pooling_mode"], "avg");
  EXPECT_EQ(written["hidden_mode"], "avg");
  EXPECT_EQ(written["last_n_hidden"], 3);
  EXPECT_EQ(written["pooler_dense"], true);
  EXPECT_EQ(written["costeff"]["exit_start"], 2);
  EXPECT_EQ(written["prun_hidden_size"], 128) << "the authors' class reads it of every multi-exit model";
  const BertConfig again = BertConfig::from_json(written, "x");
  EXPECT_EQ(again.exits, config.exits);
  EXPECT_EQ(again.kept_heads, config.kept_heads);
  EXPECT_TRUE(again.kept_neurons.empty());
  EXPECT_FALSE(again.is_plain());
  BertConfig plain = again;
  plain.exits.reset();
  for (const char* key : {"pooling_mode", "hidden_mode", "last_n_hidden", "pooler_dense"}) {
    EXPECT_FALSE(plain.to_json().contains(key)) << key;
  }
}

// A last exit that reads 32 states of 2^14 units beside layers of next to nothing: [2^14, 2^19] of a dense
// layer, or [2^14, 2^19] of a classifier, is the limit.
TEST(BertConfigTest, ExitsCountAmongTheParameters) {
  constexpr std::int64_t kHidden = 1 << 14;
  BertConfig config = BertConfig::plain(60, 1, 31, 1, 1);
  config.hidden_size = kHidden;
  config.exits = ExitConfig{.first = 31, .last_hidden = 40};
  config.check("x");
  for (const bool dense : {true, false}) {
    BertConfig large = config;
    large.exits->dense = dense;
    if (!dense) {
      large.labels.clear();
      for (std::int64_t i = 0; i < kHidden; ++i) large.labels.push_back(std::to_string(i));
    }
    EXPECT_THROW(large.check("x"), Error) << dense;
    large.exits->last_hidden = 31;
    large.check("x");
    large.exits->last_hidden = 40;
    large.exits->mode = HiddenMode::average;
    large.check("x");
  }
}

TEST(BertConfigTest, ExitsThatDoNotFit) {
  for (const json& wrong :
       {json{{"pooling_mode", "max"}}, json{{"hidden_mode", 3}}, json{{"last_n_hidden", 0}},
        json{{"pooler_dense", "yes"}}, json{{"costeff", {{"exit_start", 4}}}},
        json{{"costeff", {{"exit_start", -1}}}}}) {
    EXPECT_THROW(BertConfig::from_json(with(huggingface(), wrong), "x"), Error) << wrong;
  }
  for (const json& kept : {json{{0}, {1}, {2}}, json{{0, 1}}, json{{1, 0}, {0, 1}, {0, 1}}, json{"a"}}) {
    const json slender = {{"heads", {2, 2, 2}}, {"kept_heads", kept}};
    EXPECT_THROW(BertConfig::from_json(
                     with(huggingface(),
                          {{"num_attention_heads", 2}, {"prun_hidden_size", 128}, {"costeff", slender}}),
                     "x"),
                 Error)
        << kept;
  }
}

}  // namespace
}  // namespace costeff
