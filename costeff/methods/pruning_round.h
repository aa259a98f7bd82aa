// A round of slenderising: importance of heads and neurons on a sample, pruning, factorising the word
// embedding.
#pragma once

#include <memory>
#include <vector>

#include "costeff/methods/slenderise.h"
#include "costeff/train/method.h"

namespace costeff {

// The sizes of the model's widest layer.
SlenderSizes sizes_of(const BertConfig& config);
// P, the number of rounds: the setting, or a head a round, or 4 where no head goes (chosen, untested).
std::int64_t rounds_of(const Settings& settings, std::int64_t full_heads);

// The loss whose gradient scores heads and neurons: (1 - hard) L_pred + hard sum_i CE(y, z_i) + L_feat. The
// paper has hard = 0, the published code 0.1 and a padded L_feat: a student that is still its own teacher has
// no other gradient.
std::vector<LossTerm> importance_terms(double hard, double temperature, LossTerm::Exits exits,
                                       FeatureMean mean);

// Removes what the round removes, by the importance for a sample of the training data. Throws Error when
// there is less to keep than the settings want.
std::unique_ptr<Bert> slenderise(const Surgery& surgery);

}  // namespace costeff
