#include "costeff/train/plan.h"

#include <algorithm>
#include <cmath>

#include "tensor/error.h"

namespace costeff {
namespace {

std::int64_t whole(double x) {
  return static_cast<std::int64_t>(x);
}

Phase phase(std::string name, const Settings& s, std::int64_t steps, double lr) {
  Phase p;
  p.name = std::move(name);
  p.steps = steps;
  p.lr = lr;
  p.warmup = whole(s.warmup < 1 ? s.warmup * static_cast<double>(steps) : s.warmup);
  p.total = steps;
  return p;
}

// A phase with fewer steps, its schedule fitted to them.
Phase shortened(const Phase& whole_phase, const Settings& s, std::int64_t steps) {
  Phase p = whole_phase;
  const Phase fitted = phase(p.name, s, steps, p.lr);
  p.steps = fitted.steps;
  p.warmup = fitted.warmup;
  p.total = fitted.total;
  return p;
}

Phase features_alone(const Settings& s, std::int64_t steps_per_epoch) {
  Phase p = phase("features", s, whole(std::round(s.feature_epochs * static_cast<double>(steps_per_epoch))),
                  s.feature_lr);
  p.predictions = false;
  p.features = true;
  return p;
}

std::vector<Phase> assistant_phases(const Settings& s, std::int64_t steps_per_epoch) {
  const std::int64_t steps = s.epochs * steps_per_epoch;
  const Phase features = features_alone(s, steps_per_epoch);
  if (!s.two_stage) {
    Phase predictions = phase("predictions", s, steps, s.lr);
    if (s.exit_losses == ExitLosses::last) predictions.trains = Phase::Trains::last_exit;
    return {features, predictions};
  }
  Phase backbone = phase("backbone", s, steps / 2, s.lr);
  backbone.trains = Phase::Trains::last_exit;
  Phase exits = phase("exits", s, steps - steps / 2, s.lr);
  exits.trains = Phase::Trains::other_exits;
  return {features, backbone, exits};
}

std::vector<Phase> recovery_phases(const Settings& s, std::int64_t steps_per_epoch) {
  std::vector<Phase> phases = {features_alone(s, steps_per_epoch),
                               phase(s.prediction == Prediction::none ? "features" : "predictions", s,
                                     s.epochs * steps_per_epoch, s.lr)};
  phases.back().features = !s.no_features;
  phases.back().predictions = s.prediction != Prediction::none;
  if (s.exit_losses == ExitLosses::last) phases.back().trains = Phase::Trains::last_exit;
  return phases;
}

std::vector<Phase> slenderising_phases(const Settings& s, std::int64_t steps_per_epoch,
                                       std::int64_t full_heads) {
  const bool release = s.fidelity == Fidelity::release;
  const std::int64_t rounds = rounds_of(s, full_heads);
  const std::int64_t total = s.max_steps > 0 ? s.max_steps : s.epochs * steps_per_epoch;
  std::int64_t period = total / (rounds + (release ? 1 : 0));
  if (s.period > 0) period = whole(s.period < 1 ? s.period * static_cast<double>(steps_per_epoch) : s.period);
  if (period < 1 || period * rounds > total) {
    fail_usage("{} steps do not hold {} rounds of {}; {}, {} and {} say how many", total, rounds,
               std::max<std::int64_t>(period, 1), flag_of(&Settings::epochs), flag_of(&Settings::rounds),
               flag_of(&Settings::period));
  }
  std::vector<Phase> phases;
  std::int64_t left = total;
  const auto add = [&](std::int64_t round, std::int64_t steps) {
    Phase p = phase(round == 0 ? "before round 1" : fmt::format("round {}", round), s, steps,
                    s.lr * std::pow(1 + s.restore, static_cast<double>(round)));
    p.total = release ? period : steps;
    p.warmup = std::max<std::int64_t>(10, whole(0.1 * static_cast<double>(period)));
    p.round = round;
    p.features = !s.no_features;
    if (p.features && round < rounds) p.feature_steps = whole(s.feature_share * static_cast<double>(period));
    if (s.exit_losses == ExitLosses::last) p.trains = Phase::Trains::last_exit;
    p.predictions = s.prediction != Prediction::none;
    left -= steps;
    phases.push_back(std::move(p));
  };
  if (release) add(0, period - 1);
  for (std::int64_t r = 1; r < rounds; ++r) add(r, period);
  add(rounds, left);
  return phases;
}

}  // namespace

std::int64_t rounds_of(const Settings& s, std::int64_t full_heads) {
  constexpr std::int64_t kWithoutHeads = 4;
  if (s.rounds > 0) return s.rounds;
  return full_heads > s.heads ? full_heads - s.heads : kWithoutHeads;
}

std::vector<Phase> plan(Stage stage, const Settings& s, std::int64_t steps_per_epoch,
                        std::int64_t full_heads) {
  std::vector<Phase> phases;
  switch (stage) {
    case Stage::finetune:
      phases = {phase("labels", s, s.epochs * steps_per_epoch, s.lr)};
      break;
    case Stage::assist:
      phases = assistant_phases(s, steps_per_epoch);
      break;
    case Stage::slenderise:
      return slenderising_phases(s, steps_per_epoch, full_heads);
    case Stage::recover:
      phases = recovery_phases(s, steps_per_epoch);
      break;
  }
  // Fewer steps: the last phases are cut, with schedules of their own length.
  std::int64_t left = s.max_steps > 0 ? s.max_steps : INT64_MAX;
  for (Phase& p : phases) {
    if (p.steps > left) p = shortened(p, s, left);
    left -= p.steps;
  }
  std::erase_if(phases, [](const Phase& p) { return p.steps == 0; });
  return phases;
}

}  // namespace costeff
