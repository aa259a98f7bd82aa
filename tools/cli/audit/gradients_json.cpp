#include <cmath>

#include "costeff/audit/gradient_view.h"
#include "tools/cli/audit/faults.h"
#include "tools/cli/audit/gradients.h"

namespace costeff {
namespace {

using audit::GradientAudit;
using audit::GroupSums;

// JSON has no nan: null.
Json real(double x) {
  return std::isfinite(x) ? Json(x) : Json();
}

Json sums_json(const GradientAudit& a, const GroupSums& s, audit::Variant v) {
  const auto batches = static_cast<double>(a.batches);
  const GroupSums::Sums& of = s.of[v];
  Json norms = Json::array(), shares = Json::array(), update_shares = Json::array();
  for (std::size_t j = 0; j < a.roots.size(); ++j) {
    norms.push_back(std::sqrt(of.square[j] / batches));
    shares.push_back(real(share(s, v, j)));
    update_shares.push_back(real(update_share(s, v, j)));
  }
  Json json{{"norm", std::sqrt(of.joint / batches)},
            {"norm_clipped", std::sqrt(of.clipped / batches)},
            {"norms", norms},
            {"shares", shares}};
  if (!a.has_moments[v]) return json;
  json["adam"] = {{"direction", std::sqrt(of.update / batches)},
                  {"shares", update_shares},
                  {"share_of_memory", real(history_share(s, v))},
                  {"relative_update", real(relative_update(a, s, v))},
                  {"near_epsilon", real(of.near_epsilon / of.elements)}};
  return json;
}

Json group_json(const GradientAudit& a, const GroupSums& s) {
  const std::size_t roots = a.roots.size();
  Json cosines = Json::array();
  for (std::size_t i = 0; i < roots; ++i) {
    Json row = Json::array();
    for (std::size_t j = 0; j < roots; ++j) row.push_back(real(cosine(s, roots, i, j)));
    cosines.push_back(std::move(row));
  }
  Json json{{"part", s.group.name()},
            {"layer", s.group.layer},
            {"kind", audit::name_of(s.group.kind)},
            {"parameters", s.parameters},
            {"plain", sums_json(a, s, audit::plain)},
            {"equalised", sums_json(a, s, audit::equalised)},
            {"relative_decay", real(relative_decay(a, s))},
            {"cosines", cosines}};
  const audit::Survival left = survival(s);
  json["equalised_over_plain"] = {{"gradient", real(left.raw)}, {"clipped", real(left.clipped)}};
  if (a.has_moments[audit::plain] && a.has_moments[audit::equalised]) {
    json["equalised_over_plain"]["adam_without_epsilon"] = real(left.undamped);
    json["equalised_over_plain"]["adam"] = real(left.update);
    json["cosine_of_updates"] = real(left.turn);
  }
  const auto least_agreed = [&](const char* key, audit::PairsOf which) {
    const std::vector<audit::Pair> found = pairs(a, s, which);
    if (found.empty()) return;
    const audit::Pair& worst = found.front();
    json[key] = {{"between", {a.roots[worst.a].name, a.roots[worst.b].name}},
                 {"cosine", worst.cosine},
                 {"cosine_by_batch", {{"least", worst.low}, {"most", worst.high}}}};
  };
  least_agreed("conflict", audit::PairsOf::exits);
  least_agreed("conflict_with_features", audit::PairsOf::exit_and_features);
  return json;
}

}  // namespace

Json gradients_json(const GradientFindings& f) {
  const GradientAudit& a = f.audit;
  Json roots = Json::array(), parts = Json::array(), layers = Json::array(), factors = Json::array(),
       answers = Json::array();
  for (const audit::AuditedRoot& root : a.roots) {
    roots.push_back(
        {{"name", root.name}, {"loss", root.kind}, {"place", root.place}, {"coefficient", root.coefficient}});
  }
  for (const GroupSums& s : a.groups) parts.push_back(group_json(a, s));
  for (std::int64_t m = 0; m <= a.layers; ++m) {
    Json layer = group_json(a, layer_sums(a, m));
    layer["part"] = m == 0 ? Json("embeddings") : Json(fmt::format("layer {}", m));
    layer.erase("kind");
    layers.push_back(std::move(layer));
  }
  for (const audit::Factor& factor : f.identities.factors) {
    factors.push_back({{"root", a.roots[factor.root].name},
                       {"layer", factor.layer},
                       {"measured", real(factor.measured)},
                       {"sideways", real(factor.sideways)},
                       {"expected", factor.expected ? Json(*factor.expected) : Json()},
                       {"fits", factor.fits}});
  }
  Json still = Json::array();
  for (const std::size_t root : f.identities.still) still.push_back(a.roots[root].name);
  for (const Answer& answer : gradient_answers(f))
    answers.push_back(
        {{"question", answer.question}, {"verdict", answer.verdict}, {"answer", answer.answer}});
  return {{"model", f.model},
          {"task", f.task},
          {"loss", f.loss},
          {"batches", a.batches},
          {"answers", answers},
          {"roots", roots},
          {"layers", layers},
          {"parts", parts},
          {"factors", factors},
          {"at_their_minimum", still},
          {"learning_rate", a.learning_rate},
          {"weight_decay", a.adam.weight_decay},
          {"max_norm", a.max_norm},
          {"beta1", a.adam.beta1},
          {"beta2", a.adam.beta2},
          {"epsilon", a.adam.epsilon},
          {"memory", f.memory},
          {"steps_before", {{"plain", a.steps[audit::plain]}, {"equalised", a.steps[audit::equalised]}}},
          {"norm", {{"plain", a.norm[audit::plain]}, {"equalised", a.norm[audit::equalised]}}},
          {"clip_scale", {{"plain", a.clip[audit::plain]}, {"equalised", a.clip[audit::equalised]}}},
          {"identities",
           {{"tolerance", f.identities.tolerance},
            {"share_sum", f.identities.worst_share_sum},
            {"sum_of_roots", f.identities.worst_gap},
            {"factor", f.identities.worst_factor},
            {"sideways", f.identities.worst_sideways}}},
          {"faults", faults_json(f.identities.faults)}};
}

}  // namespace costeff
