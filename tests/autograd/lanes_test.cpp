#include "autograd/lanes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "autograd/ops.h"
#include "nn/parameters.h"
#include "tensor/error.h"
#include "tests/support.h"

namespace costeff {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A table read by rows, two layers, and a loss after each: the shape of a multi-exit model.
struct TwoExits {
  ParameterStore store{DType::f64};
  Parameter& table = store.add_table("table", {50, 3});
  Parameter& first = store.add("first", {3, 3});
  Parameter& second = store.add("second", {3, 3});
  Parameter& unread = store.add("unread", {2});
  Tape tape;
  Variable early, late, total;

  TwoExits() {
    store.allocate();
    for (const NamedTensor& t : store.named()) initialise_normal(t.value(), t.name, 1, 7);
    const std::int32_t ids[] = {41, 3, 41, 7};
    Variable x = embedding(tape.parameter(table), Tensor::from(std::span<const std::int32_t>(ids), {4}));
    x = gradient_rescale(tanh(linear(x, tape.parameter(first))), 0.5);
    early = sum(x);
    late = sum(tanh(linear(gradient_rescale(x, 3), tape.parameter(second))));
    total = add(scale(early, 2), late);
  }
};

std::vector<double> values_of(const Tensor& t) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < t.numel(); ++i) values.push_back(t.at(i));
  return values;
}

// What a pass of its own gives for each parameter; for tables, of all rows.
std::map<std::string, std::vector<double>> alone(TwoExits& net, const Root& root) {
  const Gradients gradients = net.tape.backward(std::span(&root, 1));
  std::map<std::string, std::vector<double>> all;
  for (Parameter* p : net.store.parameters()) {
    const Tensor g = gradients.of(net.tape.parameter(*p));
    if (g.defined()) all[p->name] = values_of(g);
  }
  return all;
}

TEST(Lanes, EachIsAPassOfItsOwn) {
  TwoExits net;
  const Lane lanes[] = {{{net.early, Tensor::scalar(2, DType::f64)}}, {{net.late, {}}}, {{net.total, {}}}};
  std::vector<std::map<std::string, std::vector<double>>> expected;
  for (const Lane& lane : lanes) expected.push_back(alone(net, lane.root));
  std::vector<std::string> order;
  backward_lanes(net.tape, lanes, [&](const LaneGradients& g) {
    order.push_back(g.parameter.name);
    const std::int64_t cols = g.parameter.value.shape().cols();
    for (std::size_t lane = 0; lane < 3; ++lane) {
      EXPECT_EQ(g.reached[lane] != 0, expected[lane].contains(g.parameter.name));
      const auto at = static_cast<std::int64_t>(lane);
      const std::vector<double> got = values_of(g.values.slice(at, at + 1));
      if (g.reached[lane] == 0) {
        EXPECT_THAT(got, ::testing::Each(0.0));
        continue;
      }
      std::vector<double> whole(static_cast<std::size_t>(g.parameter.value.numel()), 0.0);
      if (g.rows.empty()) {
        whole = got;
      } else {
        for (std::size_t i = 0; i < got.size(); ++i) {
          const std::size_t row = static_cast<std::size_t>(g.rows[i / static_cast<std::size_t>(cols)]);
          whole[row * static_cast<std::size_t>(cols) + i % static_cast<std::size_t>(cols)] = got[i];
        }
      }
      EXPECT_EQ(whole, expected[lane][g.parameter.name]) << g.parameter.name << ", lane " << lane;
    }
  });
  EXPECT_THAT(order, ElementsAre("second", "first", "table"));
  for (const Parameter* p : net.store.parameters()) EXPECT_FALSE(p->has_gradient);
}

TEST(Lanes, TablesHaveTheRowsThatWereRead) {
  TwoExits net;
  const Lane lane{{net.early, {}}};
  bool seen = false;
  backward_lanes(net.tape, std::span(&lane, 1), [&](const LaneGradients& g) {
    if (&g.parameter != &net.table) return;
    seen = true;
    EXPECT_THAT(g.rows, ElementsAre(3, 7, 41));
    EXPECT_EQ(g.values.numel(), 9);
    const std::vector<double> weights = values_of(g.weights());
    for (std::int64_t i = 0; i < 3; ++i)
      EXPECT_EQ(weights[static_cast<std::size_t>(3 + i)], net.table.value.at(21 + i));
  });
  EXPECT_TRUE(seen);
}

// A table that two records read: all rows, the gradients of both added up.
TEST(Lanes, TableReadTwice) {
  TwoExits net;
  const std::int32_t ids[] = {3, 9};
  const Variable again =
      embedding(net.tape.parameter(net.table), Tensor::from(std::span<const std::int32_t>(ids), {2}));
  const Variable loss = add(net.early, sum(again));
  const Root root{loss, {}};
  const auto expected = alone(net, root);
  const Lane lane{root};
  bool seen = false;
  backward_lanes(net.tape, std::span(&lane, 1), [&](const LaneGradients& g) {
    if (&g.parameter != &net.table) return;
    seen = true;
    EXPECT_TRUE(g.rows.empty());
    EXPECT_EQ(values_of(g.values), expected.at("table"));
  });
  EXPECT_TRUE(seen);
}

TEST(Lanes, WithoutRescaling) {
  TwoExits net;
  const Lane lanes[] = {{{net.late, {}}}, {{net.late, {}}, &kGradientRescale}};
  std::vector<const Parameter*> seen;
  backward_lanes(net.tape, lanes, [&](const LaneGradients& g) {
    seen.push_back(&g.parameter);
    const double factor = &g.parameter == &net.second ? 1 : 1.5;
    const std::int64_t n = g.values.shape()[1];
    for (std::int64_t i = 0; i < n; ++i) EXPECT_NEAR(g.values.at(i), factor * g.values.at(n + i), 1e-14);
  });
  EXPECT_THAT(seen, ElementsAre(&net.second, &net.first, &net.table));
}

TEST(Lanes, RefusesRootsOfAnotherTape) {
  TwoExits net, other;
  const Lane lane{{other.late, {}}};
  const std::string message = testing::message_of<Error>(
      [&] { backward_lanes(net.tape, std::span(&lane, 1), [](const LaneGradients&) {}); });
  EXPECT_THAT(message, HasSubstr("not on this tape"));
}

}  // namespace
}  // namespace costeff
