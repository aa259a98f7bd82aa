// The document of an importance audit: findings, pictures, tables, and all numbers for programs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "costeff/audit/misjudged.h"
#include "tools/cli/audit/importance.h"
#include "tools/cli/pages/text.h"

namespace costeff {
namespace {

using audit::Comparison;
using audit::Misjudged;
using audit::Removed;
using audit::UnitsAudit;

constexpr std::size_t kNamed = 5;  // misjudged units a side

Json scores_json(const audit::SourceScores& s) {
  const auto both = [](const ImportanceScores& x) { return named("heads", x.heads, "neurons", x.neurons); };
  return named("source", s.source.name, "paper", both(s.paper), "release", both(s.release), "gate",
               both(s.gate));
}

std::vector<const UnitsAudit*> removed_units(const ImportanceReport& report) {
  std::vector<const UnitsAudit*> all;
  for (const UnitsAudit* units : {&report.audit.heads, &report.audit.neurons}) {
    if (!units->removed.empty()) all.push_back(units);
  }
  return all;
}

// With the heading and the caption of the entry importance.KEY_table, for all or for "heads" or "neurons".
Table titled(const std::string& key, const char* units, const std::vector<std::string>& columns,
             unsigned shown) {
  const Prose text = prose(fmt::format("importance.{}_table", key), named("units", units));
  Table table = table_of(*units == 0 ? key : fmt::format("{}_{}", units, key), text.heading, columns, shown);
  table.caption = text.text();
  return table;
}

Table removed_table(const UnitsAudit& units) {
  Table table = table_of(fmt::format("{}_removed", plural(units)), "",
                         {"layer", "place", "change", "change_by_exit", "change_of_features"}, kJson);
  for (const Removed& r : units.removed) {
    table.add({{r.layer, ""},
               {r.place + 1, ""},
               number(r.change.total()),
               {r.change.exits, ""},
               number(r.change.features)});
  }
  return table;
}

// The worst for readers, all for programs.
Table misjudged_table(const ImportanceReport& report, const UnitsAudit& units) {
  Table table =
      titled("misjudged", plural(units),
             {"unit", "how", "score", "true change", "rank by score", "rank by signed change"}, kEverywhere);
  const std::vector<Misjudged> all = audit::misjudged(report.audit, units);
  const auto add = [&](const char* how, const Misjudged& m, unsigned shown) {
    table.add({fmt::format("layer {} {} {}", m.layer, singular(units), m.place + 1),
               how,
               number(m.score, ".2g"),
               number(m.change, "+.2g"),
               {m.rank_by_score, fmt::format("{} of {}", m.rank_by_score, m.of)},
               {m.rank_by_change, fmt::format("{} of {}", m.rank_by_change, m.of)}},
              shown);
  };
  const audit::WorstMisjudged worst = audit::worst_misjudged(all, kNamed);
  for (const Misjudged& m : worst.over) add("over-estimated", m, kReaders);
  for (const Misjudged& m : worst.under) add("under-estimated", m, kReaders);
  if (table.rows.empty()) table.shown = kJson;
  for (const Misjudged& m : all) {
    add(m.excess() > 0 ? "over-estimated" : m.excess() < 0 ? "under-estimated" : "right", m, kJson);
  }
  return table;
}

// Layers by heads, with a cell for each removed head.
template <class F>
Table head_table(const ImportanceReport& report, const char* key, F&& cell) {
  Table table = titled(key, "", {"layer"}, kPage);
  table.heat = true;
  for (const Removed& r : report.audit.heads.removed) {
    if (table.rows.size() < static_cast<std::size_t>(r.layer)) table.add({std::to_string(r.layer)});
    std::vector<Cell>& cells = table.rows.back().cells;
    cells.push_back(cell(r));
    if (table.columns.size() < cells.size()) table.add_column(std::to_string(cells.size() - 1));
  }
  return table;
}

Table change_table(const ImportanceReport& report) {
  double largest = 0;
  for (const Removed& r : report.audit.heads.removed) largest = std::max(largest, std::abs(r.change.total()));
  return head_table(report, "change", [&](const Removed& r) {
    const double change = r.change.total();
    // The square root keeps small changes visible beside large ones.
    const double colour = largest > 0 ? std::copysign(std::sqrt(std::abs(change) / largest), change) : 0;
    return Cell(change, signed_text(1000 * change, 1), colour);
  });
}

Table rank_table(const ImportanceReport& report) {
  const std::vector<Misjudged> all = audit::misjudged(report.audit, report.audit.heads);
  return head_table(report, "rank", [&](const Removed& r) {
    const auto m = std::find_if(all.begin(), all.end(),
                                [&](const Misjudged& x) { return x.layer == r.layer && x.place == r.place; });
    const double gap = static_cast<double>(m->rank_by_score) - static_cast<double>(m->rank_by_change);
    return Cell(Json(), fmt::format("{} / {}", m->rank_by_score, m->rank_by_change),
                std::copysign(std::sqrt(std::abs(gap) / static_cast<double>(m->of)), gap));
  });
}

// Scores against one another: the share of kept units in common, and Spearman.
Table matrix_table(const UnitsAudit& units) {
  Table table = titled("matrix", plural(units), {"score"}, kPage | kJson);
  table.heat = true;
  const audit::ScoreMatrix& m = units.matrix;
  for (std::size_t i = 0; i < m.names.size(); ++i) {
    table.columns.push_back({m.names[i], std::to_string(i + 1)});
    table.add({fmt::format("{} {}", i + 1, m.names[i])});
    for (std::size_t j = 0; j < m.names.size(); ++j) {
      const double value = j < i ? m.spearman[i][j] : m.kept[i][j];
      table.rows[i].cells.push_back(j < i ? number(value, ".2f", value)
                                          : Cell(value, fmt::format("{:.0f} %", 100 * value), 2 * value - 1));
    }
  }
  return table;
}

// In a terminal those of the exits together alone.
Table comparison_table(const UnitsAudit& units) {
  Table table =
      titled("comparison", plural(units),
             {"score", "true change of", "Spearman in a layer", "by layer", "Spearman across"}, kEverywhere);
  table.folded = true;
  for (const Comparison& c : units.comparisons) {
    const audit::Agreement& a = c.agreement;
    if (a.spearman.empty()) continue;
    const bool minor =
        c.source.starts_with("exit ") || (c.definition == "gate" && c.source != units.comparisons[0].source);
    const auto [least, most] = std::minmax_element(a.spearman.begin(), a.spearman.end());
    table.add({name_of(c),
               c.truth,
               number(a.mean_spearman(), ".2f"),
               {a.spearman, fmt::format("{:.2f} to {:.2f}", *least, *most)},
               number(a.spearman_across, ".2f")},
              minor ? kPage | kJson : kEverywhere);
  }
  return table;
}

Table cumulative_table(const ImportanceReport& report) {
  Table table = table_of("cumulative", "", {"removed"}, kTerminal | kJson);
  for (const audit::CumulativeRemoval& c : report.audit.cumulative) table.add_column(c.order);
  for (std::size_t k = 1; k <= report.audit.most_together(); ++k) {
    table.add({std::to_string(k)});
    for (const audit::CumulativeRemoval& c : report.audit.cumulative)
      table.rows.back().cells.push_back(number(c.mean(k), "signed"));
  }
  return table;
}

Section section(const char* id) {
  return {.id = id, .prose = prose(fmt::format("importance.{}", id))};
}

}  // namespace

Document importance_document(const ImportanceReport& report) {
  const audit::ImportanceAudit& a = report.audit;
  std::size_t neurons = 0;
  for (const auto& layer : a.sources.front().paper.neurons) neurons += layer.size();
  Json values = named("model", report.model, "teacher", report.teacher, "data", report.data, "sentences",
                      report.sentences, "heads", a.heads.removed.size(), "neurons", a.neurons.removed.size(),
                      "all_neurons", neurons, "loss", a.loss, "value", a.whole.total(), "losses",
                      a.whole.exits, "feature_loss", a.whole.features, "first_exit", report.first_exit,
                      "equalisation_error", a.equalisation_error);
  Document document{
      .kicker = words("importance.kicker"),
      .headline = importance_headline(report),
      .made_by = "costeff audit importance",
      .facts = {report.model, words("importance.removed", values), words("importance.sample", values),
                words(report.teacher.empty() ? "importance.no_teacher" : "importance.teacher", values),
                words("importance.loss", values)},
      .findings = importance_findings(report)};
  values["equalised"] = scores_json(a.equalised);
  for (const audit::SourceScores& source : a.sources) values["scores"].push_back(scores_json(source));
  document.values = values;
  Section predicted = section("predicted"), wrong = section("wrong"), which = section("which"),
          together = section("together"), terms = section("words");
  for (const UnitsAudit* units : removed_units(report)) {
    predicted.figures.push_back(score_scatter(report, *units));
    predicted.figures.push_back(signed_scatter(report, *units));
    which.figures.push_back(spearman_bars(report, *units));
    which.tables.insert(which.tables.end(), {matrix_table(*units), comparison_table(*units)});
    wrong.tables.insert(wrong.tables.end(), {removed_table(*units), misjudged_table(report, *units)});
  }
  wrong.tables.insert(wrong.tables.end(), {change_table(report), rank_table(report)});
  together.figures = {cumulative_figure(report)};
  together.tables = {cumulative_table(report)};
  terms.terms = proses("importance.word");
  document.sections = {std::move(predicted), std::move(wrong), std::move(which), std::move(together),
                       std::move(terms)};
  return document;
}

}  // namespace costeff
