// scikit-learn's and scipy's metrics, case by case.
#include <cmath>

#include "data/task.h"
#include "tensor/error.h"
#include "tests/support.h"

namespace costeff {
namespace {

template <class T>
MetricValues answer(const Task& task, const nlohmann::json& item) {
  const auto predictions = item["predictions"].get<std::vector<T>>();
  const auto labels = item["labels"].get<std::vector<T>>();
  return evaluate(task, predictions, labels);
}

TEST(MetricsReference, Cases) {
  const auto reference = testing::reference_folder();
  COSTEFF_SKIP_WITHOUT(reference);
  const auto all = testing::read_json(*reference / "metrics.json");
  std::size_t checked = 0;
  for (const auto& item : all["cases"]) {
    SCOPED_TRACE(item["task"].get<std::string>() + ": " + item["name"].get<std::string>());
    const Task task = find_task(item["task"].get<std::string>());
    const auto compute = [&] {
      return task.regression ? answer<double>(task, item) : answer<std::int32_t>(task, item);
    };
    const auto& expected = item["expected"];
    ++checked;
    if (expected.contains("error")) {
      EXPECT_THROW(compute(), Error);
      continue;
    }
    const MetricValues values = compute();
    EXPECT_EQ(values.size(), expected.size());
    for (const auto& [name, value] : values) {
      ASSERT_TRUE(expected.contains(name)) << name;
      if (expected[name].is_string()) {
        EXPECT_TRUE(std::isnan(value)) << name << " is " << value;
      } else {
        EXPECT_NEAR(value, expected[name].get<double>(), 1e-12) << name;
      }
    }
  }
  EXPECT_GT(checked, 0u);
}

}  // namespace
}  // namespace costeff
