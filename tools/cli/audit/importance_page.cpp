// The page of an importance audit: the answer, the pictures it rests on, and what the words mean.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/cli/audit/importance.h"
#include "tools/cli/audit/importance_figures.h"
#include "tools/cli/audit/importance_tables.h"
#include "tools/cli/pages/html_page.h"
#include "tools/cli/pages/svg.h"
#include "tools/cli/pages/text.h"

namespace costeff {
namespace {

using audit::UnitsAudit;

constexpr const char* kScore =
    "I(S) = | &Sigma;<sub>w&isin;S</sub> g<sub>w</sub> w | (Eq. 2), against | L(without S) &minus; L |";
constexpr const char* kGate =
    "L(without S) &minus; L &asymp; &minus; &Sigma;<sub>w&isin;O</sub> g<sub>w</sub> w, O: the unit’s "
    "columns of W<sub>O</sub> "
    "or W<sub>FO</sub>";

constexpr const char* kOwnStyle = R"CSS(
.equation{display:block;margin-top:.45rem;color:var(--ink);font-family:Georgia,"Times New Roman",serif;overflow-wrap:anywhere}
.heat td{text-align:center;padding:.3rem .35rem;font-size:.8rem}
.heat th{padding:.3rem .5rem;text-align:center}
.heat tbody th{text-align:left;font-weight:400;white-space:nowrap}
section>h3{margin:1.5rem 0 .5rem}h2+h3{margin-top:0!important}
.answer{padding-left:1.2rem}.answer li{margin:.4rem 0}
dt{font-weight:600;margin-top:.8rem}dd{margin:0 0 .2rem 0}
.key{padding:0 .4rem;border-radius:4px;color:var(--ink)}
.caption{color:var(--muted);font-size:.9rem;margin-top:.5rem}
)CSS";

std::string drawn(Figure figure, const char* equation) {
  if (figure.missing.empty()) figure.svg = draw(figure);
  return figure_element(figure, equation);
}

std::string answer(const ImportanceReport& report) {
  std::string content;
  for (const Findings& part : importance_findings(report)) {
    content += fmt::format("<h3>{}</h3>\n<ul class=\"answer\">\n", part.about);
    for (const std::string& finding : part.sentences)
      content += fmt::format("<li>{}</li>\n", escape_markup(finding));
    content += "</ul>\n";
  }
  return html_section("answer", "The answer", content);
}

std::string scatters(const ImportanceReport& report) {
  std::string figures;
  for (const UnitsAudit* units : {&report.audit.heads, &report.audit.neurons}) {
    if (units->removed.empty()) continue;
    figures += drawn(score_scatter(report, *units), kScore);
    figures += drawn(signed_scatter(report, *units), kGate);
  }
  return html_section("predicted", "Predicted and true",
                      fmt::format("<div class=\"figures\">\n{}</div>\n", figures));
}

std::string wrong(const ImportanceReport& report) {
  return html_section("wrong", "Where it is wrong",
                      misjudged_table(report) + change_heat_table(report) + rank_heat_table(report));
}

std::string which(const ImportanceReport& report) {
  std::string figures;
  for (const UnitsAudit* units : {&report.audit.heads, &report.audit.neurons}) {
    if (!units->removed.empty())
      figures += drawn(spearman_bars(report, *units),
                       "&rho;( score, | L(without S) &minus; L | ), ranks within a layer");
  }
  std::string tables;
  for (const UnitsAudit* units : {&report.audit.heads, &report.audit.neurons}) tables += matrix_table(*units);
  return html_section(
      "which", "Which score, from which loss",
      fmt::format("<div class=\"figures\">\n{}</div>\n{}{}", figures, exit_table(report), tables));
}

std::string together(const ImportanceReport& report) {
  return html_section(
      "together", "Removed together",
      fmt::format("<div class=\"figures\">\n{}</div>\n",
                  drawn(cumulative_figure(report),
                        "L(without S<sub>1</sub> &cup; … &cup; S<sub>k</sub>) &minus; L, which Eq. 2 takes "
                        "for a sum of single ones")));
}

constexpr const char* kWords = R"HTML(<dl>
<dt>Head, neuron, exit</dt><dd>A layer’s attention is a sum of heads, its feed-forward part a sum of neurons; both can be cut
out. An exit is a classifier on a layer, so that easy sentences can stop there; the loss is the sum over exits.</dd>
<dt>True change</dt><dd>L(without S) &minus; L on the same sentences: the unit’s columns of W<sub>O</sub> (a head) or W<sub>FO</sub>
(a neuron) are set to 0, the layers above are computed again, the columns are put back. That is what cutting it out does.</dd>
<dt>paper</dt><dd>| &Sigma;<sub>w&isin;S</sub> g<sub>w</sub> w |, Eq. 2: g is the gradient of the mean loss, S all weights of the unit; of a
head its rows of W<sub>Q</sub>, W<sub>K</sub>, W<sub>V</sub> with their biases and its columns of W<sub>O</sub>, of a neuron its row of
W<sub>FI</sub>, its bias and its column of W<sub>FO</sub>.</dd>
<dt>release</dt><dd>&Sigma;<sub>batches</sub> &Sigma;<sub>w&isin;S</sub> | g<sub>w</sub> w |, the authors’ code: nothing cancels. S is without
W<sub>Q</sub>, W<sub>K</sub>, W<sub>V</sub> and without biases.</dd>
<dt>gate</dt><dd>&Sigma; g<sub>w</sub> w over the unit’s columns of W<sub>O</sub> or W<sub>FO</sub> alone. With a factor z on the unit’s output it is
&part;L/&part;z at z = 1, so that &minus; gate is the first-order forecast for z = 0, the unit’s going. The paper’s sum for a head is this
number twice (once by W<sub>O</sub>, once by W<sub>V</sub> and its bias) plus a term of W<sub>Q</sub> and W<sub>K</sub>.</dd>
<dt>Source</dt><dd>The part of the loss whose gradient is taken: predictions (Eq. 4: the teacher’s, at all exits) or labels; one exit
alone; features (Eq. 5: the teacher’s hidden states); all, which is predictions and features, as slenderising scores.</dd>
<dt>Equalised, normalised</dt><dd>Equalisation (Eq. 3) multiplies what reaches layer k by 1/(L&minus;k+1). Within a layer that changes no order; between
layers it does. Normalised scores are divided by their layer’s root mean square, as a global budget does: then equalisation is without
effect there too.</dd>
<dt>One by one, random</dt><dd>Orders in which several heads are removed: by the true change of each alone; at random.</dd>
<dt>Signed sum</dt><dd>&Sigma; g<sub>w</sub> w without the bars: minus it is the paper’s forecast of the change with its sign.</dd>
<dt>Well, in the main, in part, hardly</dt><dd>A mean Spearman over layers of at least 0.8, of at least 0.6, of at least 0.3, and below.</dd>
<dt>Spearman, Kendall</dt><dd>Rank correlations: 1 the same order, 0 none, &minus;1 the reverse. A constant side counts as 0.</dd>
</dl>
)HTML";

}  // namespace

std::string importance_page(const ImportanceReport& report) {
  const std::string head = importance_headline(report);
  std::size_t neurons = 0;
  for (const auto& layer : report.audit.sources.front().paper.neurons) neurons += layer.size();
  const std::string facts = fmt::format(
      "{} · {} layers · {} heads and {} of {} neurons removed, one at a time · {} sentences of {} · teacher: "
      "{} · loss "
      "of the exits from {}: {:.4f}",
      report.model, report.layers, report.audit.heads.removed.size(), report.audit.neurons.removed.size(),
      neurons, report.sentences, report.data, report.teacher.empty() ? "none" : report.teacher,
      report.audit.loss, report.audit.whole.total());
  std::string body = answer(report) + scatters(report) + wrong(report) + which(report) + together(report);
  body += html_section("words", "What the words mean", kWords) + comparison_details(report) +
          reproduce_section(report.command);
  return html_page({.kicker = "Does the Taylor score predict the loss?",
                    .headline = head,
                    .facts = facts,
                    .notes = "",
                    .body = std::move(body),
                    .made_by = "costeff audit importance",
                    .style = kOwnStyle});
}

}  // namespace costeff
