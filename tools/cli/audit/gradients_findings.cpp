// What the numbers of a gradient audit mean, in sentences.
#include <algorithm>
#include <cmath>

#include "costeff/audit/gradient_view.h"
#include "tools/cli/audit/gradients.h"

namespace costeff {
namespace {

using audit::equalised;
using audit::GradientAudit;
using audit::GroupSums;
using audit::Pair;
using audit::plain;

// The smallest and largest over layers that have a value.
struct Span {
  double low = INFINITY, high = -INFINITY;
  std::int64_t highest = 0;  // the layer
  void see(std::int64_t layer, double x) {
    if (std::isnan(x)) return;
    low = std::min(low, x);
    if (x > high) highest = layer;
    high = std::max(high, x);
  }
  bool empty() const { return low > high; }
  std::string text() const {
    if (empty()) return "nothing";
    return high - low < 5e-4 * high ? fmt::format("{:.3g}", high)
                                    : fmt::format("{:.3g} to {:.3g}", low, high);
  }
};

std::string place(std::int64_t layer) {
  return layer == 0 ? "the embeddings" : fmt::format("layer {}", layer);
}

// "exit 1 soft, features 2"
std::string still_text(const GradientFindings& f) {
  std::string names;
  for (const std::size_t root : f.identities.still)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", f.audit.roots[root].name);
  return names;
}

bool has_features_of_embeddings(const GradientAudit& a) {
  return std::any_of(a.roots.begin(), a.roots.end(), [](const audit::AuditedRoot& root) {
    return root.kind == "features" && root.place == 0;
  });
}

Answer equalisation_answer(const GradientFindings& f) {
  const audit::Identities& i = f.identities;
  Answer a{"Does equalisation do what Eq. 3 says?", "", ""};
  if (!i.faults.empty()) {
    a.verdict = "something is wrong with this model’s gradients";
    a.answer = fmt::format("No: {} {} found, the first: {} {}.", i.faults.size(),
                           i.faults.size() == 1 ? "fault was" : "faults were", i.faults.front().place,
                           i.faults.front().what);
  } else if (i.factors.empty()) {
    a.verdict = "no loss moves any layer of this model";
    a.answer = "It cannot be seen: no loss moves any layer.";
  } else {
    a.verdict = "equalisation does what Eq. 3 says";
    a.answer = fmt::format(
        "Yes. Every term's gradient at layer m is 1/(L-m+1) of what it is without equalisation, whichever "
        "exit it comes from{}; the worst measured factor is off by {:.1g} (allowed: {:.0e}).",
        has_features_of_embeddings(f.audit)
            ? " (but for features 0 at the embeddings, which nothing rescales)"
            : "",
        i.worst_factor, i.tolerance);
  }
  if (!i.still.empty()) a.answer += fmt::format(" At its minimum, with a gradient of 0: {}.", still_text(f));
  return a;
}

// The layers' figures that the second answer speaks of.
struct Spans {
  Span raw, clipped, undamped, update, turn, epsilon, decay;
  double damping = 0;            // the most by which epsilon changes the update's ratio
  std::int64_t most_damped = 0;  // the layer
  bool mixed = false;            // at the embeddings losses are not scaled alike

