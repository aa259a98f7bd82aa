#include "costeff/train/method.h"

#include <algorithm>

#include "tensor/error.h"

namespace costeff {
namespace {

bool is_hidden(const LossTerm& term) {
  return term.kind == LossTerm::Kind::hidden_states;
}

}  // namespace

const StageSpec& Method::stage(const std::string& stage_name) const {
  std::string known;
  for (const StageSpec& stage : stages) {
    if (stage.name == stage_name) return stage;
    known += (known.empty() ? "" : ", ") + stage.name;
  }
  fail("the method {} has no stage {}; it has {}", name, stage_name, known);
}

Phase make_phase(std::string name, const Settings& s, std::int64_t steps, double lr) {
  Phase phase;
  phase.name = std::move(name);
  phase.steps = steps;
  phase.lr = lr;
  phase.warmup = static_cast<std::int64_t>(s.warmup < 1 ? s.warmup * static_cast<double>(steps) : s.warmup);
  phase.total = steps;
  phase.equalise = !s.no_equalise;
  return phase;
}

std::vector<Phase> limited(std::vector<Phase> phases, const Settings& s) {
  std::int64_t left = s.max_steps > 0 ? s.max_steps : INT64_MAX;
  for (Phase& phase : phases) {
    if (phase.steps > left) {
      const Phase fitted = make_phase(phase.name, s, left, phase.lr);
      phase.steps = fitted.steps;
      phase.warmup = fitted.warmup;
      phase.total = fitted.total;
    }
    left -= phase.steps;
  }
  std::erase_if(phases, [](const Phase& phase) { return phase.steps == 0; });
  return phases;
}

bool distils_hidden_states(const Phase& phase) {
  return std::any_of(phase.loss.begin(), phase.loss.end(), is_hidden);
}

bool trains_predictions(const Phase& phase) {
  return !std::all_of(phase.loss.begin(), phase.loss.end(), is_hidden);
}

}  // namespace costeff
