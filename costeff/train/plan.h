// What a stage does, step by step: its phases, each with a schedule and an optimiser of its own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "costeff/methods/slenderise.h"
#include "costeff/train/settings.h"

namespace costeff {

struct Phase {
  enum class Trains : std::uint8_t { all, last_exit, other_exits };  // other_exits: everything else is frozen

  std::string name;
  std::int64_t steps = 0;
  double lr = 0;
  std::int64_t warmup = 0;  // steps
  std::int64_t total = 0;   // steps at whose end the rate is 0; those beyond keep it
  bool predictions = true;
  bool features = false;
  std::int64_t feature_steps = 0;  // at the beginning, with feature distillation alone
  Trains trains = Trains::all;
  std::int64_t round = 0;  // above 0: the model is made slender before the first step
};

// The phases of a stage whose settings are decided(). `full_heads`: A of the model that is made slender.
//
//   finetune    hard labels
//   assist      feature distillation alone (feature_epochs), then predictions
//   slenderise  paper, tuned: rounds 1..P, each trained for a period, the last one for the rest of the steps
//               release: a period before the first round, which begins at 0-based step period - 1; after the
//               last round's period the rate is 0
//   recover     feature distillation alone (feature_epochs), then with predictions (epochs)
//
// Throws UsageError when there are fewer steps than rounds.
std::vector<Phase> plan(Stage stage, const Settings& settings, std::int64_t steps_per_epoch,
                        std::int64_t full_heads);

// P, the number of rounds.
std::int64_t rounds_of(const Settings& settings, std::int64_t full_heads);

}  // namespace costeff
