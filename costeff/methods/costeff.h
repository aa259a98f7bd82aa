// COST-EFF's parts that others ask for: its stages are commands of their own, its losses are audited.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "costeff/train/method.h"

namespace costeff {

// Throws Error for an unknown name.
const StageSpec& costeff_stage(const std::string& name);

// What predictions learn from, by the settings; `exits` in place of those that exit_losses names.
std::vector<LossTerm> prediction_terms(const Settings& settings,
                                       std::optional<LossTerm::Exits> exits = std::nullopt);

}  // namespace costeff
