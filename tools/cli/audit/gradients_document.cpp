// The document of a gradient audit: tables of layers by losses.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "costeff/audit/gradient_view.h"
#include "tools/cli/audit/gradients.h"

namespace costeff {
namespace {

using audit::equalised;
using audit::GradientAudit;
using audit::GroupSums;
using audit::plain;

constexpr const char* kNames[] = {"plain", "equalised"};  // of variants, for programs
constexpr const char* kWith[] = {"without equalisation", "with equalisation"};

// Rows of tables whose columns are losses: the layers, from the last down to the embeddings, or the parts of
// the model, which are for programs alone.
struct Rows {
  const GradientAudit& audit;
  const char* what;
  unsigned shown;
  std::vector<GroupSums> sums = {};
  std::vector<std::string> names = {};

  // With a cell of what cell(sums, loss) is for each loss that reaches the row.
  template <class F>
  Table table(const std::string& id, const std::string& heading, unsigned where, F&& cell) const {
    Table out = table_of(fmt::format("{}_{}", what, id), heading, {what}, where & shown);
    out.heat = true;
    for (const audit::AuditedRoot& root : audit.roots) out.add_column(root.name);
    for (std::size_t r = 0; r < sums.size(); ++r) out.add(cells(r, names[r], cell));
    return out;
  }
  template <class F>
  std::vector<Cell> cells(std::size_t r, const std::string& name, F&& cell) const {
    std::vector<Cell> out = {name};
    for (std::size_t j = 0; j < audit.roots.size(); ++j)
      out.push_back(sums[r].of[plain].square[j] == 0 ? Cell() : cell(sums[r], j));
    return out;
  }
};

Rows layers_of(const GradientAudit& a) {
  Rows rows{a, "layer", kEverywhere};
  for (std::int64_t m = a.layers; m >= 0; --m) {
    rows.sums.push_back(layer_sums(a, m));
    rows.names.push_back(layer_name(m));
  }
  return rows;
}

Rows parts_of(const GradientAudit& a) {
  Rows rows{a, "part", kJson, a.groups};
  for (const GroupSums& s : a.groups) rows.names.push_back(s.group.name());
  return rows;
}

Table identities_table(const audit::Identities& i) {
  Table table = table_of("identities", "", {"identity", "worst", "allowed", "outcome"});
  const auto add = [&](const char* what, double worst, double allowed) {
    table.add({what, number(worst, ".1e"), number(allowed, ".0e"), worst <= allowed ? "holds" : "FAILS"});
  };
  add("A layer's shares add up to 1", i.worst_share_sum, i.tolerance);
  add("The losses' gradients add up to the joint gradient", i.worst_gap, i.allowed_gap());
  add("Factors of equalisation are the closed form", i.worst_factor, i.tolerance);
  add("Equalisation turns no gradient", std::sqrt(i.worst_sideways), std::sqrt(i.tolerance));
  return table;
}

// With equalisation; the rows where it changes shares stand without it, too.
Table shares_table(const Rows& rows) {
  const auto of = [](audit::Variant v) {
    return [v](const GroupSums& s, std::size_t j) { return share_cell(share(s, v, j)); };
  };
  Table table =
      rows.table("shares", "Share of each loss in each layer's gradient", kEverywhere, of(equalised));
  for (std::size_t r = 0; r < rows.sums.size(); ++r) {
    if (shares_differ(rows.sums[r]))
      table.add(rows.cells(r, fmt::format("{}, {}", rows.names[r], kWith[plain]), of(plain)));
  }
  return table;
}

Table factors_table(const GradientReport& report, const Rows& rows) {
  const auto layers = static_cast<std::size_t>(rows.audit.layers);
  Table table = rows.table("factors", "Measured factor of equalisation", kPage | kJson,
                           [](const GroupSums&, std::size_t) { return Cell(); });
  for (std::size_t r = 0; r <= layers; ++r)
    table.rows[r].cells[0].text = fmt::format("{}: 1/{}", rows.names[r], std::min(r + 1, layers));
  for (const audit::Factor& factor : report.identities.factors) {
    Cell& cell = table.rows[layers - static_cast<std::size_t>(factor.layer)].cells[factor.root + 1];
    cell = number(factor.measured, ".4f", factor.measured);
    cell.wrong = !factor.fits;
  }
  return table;
}

// What is left of the difference, step by step.
Table ratios_table(const Rows& rows) {
  Table table =
      table_of(fmt::format("{}_ratios", rows.what), "Length with equalisation over length without",
               {rows.what, "gradient", "clipped", "Adam, ε = 0", "Adam", "cosine of updates"}, rows.shown);
  table.heat = true;
  for (std::size_t r = 0; r < rows.sums.size(); ++r) {
    const audit::Survival left = survival(rows.sums[r]);
    table.add({rows.names[r]});
    for (const double x : {left.raw, left.clipped, left.undamped, left.update, left.turn})
      table.rows[r].cells.push_back(number(x, ".3f", x > 0 ? -std::log2(x) / 4 : 1));
  }
  return table;
}

// How far a step moves the weights; nothing where Adam's memory is not known.
void add_steps_tables(const Rows& rows, std::vector<Table>& tables) {
  const GradientAudit& a = rows.audit;
  for (const audit::Variant v : {plain, equalised}) {
    if (!a.has_moments[v]) continue;
    Table& table = tables.emplace_back(table_of(fmt::format("step_{}", kNames[v]),
                                                fmt::format("Adam's step {}", kWith[v]),
                                                {"layer", "step/weight", "decay/step", "weights near ε"}));
    for (std::size_t r = 0; r < rows.sums.size(); ++r) {
      const GroupSums& s = rows.sums[r];
      const double step = relative_update(a, s, v);
      table.add({rows.names[r], number(step), number(relative_decay(a, s) / step),
                 number(s.of[v].near_epsilon / s.of[v].elements, "percent")});
    }
  }
}

std::vector<Table> direction_tables(const Rows& rows) {
  std::vector<Table> tables;
  for (const audit::Variant v : {plain, equalised}) {
    if (!rows.audit.has_moments[v]) continue;
    Table& table = tables.emplace_back(rows.table(
        fmt::format("update_shares_{}", kNames[v]), fmt::format("Shares in Adam's update {}", kWith[v]),
        kPage | kJson, [&](const GroupSums& s, std::size_t j) { return share_cell(update_share(s, v, j)); }));
    table.add_column("Adam's memory");
    for (std::size_t r = 0; r < rows.sums.size(); ++r)
      table.rows[r].cells.push_back(share_cell(history_share(rows.sums[r], v)));
  }
  return tables;
}

// The least agreed exits of each layer, and all pairs of losses that reach one.
std::vector<Table> conflict_tables(const Rows& rows) {
  const GradientAudit& a = rows.audit;
  const std::size_t roots = a.roots.size();
  std::vector<Table> tables = {
      table_of("least_agreed", "Cosine of the least agreed exits",
               {"layer", "exits", "all batches", "least of a batch", "most of a batch"})};
  tables[0].heat = true;
  for (std::size_t r = 0; r < rows.sums.size(); ++r) {
    const std::vector<audit::Pair> exits = pairs(a, rows.sums[r], audit::PairsOf::exits);
    if (exits.empty()) continue;
    const audit::Pair& pair = exits.front();
    tables[0].add({rows.names[r], fmt::format("{} and {}", a.roots[pair.a].name, a.roots[pair.b].name)});
    for (const double x : {pair.cosine, pair.low, pair.high})
      tables[0].rows.back().cells.push_back(number(x, "+.2f", x));
    Table& all =
        tables.emplace_back(table_of(fmt::format("cosines_{}", a.layers - static_cast<std::int64_t>(r)),
                                     fmt::format("All pairs in {}", rows.names[r]), {"loss"}, kPage | kJson));
    all.heat = all.folded = true;
    for (const audit::AuditedRoot& root : a.roots) all.add_column(root.name);
    for (std::size_t i = 0; i < roots; ++i) {
      if (rows.sums[r].of[plain].square[i] == 0) continue;
      all.add(rows.cells(r, a.roots[i].name, [&](const GroupSums& s, std::size_t j) {
        return number(cosine(s, roots, i, j), "+.2f", cosine(s, roots, i, j));
      }));
    }
  }
  return tables;
}

std::vector<Table> norm_tables(const Rows& rows) {
  const auto norm = [&](double square) {
    return std::sqrt(square / static_cast<double>(rows.audit.batches));
  };
  double largest = 0;
  for (const GroupSums& s : rows.sums) {
    for (const double square : s.of[plain].square) largest = std::max(largest, norm(square));
  }
  std::vector<Table> tables;
  for (const audit::Variant v : {plain, equalised}) {
    Table& table = tables.emplace_back(
        rows.table(fmt::format("norms_{}", kNames[v]), fmt::format("Norms {}", kWith[v]), kPage | kJson,
                   [&](const GroupSums& s, std::size_t j) {
                     const double x = norm(s.of[v].square[j]);
                     return number(x, ".2g", std::max(0.0, 1 + std::log10(x / largest) / 4));
                   }));
    for (const char* column : {"joint", "joint, clipped"}) table.add_column(column);
    for (std::size_t r = 0; r < rows.sums.size(); ++r) {
      for (const double square : {rows.sums[r].of[v].joint, rows.sums[r].of[v].clipped})
        table.rows[r].cells.push_back(number(norm(square), ".2g"));
    }
  }
  return tables;
}

}  // namespace

Document gradient_document(const GradientReport& report) {
  const GradientAudit& a = report.audit;
  const Rows layers = layers_of(a), parts = parts_of(a);
  const Json values = named(
      "model", report.model, "task", report.task, "loss", report.loss, "batches", a.batches, "memory",
      report.memory, "learning_rate", a.learning_rate, "weight_decay", a.adam.weight_decay, "max_norm",
      a.max_norm, "beta1", a.adam.beta1, "beta2", a.adam.beta2, "epsilon", a.adam.epsilon, "steps_before",
      a.steps, "norm", a.norm, "clip_scale", a.clip, "hardly_length", kHardly.length, "hardly_cosine",
      kHardly.cosine, "little_length", kLittle.length, "little_cosine", kLittle.cosine);
  Document document{.kicker = words("gradients.kicker", values),
                    .made_by = "costeff audit gradients",
                    .facts = {report.model, report.loss, words("gradients.setting", values)},
                    .values = values,
                    .findings = gradient_findings(report)};
  document.headline = gradient_headline(document.findings);
  for (const audit::Fault& fault : report.identities.faults)
    document.faults.push_back({fault.place, fault.what});
  const auto add = [&](const char* id, std::vector<Table> tables) {
    if (!tables.empty())
      document.sections.push_back(
          {id, prose(fmt::format("gradients.{}", id), values), {}, std::move(tables)});
  };
  add("identities", {identities_table(report.identities)});
  add("shares", {shares_table(layers), shares_table(parts)});
  add("conflict_table", conflict_tables(layers));
  add("factors", {factors_table(report, layers)});
  std::vector<Table> survival = {ratios_table(layers), ratios_table(parts)};
  add_steps_tables(layers, survival);
  add("survival", std::move(survival));
  add("direction", direction_tables(layers));
  add("norms", norm_tables(layers));
  add("norms_of_parts", norm_tables(parts));
  document.sections.push_back(
      {.id = "words", .prose = prose("gradients.words"), .terms = proses("gradients.word", values)});
  return document;
}

}  // namespace costeff
