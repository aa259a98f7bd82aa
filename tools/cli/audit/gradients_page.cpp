#include <algorithm>
#include <cmath>
#include <limits>

#include "costeff/audit/gradient_view.h"
#include "tools/cli/audit/faults.h"
#include "tools/cli/audit/gradients.h"
#include "tools/cli/pages/html_page.h"
#include "tools/cli/pages/text.h"

namespace costeff {
namespace {

using audit::equalised;
using audit::GradientAudit;
using audit::GroupSums;
using audit::plain;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// A picture with the two sentences that say how to read it and what it tests.
std::string exhibit(const std::string& read, const std::string& tests, const std::string& content) {
  return fmt::format("<p>{} {}</p>\n{}", read, tests, content);
}

std::string equation(const char* text) {
  return fmt::format("<code>{}</code>", text);
}

struct Layers {
  const GradientAudit& audit;
  std::vector<GroupSums> sums;  // from the last layer down to the embeddings
  std::vector<std::string> names;

  explicit Layers(const GradientAudit& a) : audit(a) {
    for (std::int64_t m = a.layers; m >= 0; --m) {
      sums.push_back(layer_sums(a, m));
      names.push_back(layer_text(m));
    }
  }
  std::vector<std::string> roots() const {
    std::vector<std::string> columns;
    columns.reserve(audit.roots.size());
    for (const audit::AuditedRoot& root : audit.roots) columns.push_back(root.name);
    return columns;
  }
  // value(sums, root) in each cell that the root reaches.
  template <class F>
  std::vector<double> row(std::size_t r, F&& value) const {
    std::vector<double> cells;
    for (std::size_t j = 0; j < audit.roots.size(); ++j)
      cells.push_back(sums[r].of[plain].square[j] == 0 ? kNan : value(sums[r], j));
    return cells;
  }
  template <class F>
  std::vector<std::vector<double>> cells(F&& value) const {
    std::vector<std::vector<double>> rows;
    for (std::size_t r = 0; r < sums.size(); ++r) rows.push_back(row(r, value));
    return rows;
  }
};

std::string percent(double x) {
  return fmt::format("{:.0f} %", std::abs(x) < 0.005 ? 0.0 : 100 * x);
}

// So that a share of a sixth is seen.
double share_colour(double x) {
  return std::copysign(std::sqrt(std::abs(x)), x);
}

std::string shares_section(const Layers& l) {
  HeatTable table{.name = "Share of each loss in each layer's gradient",
                  .corner = "Layer",
                  .columns = l.roots(),
                  .rows = {},
                  .values = {},
                  .text = percent,
                  .colour = share_colour};
  for (std::size_t r = 0; r < l.sums.size(); ++r) {
    table.rows.push_back(l.names[r]);
    table.values.push_back(
        l.row(r, [](const GroupSums& s, std::size_t j) { return share(s, equalised, j); }));
    if (!shares_differ(l.sums[r])) continue;
    table.rows.push_back(fmt::format("{}, without equalisation", l.names[r]));
    table.values.push_back(l.row(r, [](const GroupSums& s, std::size_t j) { return share(s, plain, j); }));
  }
  return html_section(
      "shares", "Who moves each layer",
      exhibit(
          "Each row is a layer, each column a loss: the number is that loss’s part in the layer’s "
          "gradient, and a row adds up to 100 %. A negative number (violet) is a loss that pulls against "
          "the sum of all; what it takes away the others have above 100 %.",
          "It is the projection " + equation("⟨g_j, g⟩ / |g|²") +
              " of the loss’s gradient on the joint one. Equalisation scales a whole row alike in layers 1 "
              "to L, so the shares are the same with and without it; at the embeddings only where no loss "
              "reads their output itself, which nothing rescales. Where they differ both rows are shown.",
          heat_table(table)));
}

std::string factors_section(const GradientFindings& f, const Layers& l) {
  const std::size_t roots = f.audit.roots.size();
  std::vector<std::vector<double>> values(l.sums.size(), std::vector<double>(roots, kNan));
  std::vector<std::vector<bool>> wrong(l.sums.size(), std::vector<bool>(roots, false));
  for (const audit::Factor& factor : f.identities.factors) {
    const auto row = static_cast<std::size_t>(f.audit.layers - factor.layer);
    values[row][factor.root] = factor.measured;
    wrong[row][factor.root] = !factor.fits;
  }
  HeatTable table{.name = "Measured factor of equalisation",
                  .corner = "Layer",
                  .columns = l.roots(),
                  .rows = {},
                  .values = values,
                  .text = [](double x) { return fmt::format("{:.4f}", x); },
                  .colour = [](double x) { return x; },
                  .marked = wrong};
  for (std::size_t r = 0; r < l.names.size(); ++r) {
    const std::int64_t m = std::max<std::int64_t>(f.audit.layers - static_cast<std::int64_t>(r), 1);
    table.rows.push_back(fmt::format("{}: 1/{}", l.names[r], f.audit.layers - m + 1));
  }
  return html_section("factors", "What equalisation did",
                      exhibit("Each cell is what a loss’s gradient without equalisation has to be multiplied "
                              "with to come closest to the one with it; the factor that the row should have "
                              "stands beside its name, and a cell that misses it, or where the two gradients "
                              "do not have one direction, is marked ✗.",
                              "It tests Eq. 3: a loss at any exit reaches layer m with " +
                                  equation("1/(L−m+1)") + ", whatever the exit. The cell is the projection " +
                                  equation("⟨g_eq, g_plain⟩ / |g_plain|²") +
                                  ". (Features 0, the loss of the embeddings’ own output, is not rescaled.)",
                              heat_table(table)));
}

// What is left of the difference, stage by stage.
std::string ratios_exhibit(const Layers& l) {
  const GradientAudit& a = l.audit;
  const bool both = a.has_moments[plain] && a.has_moments[equalised];
  HeatTable ratios{.name = "What equalisation changes, stage by stage",
                   .corner = "Layer",
                   .columns = {"gradient", "after clipping"},
                   .rows = l.names,
                   .values = {},
                   .text = [](double x) { return fmt::format("{:.3f}", x); },
                   .colour = [](double x) { return x > 0 ? -std::log2(x) / 4 : 1; }};
  if (both) {
    for (const char* column : {"Adam’s update, ε = 0", "Adam’s update", "cosine of the updates"})
      ratios.columns.emplace_back(column);
  }
  for (const GroupSums& s : l.sums) {
    const audit::Survival left = survival(s);
    std::vector<double> row = {left.raw, left.clipped};
    if (both) row.insert(row.end(), {left.undamped, left.update, left.turn});
    ratios.values.push_back(std::move(row));
  }
  return exhibit(
      "Each number is the length with equalisation over the length without: 1 (white) means that "
      "equalisation "
      "makes no difference there, green is shorter, violet longer. Read a row from left to right: the "
      "gradient, "
      "what clipping leaves of the difference, Adam’s update as it would be with ε = 0, and as it is; the "
      "last "
      "column says whether the two updates point the same way (1: exactly).",
      "Clipping multiplies the gradient of a whole batch by " + equation("min(1, c/|g|)") +
          ", a number of its own with and without equalisation. Adam’s update, before the learning rate, "
          "is " +
          equation("u = m̂ / (√v̂ + ε)") +
          ": a factor that a layer has at every step cancels from it. So the column with ε = 0 differs from "
          "1 by "
          "what clipping changes from batch to batch (at the embeddings also by a loss that reads their "
          "output, "
          "which is not rescaled), and the next one differs from it by ε.",
      heat_table(ratios));
}

// How far a step moves the weights; nothing where nothing is known of Adam.
std::string steps_exhibit(const Layers& l, const std::string& memory) {
  const GradientAudit& a = l.audit;
  HeatTable steps{.name = "The step that Adam would take",
                  .corner = "Layer",
                  .columns = {},
                  .rows = l.names,
                  .values = std::vector<std::vector<double>>(l.names.size()),
                  .text = [](double x) { return fmt::format("{:.3g}", x); },
                  .colour = [](double) { return 0; }};
  for (const audit::Variant v : {plain, equalised}) {
    if (!a.has_moments[v]) continue;
    const char* way = v == plain ? "without" : "with";
    steps.columns.push_back(fmt::format("step/weight, {}", way));
    steps.columns.push_back(fmt::format("decay/step, {}", way));
    steps.columns.push_back(fmt::format("% near ε, {}", way));
    for (std::size_t r = 0; r < l.sums.size(); ++r) {
      const GroupSums& s = l.sums[r];
      const double step = relative_update(a, s, v);
      for (const double x :
           {step, relative_decay(a, s) / step, 100 * s.of[v].near_epsilon / s.of[v].elements})
        steps.values[r].push_back(x);
    }
  }
  if (steps.columns.empty()) return "";
  return exhibit(
      fmt::format(
          "How far the step would move the weights, at learning rate {:.3g} and with Adam’s memory from {}: "
          "the "
          "step’s length over that of the weights, how much weight decay adds to the step, and the share of "
          "weights for which ε is felt (√v̂ below 100 ε, where it shortens the update by more than 1 %).",
          a.learning_rate, escape_markup(memory)),
      "Weight decay is λ times the weights, whatever the gradient: equalisation changes its part only by "
      "changing the step beside it.",
      heat_table(steps));
}

std::string survival_section(const Layers& l, const std::string& memory) {
  return html_section("survival", "What is left of it after clipping and Adam",
                      ratios_exhibit(l) + steps_exhibit(l, memory));
}

std::string update_section(const Layers& l) {
  std::string content;
  for (const audit::Variant v : {plain, equalised}) {
    if (!l.audit.has_moments[v]) continue;
    std::vector<std::vector<double>> values =
        l.cells([&](const GroupSums& s, std::size_t j) { return update_share(s, v, j); });
    for (std::size_t r = 0; r < values.size(); ++r) values[r].push_back(history_share(l.sums[r], v));
    HeatTable table{.name = "Share of each loss in Adam’s update",
                    .corner = v == plain ? "Without equalisation" : "With equalisation",
                    .columns = l.roots(),
                    .rows = l.names,
                    .values = std::move(values),
                    .text = percent,
                    .colour = share_colour};
    table.columns.push_back("Adam’s memory");
    content += heat_table(table) + "<p></p>\n";
  }
  if (content.empty()) return "";
  return html_section(
      "direction", "Who moves each layer, after Adam",
      exhibit("As the table of shares above, for Adam’s update instead of the gradient; what earlier steps "
              "left in "
              "its memory is a column of its own, and a row adds up to 100 %.",
              "The update is linear in this step’s gradient once √v̂ is known, so it splits into " +
                  equation("u = u_memory + Σ_j u_j") + ", and the shares are " + equation("⟨u_j, u⟩ / |u|²") +
                  ".",
              content));
}

std::string conflicts_section(const Layers& l) {
  const GradientAudit& a = l.audit;
  const std::size_t roots = a.roots.size();
  HeatTable worst{.name = "The least agreed pair of exits in each layer",
                  .corner = "Layer",
                  .columns = {"all batches", "least of a batch", "most of a batch"},
                  .rows = {},
                  .values = {},
                  .text = [](double x) { return fmt::format("{:+.2f}", x); },
                  .colour = [](double x) { return x; }};
  std::string details;
  for (std::size_t r = 0; r < l.sums.size(); ++r) {
    const std::vector<audit::Pair> exits = pairs(a, l.sums[r], audit::PairsOf::exits);
    if (exits.empty()) continue;
    const audit::Pair& pair = exits.front();
    worst.rows.push_back(
        fmt::format("{}: {} and {}", l.names[r], a.roots[pair.a].name, a.roots[pair.b].name));
    worst.values.push_back({pair.cosine, pair.low, pair.high});
    HeatTable all{.name = fmt::format("Cosines in {}", l.names[r]),
                  .corner = "",
                  .columns = {},
                  .rows = {},
                  .values = {},
                  .text = worst.text,
                  .colour = worst.colour};
    for (std::size_t i = 0; i < roots; ++i) {
      if (l.sums[r].of[plain].square[i] == 0) continue;
      all.rows.push_back(a.roots[i].name);
      all.columns.push_back(a.roots[i].name);
      std::vector<double>& row = all.values.emplace_back();
      for (std::size_t j = 0; j < roots; ++j) {
        if (l.sums[r].of[plain].square[j] != 0) row.push_back(cosine(l.sums[r], roots, i, j));
      }
    }
    details += fmt::format("<details><summary>All pairs in {}</summary>\n{}</details>\n", l.names[r],
                           heat_table(all));
  }
  if (worst.rows.empty()) return "";
  return html_section(
      "conflicts", "Do exits fight, and where",
      exhibit(
          "For each layer, the two exits whose gradients agree least: +1 is the same direction, 0 is "
          "unrelated, below 0 (violet) what helps one exit harms the other. Beside it the same cosine in the "
          "batch where it is lowest and where it is highest: a pair fights where all three are below 0.",
          "It is the cosine " + equation("⟨g_a, g_b⟩ / (|g_a| |g_b|)") +
              " over all weights of the layer; equalisation scales both alike in layers 1 to L and does "
              "not change it there.",
          heat_table(worst) + "<p></p>\n" + details));
}

std::string norms_section(const Layers& l) {
  const auto batches = static_cast<double>(l.audit.batches);
  double largest = 0;
  for (const GroupSums& s : l.sums) {
    for (const double square : s.of[plain].square) largest = std::max(largest, std::sqrt(square / batches));
  }
  std::string content;
  for (const audit::Variant v : {plain, equalised}) {
    content += heat_table({.name = v == plain ? "Norms without equalisation" : "Norms with equalisation",
                           .corner = v == plain ? "Without equalisation" : "With equalisation",
                           .columns = l.roots(),
                           .rows = l.names,
                           .values = l.cells([&](const GroupSums& s, std::size_t j) {
                             return std::sqrt(s.of[v].square[j] / batches);
                           }),
                           .text = [](double x) { return fmt::format("{:.2g}", x); },
                           .colour = [=](double x) { return 1 + std::log10(x / largest) / 4; }}) +
               "<p></p>\n";
  }
  return html_section(
      "norms", "How strong each loss pulls",
      exhibit(
          "The length of each loss’s gradient in each layer, darker is longer (four powers of ten from white "
          "to "
          "full colour).",
          "Without equalisation early layers feel the sum of many exits; Eq. 3 divides it by their number, " +
              equation("L−m+1") + ".",
          content));
}

std::string identities_section(const GradientFindings& f) {
  const audit::Identities& i = f.identities;
  const auto row = [&](const char* what, double worst, double allowed) {
    return fmt::format("<tr><th scope=\"row\">{}</th><td>{:.1e}</td><td>{:.0e}</td><td>{}</td></tr>\n", what,
                       worst, allowed, worst <= allowed ? "holds" : "FAILS");
  };
  std::string content =
      "<p>These hold for any model; if one fails, the fault is in the loss, in equalisation, or in this "
      "audit, and "
      "no other number here counts.</p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
      "aria-label=\"Identities\">\n<table>\n<thead><tr><th scope=\"col\">Identity</th><th "
      "scope=\"col\">Worst</th><th "
      "scope=\"col\">Allowed</th><th scope=\"col\"></th></tr></thead>\n<tbody>\n" +
      row("A layer’s shares add up to 1", i.worst_share_sum, i.tolerance) +
      row("The losses’ gradients add up to the joint gradient", i.worst_gap, i.allowed_gap()) +
      row("Factors of equalisation are the closed form", i.worst_factor, i.tolerance) +
      row("Equalisation turns no gradient", std::sqrt(i.worst_sideways), std::sqrt(i.tolerance)) +
      "</tbody>\n</table>\n</div>\n";
  content += faults_html(i.faults);
  return html_section("identities", "Can these numbers be trusted", content);
}

constexpr const char* kOwnStyle = R"CSS(
.heat thead th{white-space:normal}.heat th,.heat td{padding:.3rem .4rem}
dt{font-weight:600;margin-top:.8rem}dd{margin:0 0 .2rem 0}
)CSS";

}  // namespace

std::string gradients_page(const GradientFindings& f) {
  const Layers layers(f.audit);
  std::string answers;
  for (const Answer& a : gradient_answers(f)) {
    answers += fmt::format("<div class=\"answer\"><h3>{}</h3><p>{}</p></div>\n", escape_markup(a.question),
                           escape_markup(a.answer));
  }
  HtmlPage page{
      .kicker = fmt::format("COST-EFF audit of gradients on {}", f.task),
      .headline = gradient_headline(f),
      .facts = fmt::format("{} · {} · {} layers · {}", f.model, f.loss, f.audit.layers, setting_text(f)),
      .notes = "",
      .body = html_section("answers", "Three questions", answers),
      .made_by = "costeff audit gradients",
      .style = kOwnStyle};
  page.body += identities_section(f) + shares_section(layers) + conflicts_section(layers) +
               factors_section(f, layers) + survival_section(layers, f.memory) + update_section(layers) +
               norms_section(layers);
  page.body += html_section("words", "What the words mean", gradient_words(f)) + reproduce_section(f.command);
  return html_page(page);
}

}  // namespace costeff
