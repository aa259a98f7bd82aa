#include <algorithm>
#include <cmath>

#include "costeff/audit/gradient_view.h"
#include "tensor/error.h"
#include "tools/cli/audit/faults.h"
#include "tools/cli/audit/gradients.h"

namespace costeff {
namespace {

using audit::equalised;
using audit::GradientAudit;
using audit::GroupSums;
using audit::plain;

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
    table.add(shares_row(s, equalised, layer_text(m)));
    if (shares_differ(s)) table.add(shares_row(s, plain, layer_text(m) + ", not equalised"));
  }
  return table.text();
}

std::string survival_table(const GradientAudit& a) {
  Columns table({"", "|g| plain", "|g| equal.", "ratio", "clipped", "Adam eps=0", "Adam", "cosine",
                 "lr|u|/|w|", "decay/step", "near eps, %", "least agreed"});
  for (std::int64_t m = 0; m <= a.layers; ++m) {
    const GroupSums s = layer_sums(a, m);
    const audit::Survival left = survival(s);
    const auto batches = static_cast<double>(a.batches);
    const std::vector<audit::Pair> exits = pairs(a, s, audit::PairsOf::exits);
    const bool adam = a.has_moments[equalised], both = adam && a.has_moments[plain];
    table.add({layer_text(m), number(std::sqrt(s.of[plain].joint / batches)),
               number(std::sqrt(s.of[equalised].joint / batches)), number(left.raw), number(left.clipped),
               both ? number(left.undamped) : "-", both ? number(left.update) : "-",
               both ? number(left.turn, "{:.4f}") : "-",
               adam ? number(relative_update(a, s, equalised)) : "-",
               adam ? number(relative_decay(a, s) / relative_update(a, s, equalised)) : "-",
               adam ? number(100 * s.of[equalised].near_epsilon / s.of[equalised].elements, "{:.1f}") : "-",
               exits.empty() ? ""
                             : fmt::format("{:.2f} {}/{}", exits[0].cosine, a.roots[exits[0].a].place,
                                           a.roots[exits[0].b].place)});
  }
  return table.text();
}

}  // namespace

std::string gradients_text(const GradientFindings& f) {
  const GradientAudit& a = f.audit;
  std::string out = fmt::format("{}, {} on {}: {}\n\n", f.model, f.loss, f.task, setting_text(f));
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
