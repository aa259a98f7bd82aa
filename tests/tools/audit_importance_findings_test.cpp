// The sentences of an importance audit, of results made up by hand: no verdict where there is nothing to
// judge.
#include "costeff/audit/importance_compare.h"
#include "tests/tools/support.h"
#include "tools/audit/importance.h"
#include "tools/audit/importance_figures.h"
#include "tools/audit/importance_tables.h"

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

TEST(ImportanceFindings, NoHeadIsOverestimatedWhereAllScoresAreTooLow) {
  const ImportanceReport report = report_of({{0.1, 0.2, 0.3}}, {{0.4, 0.5, 0.9}});
  EXPECT_THAT(importance_text(report), AllOf(HasSubstr("under-estimated"), Not(HasSubstr("over-estimated"))));
  EXPECT_THAT(misjudged_table(report), AllOf(HasSubstr("<td>under-"), Not(HasSubstr("<td>over-"))));
}

// Layers of 1, 3 and 2 heads that keep 1, 2 and 2: by chance 1 + 4/3 + 2 of 5.
TEST(ImportanceFindings, ChanceGoesByEachLayersWidth) {
  const Heads scores = {{1}, {0.3, 0.2, 0.1}, {0.2, 0.1}};
  EXPECT_THAT(said(report_of(scores, scores, 1, 2)), HasSubstr("at random it would be 86.7 %"));
}

}  // namespace
}  // namespace costeff::testing
