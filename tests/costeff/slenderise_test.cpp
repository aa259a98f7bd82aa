// What stays of a model: sizes of a round, places by their scores, and the weighted product of an embedding.
#include "costeff/methods/slenderise.h"

#include <array>
#include <numeric>
#include <set>

#include "tensor/error.h"
#include "tests/costeff/support.h"

namespace costeff {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::SizeIs;

using Scores = std::vector<std::vector<double>>;
using Places = std::vector<std::vector<std::int64_t>>;

// Pseudo-random scores in (0, 1).
Scores random_scores(const std::vector<std::int64_t>& widths, std::uint32_t stream) {
  Scores scores;
  std::uint32_t next = 0;
  for (const std::int64_t width : widths) {
    std::vector<double>& layer = scores.emplace_back();
    for (std::int64_t i = 0; i < width; ++i)
      layer.push_back(std::ldexp(philox4x32({next++, stream, 0, 0}, {1, 2})[0] + 0.5, -32));
  }
  return scores;
}

std::int64_t total(const Places& kept) {
  std::int64_t sum = 0;
  for (const auto& layer : kept) sum += static_cast<std::int64_t>(layer.size());
  return sum;
}

TEST(KeepTop, OfEqualScoresTheFirst) {
  const std::vector<double> scores = {2, 1, 3, 1, 2, 1};
  EXPECT_THAT(keep_top(scores, 1), ElementsAre(2));
  EXPECT_THAT(keep_top(scores, 2), ElementsAre(0, 2));
  EXPECT_THAT(keep_top(scores, 3), ElementsAre(0, 2, 4));
  EXPECT_THAT(keep_top(scores, 4), ElementsAre(0, 1, 2, 4));
  EXPECT_THAT(keep_top(scores, 6), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THROW(keep_top(scores, 7), Error);
  EXPECT_THROW(keep_top(scores, 0), Error);
}

TEST(KeepPerLayer, AllOfANarrowLayer) {
  const Kept kept = keep_per_layer({{{1, 2, 3, 4}, {5}}, {{3, 1, 2}, {1, 2}}}, 2, 3);
  EXPECT_EQ(kept.heads, (Places{{2, 3}, {0}}));
  EXPECT_EQ(kept.neurons, (Places{{0, 1, 2}, {0, 1}}));
}

// Above each layer's least number nothing that stays scores lower than anything that goes, in units of the
// layers' root mean squares.
TEST(KeepGlobally, TheBestWhereverTheyAre) {
  Scores heads = random_scores({12, 12, 12, 12}, 1);
  Scores neurons = random_scores({90, 64, 90, 120}, 2);
  for (double& x : neurons[1]) x = 0.01 + x * x * x;  // few that matter
  const Kept kept = keep_globally({heads, neurons}, 5, 30);
  EXPECT_EQ(total(kept.heads), 20);
  EXPECT_EQ(total(kept.neurons), 120);
  for (const auto& [scores, places, least] :
       {std::tuple(&heads, &kept.heads, 1), std::tuple(&neurons, &kept.neurons, 16)}) {
    double worst_kept = INFINITY, best_gone = 0;
    std::set<std::size_t> widths;
    for (std::size_t k = 0; k < scores->size(); ++k) {
      const std::vector<double>& layer = (*scores)[k];
      const std::vector<std::int64_t>& stays = (*places)[k];
      EXPECT_TRUE(std::is_sorted(stays.begin(), stays.end()));
      EXPECT_GE(stays.size(), least);
      widths.insert(stays.size());
      double squares = 0;
      for (const double x : layer) squares += x * x;
      const double size = std::sqrt(squares / static_cast<double>(layer.size()));
      for (std::size_t i = 0; i < layer.size(); ++i) {
        const bool kept_here = std::binary_search(stays.begin(), stays.end(), static_cast<std::int64_t>(i));
        if (!kept_here) best_gone = std::max(best_gone, layer[i] / size);
        if (kept_here && stays.size() > static_cast<std::size_t>(least))
          worst_kept = std::min(worst_kept, layer[i] / size);
      }
    }
    EXPECT_GE(worst_kept, best_gone);
    EXPECT_GT(widths.size(), 1) << "layers differ";
  }
  for (double& x : heads[2]) x *= 1000;
  for (double& x : neurons[0]) x /= 1000;
  const Kept scaled = keep_globally({heads, neurons}, 5, 30);
  EXPECT_EQ(scaled.heads, kept.heads) << "a layer's size of scores says nothing";
  EXPECT_EQ(scaled.neurons, kept.neurons);
}

// The first layer is worth nothing, the third has fewer neurons than the least.
TEST(KeepGlobally, ALayerKeepsAHeadAndSixteenNeurons) {
  const ImportanceScores scores{
      {{0, 0, 0}, {1, 1, 1}, {1, 1, 1}},
      {std::vector<double>(40, 0), std::vector<double>(60, 1), std::vector<double>(9, 1)}};
  const Kept kept = keep_globally(scores, 2, 20);
  EXPECT_THAT(kept.heads, ElementsAre(SizeIs(1), SizeIs(3), SizeIs(2)));
  EXPECT_THAT(kept.neurons, ElementsAre(SizeIs(16), SizeIs(35), SizeIs(9)));
  EXPECT_EQ(kept.neurons[0].back(), 15) << "of equal ones the first";
  EXPECT_THAT(keep_globally(scores, 1, 8).neurons, ElementsAre(SizeIs(8), SizeIs(8), SizeIs(8)))
      << "no more than the budget";
  EXPECT_THROW(keep_globally(scores, 4, 20), Error);
}

TEST(SizesAfter, HeadsInWholeNumbersOneARound) {
  for (std::int64_t full = 2; full <= 64; ++full) {
    for (std::int64_t goal = 1; goal < full; ++goal) {
      for (std::int64_t r = 0; r <= full - goal; ++r) {
        ASSERT_EQ(sizes_after(r, full - goal, {full, 8, -1}, {goal, 8, -1}).heads, full - r) << full << goal;
      }
    }
  }
  std::vector<std::int64_t> heads;
  for (std::int64_t r = 1; r <= 4; ++r) heads.push_back(sizes_after(r, 4, {12, 8, -1}, {2, 8, -1}).heads);
  EXPECT_THAT(heads, ElementsAre(9, 7, 4, 2)) << "9.5, 7, 4.5, 2";
}

// 3072 - 281.6 r and 768 - 64 r, truncated.
TEST(SizesAfter, NeuronsAndRankAreLinearAndTruncated) {
  std::vector<std::int64_t> ffn, rank;
  for (std::int64_t r = 1; r <= 10; ++r) {
    const SlenderSizes sizes = sizes_after(r, 10, {12, 3072, 768}, {2, 256, 128});
    ffn.push_back(sizes.ffn);
    rank.push_back(sizes.rank);
  }
  EXPECT_THAT(ffn, ElementsAre(2790, 2508, 2227, 1945, 1664, 1382, 1100, 819, 537, 256));
  EXPECT_THAT(rank, ElementsAre(704, 640, 576, 512, 448, 384, 320, 256, 192, 128));
  EXPECT_EQ(sizes_after(1, 3, {12, 3072, 768}, {2, 256, -1}).rank, -1) << "stays one matrix";
}

TEST(SizesAfter, TheLastRoundHasTheGoal) {
  for (std::int64_t rounds = 1; rounds < 50; ++rounds) {
    const SlenderSizes full{12, 1537, 385}, goal{5, 129, 47};
    EXPECT_EQ(sizes_after(rounds, rounds, full, goal), goal) << rounds;
    SlenderSizes before = full;
    for (std::int64_t r = 1; r <= rounds; ++r) {
      const SlenderSizes now = sizes_after(r, rounds, full, goal);
      EXPECT_TRUE(now.heads <= before.heads && now.ffn <= before.ffn && now.rank <= before.rank) << r;
      before = now;
    }
  }
}

TEST(Prune, TwiceNamesTheOriginalsPlaces) {
  Bert model(small_config());
  model.initialise(1);
  const Places neurons(3, {0, 5, 9, 39});
  const auto once = prune(model, {{{0, 2, 3}, {1, 2}, {0, 1, 2, 3}}, neurons});
  const auto twice = prune(*once, {{{1, 2}, {0}, {3}}, Places(3, {1, 3})});
  EXPECT_EQ(twice->config().kept_heads, (Places{{2, 3}, {1}, {3}}));
  EXPECT_EQ(twice->config().kept_neurons, Places(3, {5, 39}));
  EXPECT_EQ(twice->config().heads, (std::vector<std::int64_t>{2, 1, 1}));
  const Tensor from = model.parameters().find("bert.encoder.layer.1.intermediate.dense.weight").value();
  const Tensor to = twice->parameters().find("bert.encoder.layer.1.intermediate.dense.weight").value();
  EXPECT_EQ(largest_difference(to.slice(0, 1), from.slice(5, 6)), 0);
  EXPECT_EQ(largest_difference(to.slice(1, 2), from.slice(39, 40)), 0);
  for (const Places& wrong : {Places{{0}, {0}}, Places{{1, 0}, {0}, {0}}, Places{{0, 0}, {0}, {0}},
                              Places{{4}, {0}, {0}}, Places{{-1}, {0}, {0}}, Places{{}, {0}, {0}}}) {
    EXPECT_THROW(prune(model, {wrong, neurons}), Error);
  }
}

// ---- the embedding

constexpr std::int64_t kWords = 60, kHidden = 24, kRank = 5;

Tensor table_of(const Bert& model) {
  const std::string e = "bert.embeddings.word_embeddings";
  if (model.config().embedding_rank < 0) return model.parameters().find(e + ".weight").value();
  const Variable table(model.parameters().find(e + "1.weight").value());
  const Variable up(model.parameters().find(e + "2.weight").value());
  return linear(table, up).value();
}

// sum_v c_v |w_v - x_v|^2.
double weighted_error(const Tensor& w, const Tensor& x, std::span<const double> c) {
  double sum = 0;
  for (std::int64_t i = 0; i < w.numel(); ++i) {
    const double difference = w.at(i) - x.at(i);
    sum += c[static_cast<std::size_t>(i / kHidden)] * difference * difference;
  }
  return sum;
}

// The least that error can be at rank kRank: the trace of M = W^T diag(c) W less its kRank largest
// eigenvalues, which orthogonal iteration finds.
double least_error(const Tensor& w, std::span<const double> c) {
  using Matrix = std::vector<std::array<double, kHidden>>;
  Matrix m(kHidden, std::array<double, kHidden>{});
  double trace = 0;
  for (std::size_t a = 0; a < kHidden; ++a) {
    for (std::size_t b = 0; b < kHidden; ++b) {
      for (std::int64_t v = 0; v < kWords; ++v) {
        const auto at = [&](std::size_t column) {
          return w.at(v * kHidden + static_cast<std::int64_t>(column));
        };
        m[a][b] += c[static_cast<std::size_t>(v)] * at(a) * at(b);
      }
    }
    trace += m[a][a];
  }
  Matrix q(kRank, std::array<double, kHidden>{});
  for (std::size_t i = 0; i < kRank; ++i) q[i][i] = 1;
  double largest = 0;
  for (int round = 0; round < 2000; ++round) {
    largest = 0;
    for (std::size_t i = 0; i < kRank; ++i) {
      std::array<double, kHidden> next{};
      for (std::size_t a = 0; a < kHidden; ++a)
        next[a] = std::inner_product(m[a].begin(), m[a].end(), q[i].begin(), 0.0);
      largest += std::inner_product(next.begin(), next.end(), q[i].begin(), 0.0);
      for (std::size_t j = 0; j < i; ++j) {
        const double along = std::inner_product(next.begin(), next.end(), q[j].begin(), 0.0);
        for (std::size_t a = 0; a < kHidden; ++a) next[a] -= along * q[j][a];
      }
      const double length = std::sqrt(std::inner_product(next.begin(), next.end(), next.begin(), 0.0));
      for (std::size_t a = 0; a < kHidden; ++a) q[i][a] = next[a] / length;
    }
  }
  return trace - largest;
}

TEST(Factorise, WeightsSayWhoseErrorCounts) {
  Bert model(small_config(), DType::f64);
  model.initialise(4);
  const Tensor words = table_of(model);
  const std::vector<double> even(kWords, 1.0);
  std::vector<double> counts;
  for (std::size_t v = 0; v < kWords; ++v) counts.push_back(v % 7 == 0 ? 40.0 : 0.1);
  const auto plain = factorise(model, kRank);
  const auto weighted = factorise(model, kRank, counts);
  EXPECT_EQ(weighted->config().embedding_rank, kRank);
  const Tensor by_plain = table_of(*plain), by_weights = table_of(*weighted);
  const double least = least_error(words, counts), least_even = least_error(words, even);
  EXPECT_NEAR(weighted_error(words, by_weights, counts) / least, 1, 1e-9);
  EXPECT_NEAR(weighted_error(words, by_plain, even) / least_even, 1, 1e-9);
  EXPECT_GT(weighted_error(words, by_plain, counts), 1.2 * least);
  EXPECT_GT(weighted_error(words, by_weights, even), 1.02 * least_even);
}

TEST(Factorise, ThatOfAProductIsThatOfItsMatrix) {
  Bert model(small_config(), DType::f64);
  model.initialise(4);
  const auto product = factorise(model, 2 * kRank);
  const Tensor matrix = table_of(*product);
  table_of(model).copy_from(matrix);
  EXPECT_LT(largest_difference(table_of(*factorise(*product, kRank)), table_of(*factorise(model, kRank))),
            1e-10);
  const auto whole = factorise(model, kHidden);
  EXPECT_LT(largest_difference(table_of(*whole), matrix), 1e-10) << "nothing is lost at full rank";
  EXPECT_THROW(factorise(model, 0), Error);
  EXPECT_THROW(factorise(model, kHidden + 1), Error);
}

}  // namespace
}  // namespace costeff
