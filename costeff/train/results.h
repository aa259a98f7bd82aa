// What came out of a run: its models beside each other, with costs and scores, and what early exit saves.
#pragma once

#include "costeff/exits/evaluate.h"
#include "costeff/json.h"
#include "costeff/train/pipeline.h"

namespace costeff {

// results.json of a run whose stages are finished:
//
//   task, metric            the metric that `score` is
//   models                  [fine-tuned, assistant, COST-EFF at full depth, COST-EFF with early exit]: name,
//   folder,
//                           parameters, flops (mean on dev at real lengths), flops_padded (128 tokens),
//                           score, share (of the fine-tuned model's score; null where that is not above 0),
//                           sequences_per_second,
//                           average_exit, exits; of the last also threshold and exit_counts
//   sweep                   early exit at thresholds from 0 to ln C: score, average_exit, flops,
//   flops_reduction (fine-tuned
//                           model over it), exit_counts
//   stages                  name, seconds, steps
//
// Scores are of the dev set. The threshold is chosen on the held-out training sentences, never on dev: the
// one that saves most while at most one in a hundred of them gets another class than at full depth. Without
// any held out there is no such model.
Json measure_results(const PipelineSettings& settings);

}  // namespace costeff
