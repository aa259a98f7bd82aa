// Scores of heads and neurons from each part of the loss apart.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "costeff/audit/subject.h"
#include "costeff/methods/importance.h"

namespace costeff::audit {

// Called after each step of a long job.
using Watch = std::function<void(std::int64_t done, std::int64_t total)>;

// A part of the loss: "predictions" (Eq. 4, with a teacher) or "labels" of all exits; "exit 3", that exit's
// alone; "features" (Eq. 5); "all", predictions and features, by which slenderising scores.
struct Source {
  std::string name;
  std::int64_t exit = 0;  // of one exit's loss; layers above it do not count. 0: of several
};

// What exits learn from: "predictions" or "labels", as `asked`; if that is "auto", predictions with a
// teacher. Throws UsageError for what the subject does not have.
std::string exits_loss(const Subject& subject, std::string_view asked);
// The parts that the subject's loss has; "exit i" are those of `exits_loss`.
std::vector<Source> loss_sources(const Subject& subject, const std::string& exits_loss);

// Each unit's sums over its weights, if this part of the loss alone counted: of the gradient of its mean over
// the sample (release: sums over batches). Paper and gate are signed; the paper's score is |paper|.
struct SourceScores {
  Source source;
  ImportanceScores paper;
  ImportanceScores release;
  ImportanceScores gate;
};

// A forward pass for each batch, with dropout off, and over it a backward pass for each of `sources`.
std::vector<SourceScores> score_sources(const Subject& subject, const std::vector<Source>& sources,
                                        const std::string& exits_loss, bool equalise, const Watch& watch);

}  // namespace costeff::audit
