#include "costeff/train/step_loss.h"

#include <algorithm>

namespace costeff {
namespace {

using Kind = LossTerm::Kind;
using Exits = LossTerm::Exits;

std::vector<LossTerm> active_terms(const Phase& phase, bool hidden_alone) {
  std::vector<LossTerm> terms = phase.loss;
  if (hidden_alone) std::erase_if(terms, [](const LossTerm& t) { return t.kind != Kind::hidden_states; });
  return terms;
}

}  // namespace

Variable step_loss(const Phase& phase, bool hidden_alone, const Bert& student, const Teacher* teacher,
                   Forward& forward, const Batch& batch, const TokenBatch& tokens) {
  const std::vector<LossTerm> terms = active_terms(phase, hidden_alone);
  const bool last_alone = std::all_of(terms.begin(), terms.end(), [](const LossTerm& t) {
    return t.kind == Kind::labels && t.exits == Exits::last;
  });
  if (teacher == nullptr && last_alone) {  // no row is computed that exit L does not read
    return sum_of_terms(terms, {student.config().layers(), {student.logits(forward, tokens)}, {}}, {}, batch,
                        tokens.layout);
  }
  const TeacherOutputs target = teacher != nullptr ? (*teacher)(batch, tokens) : TeacherOutputs{};
  return sum_of_terms(terms, multi_exit(student, forward, tokens, phase.equalise), target, batch,
                      tokens.layout);
}

void freeze_for(const Phase& phase, bool hidden_alone, Bert& model) {
  const std::int64_t last = model.config().layers();
  bool reads_last = false, reads_early = false;
  for (const LossTerm& term : active_terms(phase, hidden_alone)) {
    if (term.kind == Kind::hidden_states) continue;
    reads_last = reads_last || term.exits != Exits::early;
    reads_early = reads_early || term.exits != Exits::last;
  }
  for (const NamedTensor& t : model.parameters().named()) {
    const bool exit = is_exit(t.role.part);
    const bool trained = exit ? (t.role.exit == last ? reads_last : reads_early) : !phase.exits_only;
    t.parameter->fixed = !trained && !exit && phase.clip_by_all;
    t.parameter->frozen = !trained && !t.parameter->fixed;
  }
}

}  // namespace costeff
