// Who is misjudged, whether there is anything to judge, and means of unequal layers: numbers made up by hand.
#include "costeff/audit/misjudged.h"
#include "tests/costeff/support.h"

namespace costeff::audit {
namespace {

// Two layers of 4 heads and 2.
ImportanceAudit made_up() {
  ImportanceAudit audit;
  audit.whole.exits = {1.5, 0.5};
  SourceScores& s = audit.sources.emplace_back();
  s.paper.heads = {{0.5, -0.3, 0.1, 0.2}, {0.4, -0.4}};
  s.paper.neurons = {{0.9}, {0.8}};
  audit.heads.units = Units::heads;
  audit.heads.removed = {{1, 0, {{0.1, 0.1}, 0}},   {1, 1, {{0.2, 0.1}, 0}}, {1, 2, {{0.3, 0.3}, 0}},
                         {1, 3, {{-0.5, -0.3}, 0}}, {2, 0, {{0, 0.35}, 0}},  {2, 1, {{0, -0.45}, 0}}};
  return audit;
}

TEST(AuditMisjudged, RanksAreWithinALayerAndKeepTheSignOfTheChange) {
  const ImportanceAudit audit = made_up();
  const std::vector<Misjudged> all = misjudged(audit, audit.heads);
  struct Row {
    std::int64_t layer, place;
    double excess;
    std::size_t by_score, by_change, of;
  };
  // The fourth head of layer 1 moves the loss most, downwards: it matters least. The two that are ranked half
  // a layer too high stand in the order of their changes.
  const Row rows[] = {{2, 1, 0.5, 1, 2, 2}, {1, 0, 0.5, 1, 3, 4}, {1, 3, 0.25, 3, 4, 4},
                      {1, 1, 0, 2, 2, 4},   {2, 0, 0, 1, 1, 2},   {1, 2, -0.75, 4, 1, 4}};
  ASSERT_EQ(all.size(), std::size(rows));
  for (std::size_t i = 0; i < all.size(); ++i) {
    const Row& row = rows[i];
    EXPECT_EQ(all[i].layer, row.layer) << i;
    EXPECT_EQ(all[i].place, row.place) << i;
    EXPECT_NEAR(all[i].excess(), row.excess, 1e-12) << i;
    EXPECT_EQ(all[i].rank_by_score, row.by_score) << i;
    EXPECT_EQ(all[i].rank_by_change, row.by_change) << i;
    EXPECT_EQ(all[i].of, row.of) << i;
  }
}

std::vector<double> scores(const std::vector<Misjudged>& units) {
  std::vector<double> out;
  out.reserve(units.size());
  for (const Misjudged& m : units) out.push_back(m.score);
  return out;
}

TEST(AuditMisjudged, TheWorstOfASideAreOnThatSide) {
  using ::testing::ElementsAre;
  using ::testing::IsEmpty;
  const std::vector<Misjudged> all = {{.score = 9, .rank_by_score = 1, .rank_by_change = 4, .of = 4},
                                      {.score = 3, .rank_by_score = 2, .rank_by_change = 3, .of = 4},
                                      {.score = 2, .rank_by_score = 2, .rank_by_change = 2, .of = 4},
                                      {.score = 1, .rank_by_score = 4, .rank_by_change = 1, .of = 4}};
  EXPECT_THAT(scores(worst_misjudged(all, 1).over), ElementsAre(9));
  EXPECT_THAT(scores(worst_misjudged(all, 1).under), ElementsAre(1));
  EXPECT_THAT(scores(worst_misjudged(all, 10).over), ElementsAre(9, 3));
  EXPECT_THAT(scores(worst_misjudged(all, 10).under), ElementsAre(1));
  // One unit is not over- and under-estimated at once.
  const WorstMisjudged one = worst_misjudged(std::span(all).first(1), 3);
  EXPECT_THAT(scores(one.over), ElementsAre(9));
  EXPECT_THAT(one.under, IsEmpty());
  EXPECT_THAT(worst_misjudged({}, 3).over, IsEmpty());
}

TEST(AuditMisjudged, ScoresVanishBesideTheLoss) {
  ImportanceAudit audit = made_up();
  ImportanceScores& paper = audit.sources.front().paper;
  const auto vanish = [&](double score) {
    paper.heads = {{0, 0}, {-score}};
    paper.neurons = {{0}, {0}};
    const bool heads = audit.scores_vanish();
    paper.heads = {{0, 0}, {0}};
    paper.neurons = {{0}, {-score}};
    EXPECT_EQ(audit.scores_vanish(), heads);
    return heads;
  };
  EXPECT_TRUE(vanish(1.9e-6));  // the loss is 2
  EXPECT_FALSE(vanish(2.1e-6));
  audit.whole.exits = {0, 0};
  EXPECT_TRUE(vanish(0));
  EXPECT_FALSE(vanish(1e-12));
}

TEST(AuditMisjudged, MeansOfHeadsRemovedTogetherAreOverTheLayersThatHaveThem) {
  ImportanceAudit audit;
  EXPECT_EQ(audit.most_together(), 0);
  audit.cumulative.push_back({"paper", {{1, 2, 6}, {}, {3}}});
  EXPECT_EQ(audit.most_together(), 3);
  EXPECT_EQ(audit.cumulative[0].mean(1), 2);
  EXPECT_EQ(audit.cumulative[0].mean(2), 2);
  EXPECT_EQ(audit.cumulative[0].mean(3), 6);
  EXPECT_EQ(audit.cumulative[0].mean(4), 0);
  audit.cumulative[0].change = {{}, {}};  // one head a layer
  EXPECT_EQ(audit.most_together(), 0);
}

}  // namespace
}  // namespace costeff::audit
