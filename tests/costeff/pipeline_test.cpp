// Which model a stage of costeff run leaves to the next.
#include "costeff/train/pipeline.h"

#include <gtest/gtest.h>

namespace costeff {
namespace {

TEST(KeptModel, TheLastAndUnderReleaseTheBestOfWhatWasEvaluated) {
  PipelineSettings p;
  p.out = "run";
  for (const Fidelity fidelity : {Fidelity::paper, Fidelity::tuned, Fidelity::release}) {
    for (Settings& s : p.stages) s.fidelity = fidelity;
    const std::string which = fidelity == Fidelity::release ? "best" : "last";
    for (const Stage stage : {Stage::finetune, Stage::assist, Stage::recover})
      EXPECT_EQ(kept_model(p, stage), "run/" + std::string(name_of(stage)) + "/" + which)
          << name_of(fidelity);
    EXPECT_EQ(kept_model(p, Stage::slenderise), "run/slenderise/last") << name_of(fidelity);
  }
}

}  // namespace
}  // namespace costeff
