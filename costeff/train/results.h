// What came out of a run: its models beside each other, with costs and scores, and what early exit saves.
#pragma once

#include <memory>

#include "costeff/train/pipeline.h"

namespace costeff {

// Measures the models of a run whose stages are finished. Scores are of the dev set. The threshold is chosen
// on the held-out training sentences, never on dev: the one that saves most while at most one in a hundred of
// them gets another class than at full depth. Without any held out there is no model with early exit. `data`
// is what the first stage reads; null: it is read.
Results measure_results(const PipelineSettings& settings, std::shared_ptr<const StageData> data = nullptr);

// Writes the threshold that was chosen into the config.json of its model (BertConfig::exit_threshold), from
// where `predict` and `eval` take it.
void write_threshold(const PipelineSettings& settings, const Results& results);

}  // namespace costeff
