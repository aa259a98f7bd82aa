// Rank statistics against their definitions, written out over all pairs, and against values computed by hand.
#include "costeff/audit/rank_statistics.h"

#include <cmath>
#include <limits>
#include <vector>

#include "tensor/error.h"
#include "tensor/philox.h"
#include "tests/costeff/support.h"

namespace costeff {
namespace {

using Values = std::vector<double>;

// Whole numbers below `distinct`: few of them make many ties.
Values random_values(std::uint32_t n, std::uint32_t seed, std::uint32_t distinct) {
  Values values;
  for (std::uint32_t i = 0; i < n; ++i) values.push_back(philox4x32({i, seed, 0, 0}, {1, 2})[0] % distinct);
  return values;
}

Values ranks_by_counting(const Values& x) {
  Values ranks;
  for (const double value : x) {
    double less = 0, equal = 0;
    for (const double other : x) {
      less += other < value;
      equal += other == value;
    }
    ranks.push_back(less + (equal + 1) / 2);
  }
  return ranks;
}

double spearman_by_counting(const Values& a, const Values& b) {
  const Values x = ranks_by_counting(a), y = ranks_by_counting(b);
  const double mean = (static_cast<double>(a.size()) + 1) / 2;
  double xy = 0, xx = 0, yy = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xy / std::sqrt(xx * yy);
}

TEST(RankStatistics, AgreeWithTheirDefinitions) {
  for (const std::uint32_t n : {2U, 3U, 7U, 64U, 101U}) {
    for (const std::uint32_t distinct : {4U, 1000U}) {
      Values a = random_values(n, 1, distinct), b = random_values(n, 2, distinct);
      a[0] = distinct;  // neither side is constant
      b[1] = distinct;
      EXPECT_NEAR(spearman(a, b), spearman_by_counting(a, b), 1e-12) << n << " " << distinct;
    }
  }
}

TEST(RankStatistics, ByHand) {
  // Ranks 1 2.5 2.5 4 and 1 3 2 4: 4.5 / sqrt(4.5 * 5).
  const Values a = {1, 2, 2, 3}, b = {10, 30, 20, 40};
  EXPECT_NEAR(spearman(a, b), 4.5 / std::sqrt(22.5), 1e-15);
  const Values reverse = {4, 3, 2, 1}, cube = {-8, 0, 1, 27};
  EXPECT_NEAR(spearman(reverse, cube), -1, 1e-15);
}

TEST(RankStatistics, NothingToOrderIsZero) {
  const Values constant = {3, 3, 3}, some = {1, 2, 3}, one = {1}, none;
  EXPECT_EQ(spearman(constant, some), 0);
  EXPECT_EQ(spearman(constant, constant), 0);
  EXPECT_EQ(spearman(one, one), 0);
  EXPECT_EQ(spearman(none, none), 0);
}

TEST(RankStatistics, RefuseWhatHasNoOrder) {
  const Values some = {1, 2, 3}, two = {1, 2}, nan = {1, std::nan(""), 3};
  const Values infinite = {-std::numeric_limits<double>::infinity(), 0,
                           std::numeric_limits<double>::infinity()};
  EXPECT_THROW(spearman(some, two), Error);
  EXPECT_THROW(spearman(nan, some), Error);
  EXPECT_NEAR(spearman(infinite, some), 1, 1e-15);
}

TEST(RankStatistics, Overlap) {
  const std::vector<std::int64_t> a = {0, 3, 5, 9}, b = {3, 4, 9, 11}, none;
  EXPECT_EQ(overlap(a, b), 0.5);
  EXPECT_EQ(overlap(a, a), 1);
  EXPECT_EQ(overlap(a, none), 0);
  EXPECT_EQ(overlap(none, none), 1);
}

}  // namespace
}  // namespace costeff
