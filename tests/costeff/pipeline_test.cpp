// Which model a stage of costeff run leaves to the next.
#include "costeff/train/pipeline.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "costeff/methods/method_list.h"

namespace costeff {
namespace {

TEST(KeptModel, TheLastAndUnderReleaseTheBestOfWhatWasEvaluated) {
  const Method& method = find_method("costeff");
  PipelineSettings p(method);
  p.out = "run";
  for (const Fidelity fidelity : {Fidelity::paper, Fidelity::tuned, Fidelity::release}) {
    for (Settings& s : p.stages) s.fidelity = fidelity;
    const std::string which = fidelity == Fidelity::release ? "best" : "last";
    for (const char* stage : {"finetune", "assist", "recover"})
      EXPECT_EQ(kept_model(p, method.stage(stage)), fmt::format("run/{}/{}", stage, which))
          << name_of(fidelity);
    EXPECT_EQ(kept_model(p, method.stage("slenderise")), "run/slenderise/last") << name_of(fidelity);
  }
}

}  // namespace
}  // namespace costeff
