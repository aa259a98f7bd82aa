// What the audit of gradients reads from its sums, of sums that are written down here.
#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "costeff/audit/gradient_view.h"
#include "costeff/audit/step_audit.h"
#include "costeff/train/losses.h"
#include "tests/costeff/support.h"

namespace costeff::audit {
namespace {

using namespace costeff::testing;

// Two terms "soft" at exits 1 and 2, two "hard" there, and features, in one layer. Of plain gradients (3,4),
// (4,-3), (1,0), (-1,2), (0,5): their inner products.
GradientAudit made() {
  GradientAudit audit{.layers = 2, .batches = 4, .learning_rate = 0.1, .adam = {.weight_decay = 0.5}};
  for (const char* kind : {"soft", "hard"}) {
    for (const std::int64_t exit : {1, 2})
      audit.roots.push_back({fmt::format("exit {} {}", exit, kind), kind, exit});
  }
  audit.roots.push_back({"features 2", "features", 2});
  const double g[5][2] = {{3, 4}, {4, -3}, {1, 0}, {-1, 2}, {0, 5}};
  for (const Kind kind : {Kind::attention, Kind::ffn, Kind::exit}) {
    GroupSums sums{.group = {1, kind}, .parameters = 2, .weights = 8, .decayed = 2};
    sums.gram.resize(25);
    sums.updates_crossed = 3;
    sums.crossed.assign(5, 1.0);
    for (int i = 0; i < 5; ++i) {
      for (int j = 0; j < 5; ++j)
        sums.gram[static_cast<std::size_t>(i) * 5 + static_cast<std::size_t>(j)] =
            g[i][0] * g[j][0] + g[i][1] * g[j][1];
    }
    // Exit 1 soft and exit 2 soft agree in one batch as much as they fight in the other; exits hard fight in
    // both.
    std::vector<double> uneven(25, 0.0);
    uneven[1] = uneven[5] = 10;
    sums.batch_grams = {sums.gram, sums.gram};
    for (std::size_t i = 0; i < 25; ++i) {
      sums.batch_grams[0][i] = sums.gram[i] / 2 + uneven[i];
      sums.batch_grams[1][i] = sums.gram[i] / 2 - uneven[i];
    }
    for (const Variant v : kVariants) {
      GroupSums::Sums& s = sums.of[v];
      const double scale = v == equalised ? 0.25 : 1;  // of squares
      s.square.assign(5, scale);
      s.joint_with = {24 * scale, 8 * scale, 4 * scale, -4 * scale, 0};
      s.joint = 32 * scale;
      s.clipped = v == equalised ? 9 : 4;
      s.update_with = {1, 2, 0, 0, 1};
      s.history_with = 4;
      s.update = v == equalised ? 8 : 2;
      s.undamped = v == equalised ? 9 : 4;
      s.near_epsilon = 1;
      s.elements = 2;
    }
    audit.groups.push_back(std::move(sums));
  }
  return audit;
}

TEST(AuditView, ALayerIsAllItsPartsButItsExit) {
  const GroupSums s = layer_sums(made(), 1);
  EXPECT_EQ(s.parameters, 4);
  EXPECT_EQ(s.weights, 16);
  EXPECT_EQ(s.of[plain].joint, 64);
  EXPECT_EQ(s.gram[0], 50);
  EXPECT_EQ(layer_sums(made(), 2).parameters, 0);
}

TEST(AuditView, Shares) {
  const GroupSums s = layer_sums(made(), 1);
  EXPECT_DOUBLE_EQ(share(s, plain, 0), 0.75);
  EXPECT_DOUBLE_EQ(share(s, equalised, 3), -0.125);
  EXPECT_DOUBLE_EQ(update_share(s, equalised, 1), 0.25);
  EXPECT_DOUBLE_EQ(history_share(s, plain), 2);
  EXPECT_TRUE(std::isnan(share(layer_sums(made(), 2), plain, 0)));
}

// With equalisation over without, of norms.
TEST(AuditView, Survival) {
  const Survival left = survival(layer_sums(made(), 1));
  EXPECT_DOUBLE_EQ(left.raw, 0.5);
  EXPECT_DOUBLE_EQ(left.clipped, 1.5);
  EXPECT_DOUBLE_EQ(left.undamped, 1.5);
  EXPECT_DOUBLE_EQ(left.update, 2);
  EXPECT_DOUBLE_EQ(left.turn, 0.75);
}

// lr |u| / |w|, where |u|^2 is summed over 4 batches and |w|^2 is their mean; lr lambda |w of decaying| /
// |w|.
TEST(AuditView, StepAndDecayBesideTheWeights) {
  const GradientAudit audit = made();
  const GroupSums s = layer_sums(audit, 1);
  EXPECT_DOUBLE_EQ(relative_update(audit, s, equalised), 0.1 * std::sqrt(16.0 / 4 / 16));
  EXPECT_DOUBLE_EQ(relative_update(audit, s, plain), 0.1 * std::sqrt(4.0 / 4 / 16));
  EXPECT_DOUBLE_EQ(relative_decay(audit, s), 0.1 * 0.5 * 0.5);
}

// Of exits: soft with soft, hard with hard, the least agreed first.
TEST(AuditView, PairsOfExitsAreOfOneKind) {
  const GradientAudit audit = made();
  const std::vector<Pair> exits = pairs(audit, layer_sums(audit, 1), PairsOf::exits);
  ASSERT_EQ(exits.size(), 2);
  EXPECT_EQ(exits[0].a, 2U);
  EXPECT_EQ(exits[0].b, 3U);
  EXPECT_DOUBLE_EQ(exits[0].cosine, -1 / std::sqrt(5.0));
  EXPECT_DOUBLE_EQ(exits[0].low, -1 / std::sqrt(5.0));
  EXPECT_TRUE(exits[0].fights());
  EXPECT_DOUBLE_EQ(exits[1].cosine, 0);
  EXPECT_DOUBLE_EQ(exits[1].low, -10 / 12.5);
  EXPECT_DOUBLE_EQ(exits[1].high, 10 / 12.5);
  EXPECT_FALSE(exits[1].fights());
  EXPECT_TRUE(pairs(audit, layer_sums(audit, 2), PairsOf::exits).empty());
}

// (4,-3) and (0,5).
TEST(AuditView, PairsOfAnExitAndFeatures) {
  const GradientAudit audit = made();
  const std::vector<Pair> mixed = pairs(audit, layer_sums(audit, 1), PairsOf::exit_and_features);
  ASSERT_EQ(mixed.size(), 4);
  EXPECT_EQ(mixed[0].a, 1U);
  EXPECT_EQ(mixed[0].b, 4U);
  EXPECT_DOUBLE_EQ(mixed[0].cosine, -0.6);
  EXPECT_DOUBLE_EQ(mixed[3].cosine, 2 / std::sqrt(5.0));
}

// The lowest, not the first.
TEST(AuditView, TheWorstPairOfInnerProducts) {
  const std::vector<std::string> three = {"hard", "hard", "hard"};
  const auto middle = worst_pair(three, {1, 0.5, 0.9, 0, 0.5, 1, -0.2, 0, 0.9, -0.2, 1, 0}, 4);
  ASSERT_TRUE(middle);
  EXPECT_EQ(middle->a, 1U);
  EXPECT_EQ(middle->b, 2U);
  const auto first = worst_pair(three, {1, -0.5, 0.9, 0, -0.5, 1, 0.2, 0, 0.9, 0.2, 1, 0}, 4);
  EXPECT_DOUBLE_EQ(first->cosine, -0.5);
  EXPECT_FALSE(worst_pair(std::vector<std::string>{"hard", "soft"}, {1, 0, 0, 1}, 2));
}

TEST(AuditView, SharesDifferWhereRootsAreNotScaledAlike) {
  GroupSums s = layer_sums(made(), 1);
  EXPECT_FALSE(shares_differ(s));
  s.of[equalised].joint_with[4] += 0.01 * s.of[equalised].joint;
  EXPECT_TRUE(shares_differ(s));
}

// A step's look at the gradients against passes of their own, one for each exit.
TEST(AuditView, AStepIsLookedAtAsSeparatePassesAre) {
  BertConfig config = small_config();
  config.exits = ExitConfig{};
  Bert model(config, DType::f64);
  model.initialise(5);
  const EncodedDataset data = random_dataset(6);
  const Batch batch = batch_of(data, 0, 6);
  Tape tape;
  Forward forward(tape);
  const Variable loss = hard_loss(multi_exit(model, forward, token_batch(batch), true), batch);
  const Json seen = audit_step(tape, loss, model.parameters());
  std::vector<std::vector<double>> layer(3);  // gradients of layer 1, by exit
  std::vector<double> joint;
  double square = 0;
  for (std::int64_t i = 1; i <= 3; ++i) {
    Tape own;
    Forward pass(own);
    const MultiExitOutputs out = multi_exit(model, pass, token_batch(batch), true);
    const Gradients g = own.backward(hard_loss({i, {out.exit(i)}, {}}, batch));
    for (Parameter* p : model.parameters().parameters()) {
      if (!p->name.starts_with("bert.encoder.layer.0.")) continue;
      const Tensor x = g.of(own.parameter(*p));
      for (std::int64_t e = 0; e < x.numel(); ++e) layer[static_cast<std::size_t>(i - 1)].push_back(x.at(e));
    }
  }
  const auto dot = [](const std::vector<double>& a, const std::vector<double>& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  };
  for (std::size_t e = 0; e < layer[0].size(); ++e) joint.push_back(layer[0][e] + layer[1][e] + layer[2][e]);
  square = dot(joint, joint);
  const Json& row = seen["layers"][1];
  ASSERT_EQ(row["layer"], 1);
  EXPECT_NEAR(row["norm"], std::sqrt(square), 1e-12 * std::sqrt(square));
  double lowest = 2;
  for (std::size_t a = 0; a < 3; ++a) {
    EXPECT_NEAR(row["shares"][a], dot(layer[a], joint) / square, 1e-12);
    for (std::size_t b = a + 1; b < 3; ++b)
      lowest = std::min(
          lowest, dot(layer[a], layer[b]) / std::sqrt(dot(layer[a], layer[a]) * dot(layer[b], layer[b])));
  }
  EXPECT_NEAR(row["conflict"]["cosine"], lowest, 1e-12);
}

}  // namespace
}  // namespace costeff::audit
