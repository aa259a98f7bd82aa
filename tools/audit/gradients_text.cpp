#include <algorithm>
#include <cmath>

#include "costeff/audit/gradient_view.h"
#include "tensor/error.h"
#include "tools/audit/faults.h"
#include "tools/audit/gradients.h"

namespace costeff {
namespace {

using audit::equalised;
using audit::GradientAudit;
using audit::GroupSums;
using audit::plain;

std::string layer_name(std::int64_t layer) {
  return layer == 0 ? "embeddings" : fmt::format("layer {}", layer);
}

// The smallest and largest over layers that have a value.
struct Span {
  double low = INFINITY, high = -INFINITY;
  void see(double x) {
    if (std::isnan(x)) return;
    low = std::min(low, x);
    high = std::max(high, x);
  }
  std::string text() const {
    if (low > high) return "nothing";
    return high - low < 5e-4 * high ? fmt::format("{:.3g}", high)
                                    : fmt::format("{:.3g} to {:.3g}", low, high);
  }
};

// "exit 1 soft, features 2"
std::string still_text(const GradientFindings& f) {
  std::string names;
  for (const std::size_t root : f.identities.still)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", f.audit.roots[root].name);
  return names;
}

Answer equalisation_answer(const GradientFindings& f) {
  const audit::Identities& i = f.identities;
  std::string text;
  if (!i.faults.empty()) {
    text = fmt::format("No: {} {} found, the first: {} {}.", i.faults.size(),
                       i.faults.size() == 1 ? "fault was" : "faults were", i.faults.front().place,
                       i.faults.front().what);
  } else if (i.factors.empty()) {
    text = "It cannot be seen: no loss moves any layer.";
  } else {
    text = fmt::format(
        "Yes. Every term's gradient at layer m is 1/(L-m+1) of what it is without equalisation, whichever "
        "exit it comes from; the worst measured factor is off by {:.1g} (allowed: {:.0e}).",
        i.worst_factor, i.tolerance);
  }
  if (!i.still.empty()) text += fmt::format(" At its minimum, with a gradient of 0: {}.", still_text(f));
  return {"Does equalisation do what Eq. 3 says?", text};
}

Answer survival_answer(const GradientFindings& f) {
  const GradientAudit& a = f.audit;
  Span raw, clipped, direction, epsilon, decay;
  for (std::int64_t m = 0; m <= a.layers; ++m) {
    const GroupSums s = layer_sums(a, m);
    const audit::Survival left = survival(s);
    raw.see(left.raw);
    clipped.see(left.clipped);
    direction.see(left.direction);
    for (const audit::Variant v : audit::kVariants) {
      if (s.of[v].elements > 0) epsilon.see(s.of[v].near_epsilon / s.of[v].elements);
    }
    if (a.has_moments[equalised]) decay.see(relative_decay(a, s) / relative_update(a, s, equalised));
  }
  std::string text = fmt::format(
      "Layer by layer, the gradient with equalisation is {} times the one without. Clipping by the global "
      "norm "
      "scales them by {:.3g} and {:.3g}: {} times is left. ",
      raw.text(), a.clip[equalised], a.clip[plain], clipped.text());
  if (a.has_moments[plain] && a.has_moments[equalised]) {
    text += fmt::format(
        "Adam divides each weight's gradient by its own running size: its direction is {} times as long with "
        "equalisation as without (1: no difference). What keeps it from 1 is epsilon, which is felt by up to "
        "{:.1f} % of a layer's weights, and how clipping changed from step to step while Adam's memory "
        "filled. ",
        direction.text(), 100 * std::max(0.0, epsilon.high));
  }
  if (decay.low <= decay.high) {
    text +=
        fmt::format("Weight decay, which equalisation does not touch, is {} times the step.", decay.text());
  }
  return {"Does it change what Adam does here, and through what?", text};
}

Answer conflict_answer(const GradientFindings& f) {
  std::string text;
  const GradientAudit& a = f.audit;
  int fighting = 0, layers = 0;
  double lowest = 2;
  std::string where;
  for (std::int64_t m = 0; m <= a.layers; ++m) {
    const auto worst = worst_conflict(a, layer_sums(a, m));
    if (!worst) continue;
    ++layers;
    if (worst->cosine < 0) ++fighting;
    if (worst->cosine >= lowest) continue;
    lowest = worst->cosine;
    where = fmt::format("{} and {} at {}, cosine {:.2f}", a.roots[worst->a].name, a.roots[worst->b].name,
                        m == 0 ? "the embeddings" : layer_name(m), worst->cosine);
  }
  if (layers == 0) {
    text = "No part of the model is moved by two exits.";
  } else if (fighting == 0) {
    text = fmt::format("No: in every layer each two of them pull the same way. The least agreed: {}.", where);
  } else {
    text =
        fmt::format("In {} of {} parts some pair pulls against each other (cosine below 0); the worst: {}.",
                    fighting, layers, where);
  }
  return {"Do exits fight, and where?", text};
}

// A table with a first column of names and numbers right of it.
class Columns {
 public:
  explicit Columns(std::vector<std::string> head) { rows_.push_back(std::move(head)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const {
    std::vector<std::size_t> width(rows_[0].size(), 0);
    for (const auto& row : rows_) {
      for (std::size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], row[c].size());
    }
    std::string out;
    for (const auto& row : rows_) {
      out += fmt::format("  {:<{}}", row[0], width[0]);
      for (std::size_t c = 1; c < row.size(); ++c) out += fmt::format("  {:>{}}", row[c], width[c]);
      out += "\n";
    }
    return out;
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

std::string number(double x, const char* form = "{:.3g}") {
  return std::isnan(x) ? "-" : fmt::format(fmt::runtime(form), x);
}

std::vector<std::string> shares_row(const GroupSums& s, audit::Variant v, std::string name) {
  std::vector<std::string> row = {std::move(name)};
  for (std::size_t j = 0; j < s.of[v].square.size(); ++j)
    row.push_back(s.of[v].square[j] == 0 ? "" : number(100 * share(s, v, j), "{:.1f}"));
  return row;
}

std::string shares_table(const GradientAudit& a) {
  std::vector<std::string> head = {"share of the joint gradient, %"};
  for (const audit::AuditedRoot& root : a.roots) head.push_back(root.name);
  Columns table(std::move(head));
  for (std::int64_t m = 0; m <= a.layers; ++m) {
    const GroupSums s = layer_sums(a, m);
    table.add(shares_row(s, equalised, layer_name(m)));
    if (shares_differ(s)) table.add(shares_row(s, plain, layer_name(m) + ", not equalised"));
  }
  return table.text();
}

std::string survival_table(const GradientAudit& a) {
  Columns table({"", "|g| plain", "|g| equal.", "ratio", "clipped", "Adam", "lr|u|/|w|", "decay/step",
                 "near eps, %", "conflict"});
  for (std::int64_t m = 0; m <= a.layers; ++m) {
    const GroupSums s = layer_sums(a, m);
    const audit::Survival left = survival(s);
    const auto batches = static_cast<double>(a.batches);
    const auto worst = worst_conflict(a, s);
    const bool adam = a.has_moments[equalised];
    table.add(
        {layer_name(m), number(std::sqrt(s.of[plain].joint / batches)),
         number(std::sqrt(s.of[equalised].joint / batches)), number(left.raw), number(left.clipped),
         adam && a.has_moments[plain] ? number(left.direction) : "-",
         adam ? number(relative_update(a, s, equalised)) : "-",
         adam ? number(relative_decay(a, s) / relative_update(a, s, equalised)) : "-",
         adam ? number(100 * s.of[equalised].near_epsilon / s.of[equalised].elements, "{:.1f}") : "-",
         worst ? fmt::format("{:.2f} {}/{}", worst->cosine, a.roots[worst->a].place, a.roots[worst->b].place)
               : ""});
  }
  return table.text();
}

}  // namespace

std::vector<Answer> gradient_answers(const GradientFindings& findings) {
  return {equalisation_answer(findings), survival_answer(findings), conflict_answer(findings)};
}

std::string gradients_text(const GradientFindings& f) {
  const GradientAudit& a = f.audit;
  std::string out = fmt::format("{}, {} on {}: {} batches\n\n", f.model, f.loss, f.task, a.batches);
  for (const Answer& answer : gradient_answers(f))
    out += fmt::format("{}\n  {}\n", answer.question, answer.answer);
  out += fmt::format("\n{}\n{}", shares_table(a), survival_table(a));
  out += fmt::format(
      "\nidentities: shares add up to 1 within {:.1g}, the terms' gradients to the joint one within {:.1g}, "
      "factors are the closed form within {:.1g}, and no gradient is turned (within {:.1g})\n",
      f.identities.worst_share_sum, f.identities.worst_gap, f.identities.worst_factor,
      std::sqrt(f.identities.worst_sideways));
  return out + faults_text(f.identities.faults);
}

}  // namespace costeff
