// The cost model against parameters that were really allocated and products that were really computed, and
// against published figures.
#include "costeff/exits/cost.h"

#include "costeff/exits/multi_exit.h"
#include "tests/costeff/support.h"

namespace costeff {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Case {
  std::string name;
  BertConfig config;
};

// Layers that differ, and an embedding of rank 7.
BertConfig slender_config() {
  BertConfig c = small_config();
  c.heads = {3, 1, 2};
  c.ffn = {5, 40, 17};
  c.embedding_rank = 7;
  return c;
}

BertConfig with_exits(BertConfig config, const ExitConfig& exits) {
  config.exits = exits;
  return config;
}

std::vector<Case> cases() {
  constexpr HiddenMode kAverage = HiddenMode::average;
  BertConfig regression = small_config(1);
  regression.type_vocab_size = 4;
  std::vector<Case> all = {
      {"plain", small_config()}, {"slender", slender_config()}, {"regression", regression}};
  BertConfig factorised = small_config();
  factorised.embedding_rank = 24;
  all.push_back({"factorised", factorised});
  for (const Case& base : std::vector<Case>{all[0], all[1]}) {
    const auto add = [&](const std::string& name, const ExitConfig& exits) {
      all.push_back({base.name + " " + name, with_exits(base.config, exits)});
    };
    add("exits", {});
    add("exits on the mean", {.pooling = Pooling::mean});
    add("exits from 2", {.first = 2});
    add("exit 3 alone", {.first = 3});
    add("dense exits", {.dense = true});
    add("exits on 2 states", {.last_hidden = 2});
    add("exits on more states than there are", {.last_hidden = 50});
    add("exits on the average of 3 states", {.mode = kAverage, .last_hidden = 3});
    add("dense exits on 3 states", {.last_hidden = 3, .dense = true});
    add("dense exits on averages from 2",
        {.first = 2, .pooling = Pooling::mean, .mode = kAverage, .last_hidden = 2, .dense = true});
  }
  return all;
}

TEST(Cost, ParametersAreThoseOfTheModel) {
  for (const auto& [name, config] : cases()) {
    const ParameterCounts counts = count_parameters(config);
    const Bert model(config);
    EXPECT_EQ(counts.total(), model.parameters().count()) << name;
    std::int64_t embeddings = 0;
    std::int64_t last_exit = 0;
    std::int64_t second_layer = 0;
    for (const NamedTensor& t : model.parameters().named()) {
      const std::int64_t count = t.value().numel();
      if (t.name.starts_with("bert.embeddings.")) embeddings += count;
      if (t.name.starts_with("bert.encoder.layer.1.")) second_layer += count;
      if (t.name.starts_with("classifier.") || t.name.starts_with("bert.pooler.")) last_exit += count;
    }
    EXPECT_EQ(counts.embeddings, embeddings) << name;
    EXPECT_EQ(counts.layers[1], second_layer) << name;
    EXPECT_EQ(counts.exits.back().total(), last_exit) << name;
  }
}

// Sequences of these lengths, one behind the other.
TokenBatch batch_of_lengths(const std::vector<std::int64_t>& lengths) {
  EncodedDataset data;
  for (const std::int64_t length : lengths) {
    Encoding e;
    e.ids.assign(static_cast<std::size_t>(length), 7);
    e.token_type_ids.assign(e.ids.size(), 0);
    data.add(e, 0, 0);
  }
  EXPECT_EQ(sequence_lengths(data), lengths);
  return token_batch(batch_of(data, 0, static_cast<std::int32_t>(lengths.size())));
}

TEST(Cost, FlopsAreThoseTheTapeCounts) {
  for (const auto& [name, config] : cases()) {
    Bert model(config);
    model.initialise(1);
    for (const std::vector<std::int64_t>& lengths :
         {std::vector<std::int64_t>{1}, {11}, {5, 1, 9, 3, 9}, {40, 40}}) {
      Tape tape;
      Forward forward(tape);
      multi_exit(model, forward, batch_of_lengths(lengths), false);
      const Flops flops = forward_flops(config, lengths);
      EXPECT_EQ(flops.total(), tape.flops()) << name;

      // Each part by the tags of its records.
      double embeddings = 0;
      std::vector<double> layers(3);
      std::vector<double> exits(flops.exits.size());
      for (const Record& r : tape.records()) {
        if (r.tags.exit > 0) {
          exits[static_cast<std::size_t>(r.tags.exit - flops.first)] += r.details.flops;
        } else if (r.tags.layer > 0) {
          layers[static_cast<std::size_t>(r.tags.layer - 1)] += r.details.flops;
        } else {
          embeddings += r.details.flops;
        }
      }
      EXPECT_EQ(flops.embeddings, embeddings) << name;
      for (std::size_t k = 0; k < layers.size(); ++k) EXPECT_EQ(flops.layers[k].total(), layers[k]) << name;
      for (std::size_t j = 0; j < exits.size(); ++j) EXPECT_EQ(flops.exits[j].total(), exits[j]) << name;
    }
  }
}

TEST(Cost, PaddingCostsAsTokensDo) {
  const BertConfig config = with_exits(slender_config(), {.pooling = Pooling::mean});
  Bert model(config);
  model.initialise(1);
  Tape tape;
  Forward forward(tape);
  multi_exit(model, forward, token_batch(batch_of(random_dataset(4), 0, 4, 20)), false);
  EXPECT_EQ(4 * forward_flops(config, 20).total(), tape.flops());
}

TEST(Cost, LeavingEarlyCostsWhatWasComputed) {
  const BertConfig config = with_exits(slender_config(), {.first = 2, .last_hidden = 2});
  Bert model(config);
  model.initialise(1);
  const TokenBatch batch = batch_of_lengths({13});
  const Flops flops = forward_flops(config, 13);
  ASSERT_EQ(flops.by_exit().size(), 2u);
  Tape tape;
  Forward forward(tape);
  std::vector<Variable> hidden = {model.embed(forward, batch)};
  for (std::int64_t k = 1; k <= 3; ++k) {
    hidden.push_back(model.layer(forward, k, hidden.back(), batch.layout));
    if (k < 2) continue;
    model.exit_logits(forward, k, hidden, batch.layout);
    EXPECT_EQ(flops.until(k), tape.flops()) << k;
    EXPECT_EQ(flops.by_exit()[static_cast<std::size_t>(k - 2)], tape.flops()) << k;
  }
  EXPECT_EQ(flops.total(), tape.flops());
  EXPECT_THAT(message_of<Error>([&] { flops.until(1); }), HasSubstr("no exit 1; the model has 2 to 3"));
  EXPECT_THAT(message_of<Error>([&] { flops.until(4); }), HasSubstr("no exit 4"));
}

TEST(Cost, MeansOverLengthsAndExits) {
  const BertConfig config = with_exits(slender_config(), {});
  const std::vector<std::int64_t> lengths = {4, 9, 4, 30};
  const std::vector<double> sums = forward_flops(config, lengths).by_exit();
  const std::vector<double> means = mean_flops(config, lengths).by_exit();
  for (std::size_t j = 0; j < 3; ++j) {
    double each = 0;
    for (const std::int64_t n : lengths) each += forward_flops(config, n).by_exit()[j];
    EXPECT_EQ(sums[j], each);
    EXPECT_DOUBLE_EQ(means[j], each / 4);
  }

  const std::vector<std::int64_t> exits = {1, 3, 2, 1};
  double left = 0;
  for (std::size_t s = 0; s < 4; ++s) left += forward_flops(config, lengths[s]).until(exits[s]);
  const double early = early_exit_flops(config, lengths, exits);
  EXPECT_DOUBLE_EQ(early, left / 4);
  EXPECT_DOUBLE_EQ(flops_reduction(mean_flops(small_config(), lengths), early),
                   forward_flops(small_config(), lengths).total() / left);

  const Flops padded = forward_flops(config, 30);
  const std::vector<std::int64_t> counts = {2, 1, 1};
  EXPECT_DOUBLE_EQ(early_exit_flops(padded, counts),
                   (2 * padded.until(1) + padded.until(2) + padded.until(3)) / 4);
  const std::vector<std::int64_t> all_last = {0, 0, 5};
  EXPECT_EQ(early_exit_flops(padded, all_last), padded.total());
}

TEST(Cost, RefusesWhatHasNoMeaning) {
  const BertConfig config = with_exits(small_config(), {.first = 2});
  const std::vector<std::int64_t> none;
  const std::vector<std::int64_t> lengths = {3, 0};
  const std::vector<std::int64_t> exits = {2, 1};
  const std::vector<std::int64_t> one = {3};
  EXPECT_THAT(message_of<Error>([&] { forward_flops(config, 0); }), HasSubstr("0 tokens"));
  EXPECT_THAT(message_of<Error>([&] { forward_flops(config, lengths); }), HasSubstr("0 tokens"));
  EXPECT_THAT(message_of<Error>([&] { mean_flops(config, none); }), HasSubstr("no sequences"));
  EXPECT_EQ(forward_flops(config, none).total(), 0);
  EXPECT_THAT(message_of<Error>([&] { early_exit_flops(config, none, none); }), HasSubstr("no sequences"));
  EXPECT_THAT(message_of<Error>([&] { early_exit_flops(config, exits, one); }),
              HasSubstr("2 lengths, but 1"));
  EXPECT_THAT(message_of<Error>([&] { early_exit_flops(config, exits, exits); }),
              HasSubstr("sequence 2 left at exit 1; the model has 2 to 3"));
  const Flops flops = forward_flops(config, 5);
  const std::vector<std::int64_t> negative = {2, -1};
  const std::vector<std::int64_t> zeros = {0, 0};
  EXPECT_THAT(message_of<Error>([&] { early_exit_flops(flops, one); }), HasSubstr("1 counts, but 2 exits"));
  EXPECT_THAT(message_of<Error>([&] { early_exit_flops(flops, negative); }), HasSubstr("-1 sequences"));
  EXPECT_THAT(message_of<Error>([&] { early_exit_flops(flops, zeros); }), HasSubstr("no sequences"));
  BertConfig broken = small_config();
  broken.embedding_rank = 25;
  EXPECT_THAT(message_of<Error>([&] { count_parameters(broken); }), HasSubstr("emb_hidden_dim"));
  EXPECT_THAT(message_of<Error>([&] { forward_flops(broken, 5); }), HasSubstr("emb_hidden_dim"));
  const std::int64_t many = std::int64_t{1} << 20;
  BertConfig deep = BertConfig::plain(60, 16, many, 1, 1);
  deep.exits = ExitConfig{.last_hidden = many};
  EXPECT_THAT(message_of<Error>([&] { count_parameters(deep); }), HasSubstr("2^33"));
}

struct Figures {
  std::int64_t heads, ffn, rank;
  double parameters, flops;  // in millions, in thousand millions
};

// COST-EFF (Shen et al., EMNLP 2022): BERT-base, a2-f256-e128 and a6-f1536-e384. 109,483,778 is what PyTorch
// counts of Hugging Face's BertForSequenceClassification of bert-base-uncased.
TEST(Cost, BertBaseAndThePublishedSettings) {
  const BertConfig base = BertConfig::plain(30522, 768, 12, 12, 3072);
  EXPECT_EQ(count_parameters(base).total(), 109'483'778);
  for (const Figures& f : {Figures{12, 3072, -1, 109.5, 22.35}, Figures{2, 256, 128, 13.9, 2.54},
                           Figures{6, 1536, 384, 55.0, 11.25}}) {
    BertConfig config = base;
    config.heads.assign(12, f.heads);
    config.ffn.assign(12, f.ffn);
    config.embedding_rank = f.rank;
    if (f.rank != -1) config.exits = ExitConfig{};
    EXPECT_NEAR(static_cast<double>(count_parameters(config).total()), f.parameters * 1e6, 0.05e6);
    EXPECT_NEAR(forward_flops(config, 128).total(), f.flops * 1e9, 0.005e9);
  }
}

}  // namespace
}  // namespace costeff