  explicit Spans(const GradientAudit& a) {
    for (std::int64_t m = 0; m <= a.layers; ++m) {
      const GroupSums s = layer_sums(a, m);
      const audit::Survival left = survival(s);
      raw.see(m, left.raw);
      clipped.see(m, left.clipped);
      undamped.see(m, left.undamped);
      update.see(m, left.update);
      turn.see(m, left.turn);
      const double damped = left.undamped > 0 ? std::abs(left.update / left.undamped - 1) : 0;
      if (damped > damping) most_damped = m;
      damping = std::max(damping, damped);
      for (const audit::Variant v : audit::kVariants) {
        if (s.of[v].elements > 0) epsilon.see(m, s.of[v].near_epsilon / s.of[v].elements);
      }
      if (a.has_moments[equalised]) decay.see(m, relative_decay(a, s) / relative_update(a, s, equalised));
      mixed = mixed || shares_differ(s);
    }
  }
};

// "Hardly" and "a little" are what "What the words mean" on the page says they are.
struct Extent {
  const char* word;
  const char* verdict;
};
Extent extent(const Spans& s) {
  const double change = std::max(s.update.high - 1, 1 - s.update.low);
  if (change <= kHardly.length && s.turn.low >= kHardly.cosine)
    return {"Hardly", "it hardly changes what Adam does"};
  if (change <= kLittle.length && s.turn.low >= kLittle.cosine)
    return {"A little", "it changes a little what Adam does"};
  return {"Yes", "it changes what Adam does"};
}

std::string clipping_text(const GradientAudit& a, const Spans& s) {
  if (a.max_norm <= 0) return "There is no clipping.";
  const auto scale = [&](audit::Variant v) {
    return fmt::format("{:.3g} ({:.2g} to {:.2g})", a.clip[v], a.least_clip[v], a.most_clip[v]);
  };
  return fmt::format(
      "Clipping each batch to a global norm of {:.3g} multiplies the gradient by {} with equalisation and by "
      "{} without, "
      "on average (and from batch to batch); clipped, the one is {} times as long as the other.",
      a.max_norm, scale(equalised), scale(plain), s.clipped.text());
}

Answer survival_answer(const GradientFindings& f) {
  const GradientAudit& a = f.audit;
  const Spans s(a);
  Answer answer{"Does it change what Adam does here, and through what?", "", ""};
  const std::string gradient =
      fmt::format("the gradient with equalisation is {} times as long as without, layer by layer. {}",
                  s.raw.text(), clipping_text(a, s));
  if (s.update.empty()) {
    answer.answer = fmt::format("Of Adam nothing is known both with and without it; {}", gradient);
  } else {
    const Extent e = extent(s);
    answer.verdict = e.verdict;
    answer.answer = fmt::format(
        "{}. Adam's update is {} times as long with equalisation as without (cosine of the two: {}), though "
        "{} Adam divides each weight's gradient by its own running size, so a factor that a layer has at "
        "every step cancels. ",
        e.word, s.update.text(), s.turn.text(), gradient);
    answer.answer += fmt::format(
        "What is left comes through {}: with epsilon = 0 the update would be {} times as long. Epsilon "
        "changes that by at most {:.2g} % (at {}), though up to {:.1f} % of the weights of a layer (most at "
        "{}) have a running size below 100 epsilon. ",
        s.mixed ? "the scale of clipping, which changes from batch to batch, and, at the embeddings, the "
                  "loss of features 0, which equalisation leaves as it is"
                : "the scale of clipping, which changes from batch to batch",
        s.undamped.text(), 100 * s.damping, place(s.most_damped), 100 * std::max(0.0, s.epsilon.high),
        place(s.epsilon.highest));
  }
  if (!s.decay.empty()) {
    answer.answer +=
        fmt::format("Weight decay, which equalisation does not touch, is {} times the step.", s.decay.text());
  }
  return answer;
}

// "exit 1 soft and exit 6 soft at layer 2, cosine 0.02 (-0.01 to 0.06 over the batches)"
std::string pair_text(const GradientAudit& a, const Pair& pair, std::int64_t layer) {
  std::string text = fmt::format("{} and {} at {}, cosine {:.2f}", a.roots[pair.a].name, a.roots[pair.b].name,
                                 place(layer), pair.cosine);
  if (a.batches > 1)
    text += fmt::format(" ({:.2f} to {:.2f} over the {} batches)", pair.low, pair.high, a.batches);
  return text;
}

Answer conflict_answer(const GradientFindings& f) {
  const GradientAudit& a = f.audit;
  Answer answer{"Do exits fight, and where?", "", ""};
  std::vector<std::string> fighting;
  std::optional<Pair> worst, with_features;
  std::int64_t at = 0, features_at = 0;
  std::size_t all = 0, below = 0;  // pairs in all layers; those with a cosine below 0
  for (std::int64_t m = 0; m <= a.layers; ++m) {
    const GroupSums s = layer_sums(a, m);
    const std::vector<Pair> exits = pairs(a, s, audit::PairsOf::exits);
    if (std::any_of(exits.begin(), exits.end(), [](const Pair& p) { return p.fights(); }))
      fighting.push_back(place(m));
    all += exits.size();
    below += static_cast<std::size_t>(
        std::count_if(exits.begin(), exits.end(), [](const Pair& p) { return p.cosine < 0; }));
    if (!exits.empty() && (!worst || exits[0].cosine < worst->cosine)) worst = exits[0], at = m;
    const std::vector<Pair> mixed = pairs(a, s, audit::PairsOf::exit_and_features);
    if (!mixed.empty() && (!with_features || mixed[0].cosine < with_features->cosine))
      with_features = mixed[0], features_at = m;
  }
  if (!worst) {
    answer.answer = "No part of the model is moved by two exits.";
  } else if (fighting.empty()) {
    answer.verdict = "exits do not fight";
    answer.answer = fmt::format(
        "No: nowhere does a pair of exits pull against each other (cosine below 0){}. The least agreed: {}; "
        "1 "
        "is the same way, 0 is unrelated.",
        a.batches > 1 ? " in every batch" : "", pair_text(a, *worst, at));
  } else {
    answer.verdict = fmt::format("exits fight at {}", fmt::join(fighting, ", "));
    answer.answer = fmt::format(
        "Yes, at {}: there a pair of exits pulls against each other (cosine below 0){}. The worst: {}.",
        fmt::join(fighting, ", "), a.batches > 1 ? " in every batch" : "", pair_text(a, *worst, at));
  }
  if (with_features) {
    answer.answer += fmt::format(" Between an exit's loss and a layer's feature loss the least agreed: {}.",
                                 pair_text(a, *with_features, features_at));
  }
  return answer;
}

}  // namespace

std::vector<Answer> gradient_answers(const GradientFindings& findings) {
  return {equalisation_answer(findings), survival_answer(findings), conflict_answer(findings)};
}

std::string gradient_headline(const GradientFindings& findings) {
  std::string headline;
  const bool one = !findings.identities.faults.empty() || findings.identities.factors.empty();
  for (const Answer& answer : gradient_answers(findings)) {
    if (answer.verdict.empty()) continue;
    headline += fmt::format("{}{}", headline.empty() ? "" : "; ", answer.verdict);
    if (one) break;
  }
  headline[0] = static_cast<char>(std::toupper(headline[0]));
  return headline;
}

std::string setting_text(const GradientFindings& f) {
  const GradientAudit& a = f.audit;
  return fmt::format("{} {}, Adam's memory from {}", a.batches, a.batches == 1 ? "batch" : "batches",
                     f.memory);
}

std::string layer_text(std::int64_t layer) {
  return layer == 0 ? "embeddings" : fmt::format("layer {}", layer);
}

}  // namespace costeff
