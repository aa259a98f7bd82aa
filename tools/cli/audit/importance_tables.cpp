#include "tools/cli/audit/importance_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "costeff/audit/misjudged.h"
#include "tools/cli/pages/text.h"

namespace costeff {
namespace {

using audit::Comparison;
using audit::Removed;
using audit::Units;
using audit::UnitsAudit;

constexpr std::size_t kNamed = 5;  // misjudged units a side

// A table that scrolls by itself; `head` and `body` are rows.
std::string table(const std::string& id, const std::string& heading, const char* style,
                  const std::string& head, const std::string& body, const std::string& caption) {
  return fmt::format(
      "<h3 id=\"{0}\">{1}</h3>\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" "
      "aria-labelledby=\"{0}\">\n"
      "<table class=\"{2}\">\n<thead><tr>{3}</tr></thead>\n<tbody>\n{4}</tbody>\n</table>\n</div>\n<p "
      "class=\"caption\">{5}</p>\n",
      id, escape_markup(heading), style, head, body, caption);
}

std::string header(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += fmt::format("<th scope=\"col\">{}</th>", escape_markup(name));
  return out;
}

// How strongly a cell is coloured, 0..1: up to an alpha at which its figure is still read on light and on
// dark.
std::string ground(double strength, bool other = false) {
  return fmt::format("background:rgba({},{:.2f})", other ? "194,65,12" : "11,122,117",
                     0.55 * std::clamp(strength, 0.0, 1.0));
}

// What the two colours say.
std::string legend(const char* green, const char* orange) {
  return fmt::format(
      " <span class=\"key\" style=\"{}\">green</span> {}; <span class=\"key\" style=\"{}\">orange</span> {}.",
      ground(1), green, ground(1, true), orange);
}

std::string head_names(const ImportanceReport& report) {
  std::int64_t widest = 0;
  for (const Removed& r : report.audit.heads.removed) widest = std::max(widest, r.place + 1);
  std::vector<std::string> names = {"layer"};
  for (std::int64_t a = 1; a <= widest; ++a) names.push_back(std::to_string(a));
  return header(names);
}

// Rows of layers with a cell for each removed head, in their order.
template <class Cell>
std::string head_rows(const ImportanceReport& report, Cell&& cell) {
  std::string rows;
  std::int64_t layer = 0;
  for (const Removed& r : report.audit.heads.removed) {
    if (r.layer != layer) {
      layer = r.layer;
      rows += fmt::format("{}<tr><th scope=\"row\">{}</th>", layer == 1 ? "" : "</tr>\n", layer);
    }
    rows += cell(r);
  }
  return rows + "</tr>\n";
}

std::string cell(double value) {
  return fmt::format("<td>{:.2f}</td>", value);
}

std::string comparison_cells(const Comparison& c) {
  const std::vector<double>& all = c.agreement.spearman;
  const auto [least, most] = std::minmax_element(all.begin(), all.end());
  return fmt::format("{}<td>{:.2f} to {:.2f}</td>{}{}", cell(c.agreement.mean_spearman()), *least, *most,
                     cell(c.agreement.mean_kendall()), cell(c.agreement.spearman_across));
}

}  // namespace

std::string misjudged_table(const ImportanceReport& report) {
  std::string rows;
  for (const UnitsAudit* units : {&report.audit.heads, &report.audit.neurons}) {
    const auto add = [&](const char* how, const audit::Misjudged& m) {
      rows += fmt::format(
          "<tr><th scope=\"row\">layer {} {} {}</th><td>{}</td><td>{:.2g}</td><td>{:+.2g}</td><td>{} of "
          "{}</td><td>{} of {}</td></tr>\n",
          m.layer, singular(*units), m.place + 1, how, m.score, m.change, m.rank_by_score, m.of,
          m.rank_by_change, m.of);
    };
    const audit::WorstMisjudged worst =
        audit::worst_misjudged(audit::misjudged(report.audit, *units), kNamed);
    for (const audit::Misjudged& m : worst.over) add("over-estimated", m);
    for (const audit::Misjudged& m : worst.under) add("under-estimated", m);
  }
  if (rows.empty()) return "";
  return table("misjudged", "The worst misjudged", "",
               header({"Unit", "How", "Score", "True change", "Rank by score", "Rank by signed change"}),
               rows,
               "Over-estimated are those that the score ranks higher in their layer than their removal does, "
               "furthest first; "
               "under-estimated the reverse. Rank 1 is the unit of its layer that matters most; by truth "
               "that is the one whose "
               "going raises the loss most, and one whose going lowers it comes last. Among neurons only "
               "those that were "
               "removed are ranked."
               "<span class=\"equation\">( rank of L(without S) &minus; L ) &minus; ( rank of I(S) )</span>");
}

std::string change_heat_table(const ImportanceReport& report) {
  double largest = 0;
  for (const Removed& r : report.audit.heads.removed) largest = std::max(largest, std::abs(r.change.total()));
  const std::string rows = head_rows(report, [&](const Removed& r) {
    const double change = r.change.total();
    // The square root keeps small changes visible beside large ones.
    const double strength = largest > 0 ? std::sqrt(std::abs(change) / largest) : 0;
    return fmt::format("<td style=\"{}\">{}</td>", ground(strength, change < 0),
                       signed_text(1000 * change, 1));
  });
  return table("change", "What each head’s removal costs", "heat", head_names(report), rows,
               "Rows are layers, columns heads; a cell is the true change of the loss in thousandths, green "
               "where it rises, "
               "orange where it falls. Deep green heads are those a budget must keep; orange ones could go "
               "for nothing." +
                   legend("its going raises the loss", "its going lowers the loss") +
                   "<span class=\"equation\">1000 &middot; ( L(without S) &minus; L )</span>");
}

std::string rank_heat_table(const ImportanceReport& report) {
  const std::vector<audit::Misjudged> all = audit::misjudged(report.audit, report.audit.heads);
  const std::string rows = head_rows(report, [&](const Removed& r) {
    const auto m = std::find_if(all.begin(), all.end(), [&](const audit::Misjudged& x) {
      return x.layer == r.layer && x.place == r.place;
    });
    const double gap = static_cast<double>(m->rank_by_score) - static_cast<double>(m->rank_by_change);
    return fmt::format("<td style=\"{}\">{} / {}</td>",
                       ground(std::sqrt(std::abs(gap) / static_cast<double>(m->of)), gap < 0),
                       m->rank_by_score, m->rank_by_change);
  });
  return table(
      "ranks", "Rank by score / rank by truth", "heat", head_names(report), rows,
      "In each cell stands the head’s rank in its layer by the paper’s score, then by the true change with "
      "its sign; 1 matters most. The deeper the colour, the further apart the two." +
          legend("it matters more than the score says", "it matters less") +
          "<span class=\"equation\">rank of I(S) / rank of L(without S) &minus; L</span>");
}

std::string exit_table(const ImportanceReport& report) {
  std::string rows;
  const UnitsAudit& heads = report.audit.heads;
  for (const Comparison& c : heads.comparisons) {
    if (!c.source.starts_with("exit ") || c.agreement.spearman.empty()) continue;
    if (c.definition == "paper") rows += fmt::format("<tr><th scope=\"row\">{}</th>", c.source);
    rows += cell(c.agreement.mean_spearman());
    if (c.definition == "gate") rows += "</tr>\n";
  }
  if (rows.empty()) return "";
  return table("exits", "Exit by exit: heads", "", header({"Loss", "Paper", "Release", "Gate"}), rows,
               "Spearman of the score from one exit’s loss alone with the true change of that exit’s loss, "
               "mean over the "
               "layers below it. Exits whose figures are low are those that Eq. 2 serves badly."
               "<span class=\"equation\">&rho;( I<sub>i</sub>(S), | L<sub>i</sub>(without S) &minus; "
               "L<sub>i</sub> | )</span>");
}

std::string matrix_table(const UnitsAudit& units) {
  const bool heads = units.units == Units::heads;
  const audit::ScoreMatrix& m = units.matrix;
  std::string rows;
  for (std::size_t i = 0; i < m.names.size(); ++i) {
    rows += fmt::format("<tr><th scope=\"row\">{} {}</th>", i + 1, escape_markup(m.names[i]));
    for (std::size_t j = 0; j < m.names.size(); ++j) {
      const double value = j < i ? m.spearman[i][j] : m.kept[i][j];
      rows += j < i ? fmt::format("<td style=\"{}\">{:.2f}</td>", ground(std::abs(value), value < 0), value)
                    : fmt::format("<td style=\"{}\">{:.0f} %</td>", ground(2 * value - 1), 100 * value);
    }
    rows += "</tr>\n";
  }
  std::vector<std::string> names = {"score"};
  for (std::size_t i = 0; i < m.names.size(); ++i) names.push_back(std::to_string(i + 1));
  return table(
      heads ? "kept-heads" : "kept-neurons", fmt::format("What scores have in common: {}", plural(units)),
      "heat", header(names), rows,
      fmt::format(
          "On and above the diagonal: the share of the {} kept {} of a layer that both scores keep; below it "
          "their rank correlation. Pairs that share little would give different slender models{}."
          "<span class=\"equation\">| top(a) &cap; top(b) | / | top(a) |; &rho;( a, b )</span>",
          units.budget, plural(units),
          heads ? "; the row removal is the truth: the heads whose going raises the loss most" : ""));
}

std::string comparison_details(const ImportanceReport& report) {
  std::string out;
  for (const UnitsAudit* units : {&report.audit.heads, &report.audit.neurons}) {
    std::string rows;
    for (const Comparison& c : units->comparisons) {
      if (c.agreement.spearman.empty()) continue;
      const char* layers = c.layers == Comparison::Layers::plain       ? ""
                           : c.layers == Comparison::Layers::equalised ? ", equalised"
                                                                       : ", normalised";
      rows += fmt::format("<tr><th scope=\"row\">{}, {}{}{}</th><td>{}</td>{}</tr>\n", c.definition, c.source,
                          c.has_sign ? ", signed sum" : "", layers, c.truth, comparison_cells(c));
    }
    if (rows.empty()) continue;
    const char* what = plural(*units);
    out += fmt::format(
        "<details>\n<summary>Every comparison: {0}</summary>\n<div class=\"scroll\" role=\"region\" "
        "tabindex=\"0\" "
        "aria-label=\"Comparisons of "
        "{0}\">\n<table>\n<thead><tr>{1}</tr></thead>\n<tbody>\n{2}</tbody>\n</table>\n"
        "</div>\n</details>\n",
        what, header({"Score", "True change of", "Spearman", "in the layers", "Kendall", "Across layers"}),
        rows);
  }
  return out;
}

}  // namespace costeff
