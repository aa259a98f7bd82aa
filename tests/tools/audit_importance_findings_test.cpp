// The findings of an importance audit, of results made up by hand: no verdict where there is nothing to
// judge.
#include "costeff/audit/importance_compare.h"
#include "tests/tools/support.h"
#include "tools/cli/audit/importance.h"

namespace costeff::testing {
namespace {

using ::testing::HasSubstr;
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

// The values of the findings of a kind.
std::vector<Json> found(const ImportanceReport& report, const std::string& kind) {
  std::vector<Json> all;
  for (const Findings& part : importance_findings(report)) {
    for (const Finding& finding : part.findings) {
      EXPECT_NE(finding.sentence(), "");
      if (finding.kind == "importance." + kind) all.push_back(finding.values);
    }
  }
  return all;
}

Json table(const ImportanceReport& report, const char* name) {
  return json_of(importance_document(report))[name];
}

TEST(ImportanceFindings, OneHeadInEveryLayerHasNoOrder) {
  ImportanceReport report = report_of({{0.5}, {0.4}}, {{0.2}, {0.1}});
  for (const char* order : {"paper", "release"}) report.audit.cumulative.push_back({order, {{}, {}}});
  EXPECT_EQ(found(report, "no_order").size(), 1);
  for (const char* kind : {"order", "over", "under", "kept", "gone"})
    EXPECT_EQ(found(report, kind).size(), 0) << kind;
  EXPECT_EQ(importance_headline(report), words("importance.no_order_headline"));
  EXPECT_EQ(table(report, "heads_removed").size(), 2);
  EXPECT_EQ(table(report, "heads_comparison").size(), 0);
  EXPECT_EQ(cumulative_figure(report).missing, words("importance.one_head"));
}

TEST(ImportanceFindings, ALossOfZeroHasNoGradient) {
  const ImportanceReport noise = report_of({{0, 0}}, {{0, 0}}, 0);
  EXPECT_EQ(importance_headline(noise), words("importance.vanish_headline"));
  EXPECT_EQ(found(noise, "vanish").size(), 1);
  EXPECT_THAT(importance_headline(report_of({{0.1, 0.2}}, {{0.1, 0.3}})), HasSubstr("well for heads"));
}

// Scores that are all too low, and order well: pruning goes by rank.
TEST(ImportanceFindings, NobodyIsMisjudgedWhereTheOrderIsRight) {
  const ImportanceReport report = report_of({{0.1, 0.2, 0.3}}, {{0.4, 0.5, 0.9}});
  EXPECT_EQ(found(report, "over").size() + found(report, "under").size(), 0);
  for (const Json& unit : table(report, "heads_misjudged")) EXPECT_EQ(unit["how"], "right");
}

TEST(ImportanceFindings, MisjudgedByRank) {
  const ImportanceReport report = report_of({{0.1, 0.2, 0.3}}, {{0.9, 0.4, 0.5}});
  const Json over = found(report, "over").at(0), under = found(report, "under").at(0);
  EXPECT_EQ(over, named("loss", "labels", "unit", "head", "place", 3, "layer", 1, "score", 0.3, "change", 0.5,
                        "rank_by_score", 1, "rank_by_change", 2, "of", 3));
  EXPECT_EQ(under["place"], 1);
  EXPECT_EQ(table(report, "heads_misjudged")[0]["unit"], "layer 1 head 3");
}

// The order of absolute values is right, that of the changes with their signs is the reverse.
TEST(ImportanceFindings, AbsoluteScoresDoNotKnowTheSign) {
  const ImportanceReport report = report_of({{0.1, 0.2, 0.3}}, {{-0.1, -0.2, -0.3}});
  EXPECT_EQ(found(report, "order").at(0)["paper"], 1);
  EXPECT_EQ(found(report, "sign").at(0), named("units", "heads", "count", 3, "better", 3, "signed", -1.0));
}

// Two of four heads are kept: what the two lowest cost.
TEST(ImportanceFindings, TogetherAtTheBudget) {
  const Heads scores = {{0.1, 0.2, 0.3, 0.4}};
  ImportanceReport report = report_of(scores, scores, 1, 2);
  report.audit.cumulative = {{"paper", {{0.5, 0.125, 0.25}}}, {"random", {{0.25, 0.5, 0.5}}}};
  const std::vector<Json> gone = found(report, "gone");
  ASSERT_EQ(gone.size(), 2);
  EXPECT_EQ(gone[0],
            named("gone", 2, "kept", 2, "source", "labels", "loss", 1.0, "order", "paper", "change", 0.125));
  EXPECT_EQ(gone[1]["change"], 0.5);
  EXPECT_EQ(found(report, "sometimes_better").at(0), named("better", "2 to 3", "worse", "1"));
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
  const Finding first = importance_findings(report)[0].findings[0];
  EXPECT_EQ(first.kind, "importance.all");
  EXPECT_EQ(first.values["loss"], -1);
  EXPECT_EQ(first.values["verdict_loss"], "hardly");
}

// Layers of 1, 3 and 2 heads that keep 1, 2 and 2: by chance 1 + 4/3 + 2 of 5.
TEST(ImportanceFindings, ChanceGoesByEachLayersWidth) {
  const Heads scores = {{1}, {0.3, 0.2, 0.1}, {0.2, 0.1}};
  EXPECT_NEAR(found(report_of(scores, scores, 1, 2), "kept").at(0)["chance"].get<double>(),
              (1 + 4.0 / 3 + 2) / 5, 1e-12);
}

}  // namespace
}  // namespace costeff::testing
