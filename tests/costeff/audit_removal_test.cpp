// What a removal costs, against pruned models evaluated from scratch; all in f64.
#include <cstring>

#include "costeff/methods/slenderise.h"
#include "tests/costeff/audit_subject.h"

namespace costeff::audit {
namespace {

using namespace costeff::testing;

void expect_change_of_pruned(const Subject& subject, bool labels, Units units, std::int64_t k,
                             const std::vector<std::int64_t>& places) {
  const Bert& model = *subject.student.model;
  Kept kept;
  for (std::int64_t j = 1; j <= 3; ++j) {
    const bool here = j == k;
    kept.heads.push_back(all_but(4, here && units == Units::heads ? places : std::vector<std::int64_t>()));
    kept.neurons.push_back(
        all_but(40, here && units == Units::neurons ? places : std::vector<std::int64_t>()));
  }
  const SampleLoss whole = from_scratch(subject, model, labels);
  const SampleLoss pruned = from_scratch(subject, *prune(model, kept), labels);
  const RemovalSweep sweep(subject, labels ? "labels" : "predictions");
  const SampleLoss change = sweep.change(units, k, places);
  ASSERT_EQ(change.exits.size(), whole.exits.size());
  const std::int64_t first = model.config().first_exit();
  for (std::size_t i = 0; i < whole.exits.size(); ++i) {
    EXPECT_NEAR(sweep.loss().exits[i], whole.exits[i], 1e-12);
    EXPECT_NEAR(change.exits[i], pruned.exits[i] - whole.exits[i], 1e-12) << "layer " << k << " exit " << i;
    if (first + static_cast<std::int64_t>(i) < k) {
      EXPECT_EQ(change.exits[i], 0);
    } else {
      EXPECT_NE(change.exits[i], 0);
    }
  }
  EXPECT_NEAR(change.features, pruned.features - whole.features, 1e-12);
}

TEST(AuditRemoval, IsWhatPruningDoes) {
  const Subject taught = make_subject(true), alone = make_subject(false);
  for (std::int64_t k = 1; k <= 3; ++k) {
    for (const Subject* subject : {&taught, &alone}) {
      expect_change_of_pruned(*subject, subject == &alone, Units::heads, k, {k});
      expect_change_of_pruned(*subject, subject == &alone, Units::neurons, k, {13 * k});
    }
  }
  expect_change_of_pruned(taught, true, Units::heads, 2, {0, 2, 3});
  expect_change_of_pruned(taught, false, Units::neurons, 1, {0, 5, 39});
}

TEST(AuditRemoval, ReadsSeveralStatesAndLaterFirstExits) {
  expect_change_of_pruned(make_subject(true, {.pooling = Pooling::mean, .last_hidden = 2}), false,
                          Units::heads, 3, {1});
  expect_change_of_pruned(make_subject(true, {.first = 3}), false, Units::heads, 1, {1});
}

TEST(AuditRemoval, PutsTheWeightsBack) {
  const Subject subject = make_subject(true);
  const Tensor& values = subject.student.model->parameters().values();
  const Tensor before = values.clone();
  const RemovalSweep sweep(subject, "predictions");
  const std::int64_t places[] = {0, 3};
  for (std::int64_t k = 1; k <= 3; ++k) {
    sweep.change(Units::heads, k, places);
    sweep.change(Units::neurons, k, places);
  }
  EXPECT_EQ(std::memcmp(before.raw(), values.raw(), values.bytes()), 0);
  const std::int64_t outside[] = {4};
  EXPECT_THROW(sweep.change(Units::heads, 1, outside), Error);
}

}  // namespace
}  // namespace costeff::audit
