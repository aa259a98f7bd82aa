// The sentences of an importance audit, of results made up by hand: no verdict where there is nothing to
// judge.
#include "costeff/audit/importance_compare.h"
#include "tests/tools/support.h"
#include "tools/cli/audit/importance.h"
#include "tools/cli/audit/importance_figures.h"
#include "tools/cli/audit/importance_tables.h"

namespace costeff::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Heads = std::vector<std::vector<double>>;  // by layer, by head

// Heads of these scores whose removals change the loss of the one exit so far; no neuron was removed.
ImportanceReport report_of(const Heads& scores, const Heads& changes, double loss = 1,
                           std::int64_t budget = 1) {
  ImportanceReport report;
  report.layers = static_cast<std::int64_t>(scores.size());
  report.sentences = 1;
  audit::ImportanceAudit& a = report.audit;
  a.loss = "labels";
  a.whole.exits = {loss};
  audit::SourceScores& s = a.sources.emplace_back();
  s.source.name = "labels";
  s.paper.heads = s.release.heads = s.gate.heads = scores;
  s.paper.neurons = s.release.neurons = s.gate.neurons = Heads(scores.size(), {0.0});
  a.equalised = s;
  a.heads.budget = budget;
  a.neurons = {.units = audit::Units::neurons, .budget = 1};
  for (std::size_t k = 0; k < scores.size(); ++k) {
    for (std::size_t i = 0; i < scores[k].size(); ++i) {
      a.heads.removed.push_back(
          {static_cast<std::int64_t>(k + 1), static_cast<std::int64_t>(i), {.exits = {changes[k][i]}}});
    }
  }
  audit::compare(a, 1, a.heads);
  audit::compare(a, 1, a.neurons);
  return report;
}

// All sentences in one.
std::string said(const ImportanceReport& report) {
  std::string all = importance_headline(report);
  const std::vector<Findings> findings = importance_findings(report);
  for (const Findings& part : findings) all += fmt::format("\n{}", fmt::join(part.sentences, "\n"));
  return all;
}

TEST(ImportanceFindings, OneHeadInEveryLayerHasNoOrder) {
  ImportanceReport report = report_of({{0.5}, {0.4}}, {{0.2}, {0.1}});
  for (const char* order : {"paper", "release"}) report.audit.cumulative.push_back({order, {{}, {}}});
  EXPECT_THAT(said(report),
              AllOf(HasSubstr("there is no order to compare"), HasSubstr("No layer has two heads"),
                    Not(HasSubstr("Spearman")), Not(HasSubstr("estimated")), Not(HasSubstr("at random")),
                    Not(HasSubstr("gone together"))));
  EXPECT_THAT(importance_text(report), AllOf(HasSubstr("Heads: 2 removed"),
                                             Not(HasSubstr("removed together")), Not(HasSubstr("Kendall"))));
  EXPECT_THAT(cumulative_figure(report).missing, HasSubstr("No layer has a second head"));
}

TEST(ImportanceFindings, ALossOfZeroHasNoGradient) {
  EXPECT_THAT(importance_headline(report_of({{0, 0}}, {{0, 0}}, 0)), HasSubstr("rounding noise"));
  EXPECT_THAT(importance_headline(report_of({{0.1, 0.2}}, {{0.1, 0.3}})), HasSubstr("well for heads"));
}

// Scores that are all too low, and order well: pruning goes by rank.
TEST(ImportanceFindings, NobodyIsMisjudgedWhereTheOrderIsRight) {
  const ImportanceReport report = report_of({{0.1, 0.2, 0.3}}, {{0.4, 0.5, 0.9}});
  EXPECT_THAT(importance_text(report), Not(HasSubstr("estimated")));
  EXPECT_EQ(misjudged_table(report), "");
}

TEST(ImportanceFindings, MisjudgedByRank) {
  const ImportanceReport report = report_of({{0.1, 0.2, 0.3}}, {{0.9, 0.4, 0.5}});
  EXPECT_THAT(said(report),
              AllOf(HasSubstr("Most over-estimated by the score from labels, in rank: head 3 of layer 1 "
                              "(score 0.3, true change "
                              "+0.5; 1 of 3 by score, 2 of 3 by signed change)"),
                    HasSubstr("Most under-estimated by the score from labels, in rank: head 1 of layer 1")));
  EXPECT_THAT(misjudged_table(report), AllOf(HasSubstr("<td>under-"), HasSubstr("<td>over-")));
}

// The order of absolute values is right, that of the changes with their signs is the reverse.
TEST(ImportanceFindings, AbsoluteScoresDoNotKnowTheSign) {
  const std::string all = said(report_of({{0.1, 0.2, 0.3}}, {{-0.1, -0.2, -0.3}}));
  EXPECT_THAT(all,
              AllOf(HasSubstr("Spearman 1.00 (1.00 in layer 1"), HasSubstr("3 of the 3 heads lower the loss"),
                    HasSubstr("should go by, that score's Spearman is -1.00")));
}

// Two of four heads are kept: what the two lowest cost.
TEST(ImportanceFindings, TogetherAtTheBudget) {
  const Heads scores = {{0.1, 0.2, 0.3, 0.4}};
  ImportanceReport report = report_of(scores, scores, 1, 2);
  report.audit.cumulative = {{"paper", {{0.5, 0.125, 0.25}}}, {"random", {{0.25, 0.5, 0.5}}}};
  EXPECT_THAT(said(report), AllOf(HasSubstr("With the lowest 2 heads of a layer (by scores from labels) gone "
                                            "together, 2 kept, the loss of 1.000"),
                                  HasSubstr("by +0.1250 (paper), +0.5000 (random)"),
                                  HasSubstr("better than the random one for 2 to 3 heads, not for 1.")));
}

TEST(ImportanceFindings, WhatSlenderisingGoesByComesFirst) {
  ImportanceReport report = report_of({{0.1, 0.2, 0.3}}, {{0.1, 0.2, 0.3}});
  report.audit.loss = "predictions";
  report.audit.sources[0].source.name = "predictions";
  report.audit.sources.push_back(report.audit.sources[0]);
  report.audit.sources[1].source.name = "all";
  report.audit.sources[1].paper.heads = {{0.3, 0.2, 0.1}};
  for (std::size_t i = 0; i < 3; ++i) report.audit.heads.removed[i].change.features = i == 2 ? -0.1 : 0.3;
  report.audit.heads.comparisons.clear();
  report.audit.heads.matrix = {};
  audit::compare(report.audit, 1, report.audit.heads);
  EXPECT_THAT(importance_headline(report),
              AllOf(HasSubstr("that slenderising goes by"), HasSubstr("for heads")));
  EXPECT_THAT(importance_findings(report)[0].sentences[0],
              AllOf(HasSubstr("predictions and features together"),
                    HasSubstr("hardly as the loss of predictions does (-1.00)")));
}

// A mean and its range are two columns.
TEST(ImportanceFindings, MeanAndRangeStandApart) {
  EXPECT_THAT(comparison_details(report_of({{0.1, 0.2}}, {{0.1, 0.2}})),
              HasSubstr("<td>1.00</td><td>1.00 to 1.00</td>"));
}

// Layers of 1, 3 and 2 heads that keep 1, 2 and 2: by chance 1 + 4/3 + 2 of 5.
TEST(ImportanceFindings, ChanceGoesByEachLayersWidth) {
  const Heads scores = {{1}, {0.3, 0.2, 0.1}, {0.2, 0.1}};
  EXPECT_THAT(said(report_of(scores, scores, 1, 2)), HasSubstr("at random it would be 86.7 %"));
}

}  // namespace
}  // namespace costeff::testing
