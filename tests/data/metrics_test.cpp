// What the reference cases leave out: refusals, and values worked out by hand.
#include "data/metrics.h"

#include <cmath>
#include <limits>

#include "data/task.h"
#include "tensor/error.h"
#include "tests/support.h"

namespace costeff {
namespace {

using Classes = std::vector<std::int32_t>;
using Scores = std::vector<double>;

TEST(Metrics, ByHand) {
  const Classes predictions = {1, 1, 0, 0, 1},
                labels = {1, 0, 0, 1, 1};  // 2 true, 1 false positives, 1 false negative
  EXPECT_DOUBLE_EQ(accuracy(predictions, labels), 0.6);
  EXPECT_DOUBLE_EQ(f1_score(predictions, labels), 2.0 / 3.0);
  EXPECT_NEAR(matthews_correlation(predictions, labels), 1.0 / 6.0, 1e-15);  // (2*1 - 1*1) / sqrt(3*3*2*2)
  EXPECT_NEAR(pearson_correlation(Scores{1, 2, 3}, Scores{1, 3, 2}), 0.5, 1e-15);
  EXPECT_NEAR(spearman_correlation(Scores{1, 20, 300}, Scores{1, 3, 2}), 0.5, 1e-15);
  EXPECT_NEAR(spearman_correlation(Scores{1, 1, 2}, Scores{1, 2, 3}), std::sqrt(3.0) / 2,
              1e-15);  // ranks 1.5 1.5 3
}

TEST(Metrics, NamesCarryTheTasksPrefix) {
  const Classes c = {0, 1};
  EXPECT_EQ(evaluate(find_task("mnli-mm"), c, c).back().first, "mnli-mm/acc");
  EXPECT_EQ(evaluate(find_task("mrpc"), c, c).back().first, "acc_and_f1");
  EXPECT_EQ(evaluate(find_task("wnli"), c, c).back().first, "acc");
  EXPECT_EQ(evaluate(find_task("stsb"), Scores{1, 2}, Scores{3, 4}).back().first, "corr");
}

TEST(Metrics, Refusals) {
  EXPECT_THROW(accuracy(Classes{}, Classes{}), Error);
  EXPECT_THROW(accuracy(Classes{1}, Classes{1, 0}), Error);
  EXPECT_THROW(f1_score(Classes{2}, Classes{1}), Error);
  EXPECT_THROW(matthews_correlation(Classes{1}, Classes{}), Error);
  EXPECT_THROW(pearson_correlation(Scores{1}, Scores{1}), Error);
  EXPECT_THROW(spearman_correlation(Scores{1}, Scores{1}), Error);
  EXPECT_THROW(pearson_correlation(Scores{1, 2}, Scores{1, 2, 3}), Error);
  EXPECT_THROW(evaluate(find_task("stsb"), Classes{1, 0}, Classes{1, 0}), Error);
  EXPECT_THROW(evaluate(find_task("sst2"), Scores{1, 0}, Scores{1, 0}), Error);
}

TEST(Metrics, NothingComparesWithNan) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(std::isnan(pearson_correlation(Scores{1, nan, 2}, Scores{1, 2, 3})));
  EXPECT_TRUE(std::isnan(pearson_correlation(Scores{1, inf, 2}, Scores{1, 2, 3})));
  EXPECT_TRUE(std::isnan(spearman_correlation(Scores{1, 2, 3}, Scores{1, nan, 2})));
  EXPECT_NEAR(spearman_correlation(Scores{1, 2, inf}, Scores{1, 2, 3}), 1.0, 1e-15);
}

}  // namespace
}  // namespace costeff
