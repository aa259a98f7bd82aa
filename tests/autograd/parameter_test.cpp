// Persistent gradients: they change only where the caller says so.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/autograd/support.h"

namespace costeff {
namespace {

using namespace testing;
using ::testing::AllOf;
using ::testing::HasSubstr;

Parameter make_parameter(const std::string& name, const Shape& shape, std::uint32_t stream,
                         bool by_rows = false) {
  Parameter p;
  p.name = name;
  p.value = random_tensor(shape, stream);
  // What stands in the gradient before has_gradient must not matter, except in a table by rows: zero there.
  p.gradient = Tensor::full(shape, by_rows ? 0 : 1e6, DType::f64);
  p.by_rows = by_rows;
  if (by_rows) p.touched = RowSet(shape[0]);
  return p;
}

Variable loss(Tape& tape, Parameter& w, Parameter& b, std::uint32_t stream) {
  const Variable x(random_tensor({7, 4}, stream));
  const Variable h = linear(x, tape.parameter(w), tape.parameter(b));
  return mean(multiply(gelu(h), tanh(linear(x, tape.parameter(w)))));
}

TEST(Parameters, AreOneLeafPerTape) {
  Tape tape;
  Parameter w = make_parameter("encoder.weight", {3, 4}, 1);
  const Scope scope(&tape, "somewhere");
  const Variable a = tape.parameter(w);
  EXPECT_EQ(tape.parameter(w).node(), a.node());
  EXPECT_EQ(tape.path(tape.node(a.node()).path), "encoder.weight");
  EXPECT_EQ(tape.node(a.node()).parameter, &w);
}

TEST(Parameters, APassLeavesThemAlone) {
  Tape tape;
  Parameter w = make_parameter("w", {3, 4}, 1);
  Parameter b = make_parameter("b", {3}, 2);
  tape.backward(loss(tape, w, b, 3));
  EXPECT_FALSE(w.has_gradient);
  expect_equal(w.gradient, Tensor::full({3, 4}, 1e6, DType::f64));
}

TEST(Parameters, IntoParametersOverwritesThenAddsAndEqualsAccumulate) {
  Parameter direct_w = make_parameter("w", {3, 4}, 1);
  Parameter direct_b = make_parameter("b", {3}, 2);
  Parameter stored_w = make_parameter("w", {3, 4}, 1);
  Parameter stored_b = make_parameter("b", {3}, 2);
  Tensor first;
  for (const std::uint32_t stream : {3u, 4u, 5u}) {
    Tape direct;
    direct.backward(loss(direct, direct_w, direct_b, stream), {.into_parameters = true});
    Tape stored;
    const Gradients g = stored.backward(loss(stored, stored_w, stored_b, stream));
    accumulate(stored, g);
    if (stream == 3) {
      first = direct_w.gradient.clone();
      expect_equal(stored_w.gradient, g.of(stored.parameter(stored_w)), "the first pass overwrites");
      expect_equal(direct_w.gradient, stored_w.gradient, "bit for bit, read twice");
      expect_equal(direct_b.gradient, stored_b.gradient, "bit for bit");
    }
    expect_close(direct_b.gradient, stored_b.gradient, 1e-15);
    expect_close(direct_w.gradient, stored_w.gradient, 1e-15);
    EXPECT_TRUE(direct_w.has_gradient && stored_w.has_gradient);
  }
  EXPECT_GT(relative_error(direct_w.gradient, first), 0.1) << "later passes add";
}

TEST(Parameters, IntoParametersEqualsAccumulateBitForBitWhereEachIsReadOnce) {
  Parameter direct = make_parameter("w", {3, 4}, 1);
  Parameter stored = make_parameter("w", {3, 4}, 1);
  for (const std::uint32_t stream : {3u, 4u, 5u}) {
    const auto pass = [&](Tape& tape, Parameter& w, bool into) {
      const Variable y = sum(gelu(linear(Variable(random_tensor({7, 4}, stream)), tape.parameter(w))));
      return tape.backward(y, {.into_parameters = into});
    };
    Tape tape;
    pass(tape, direct, true);
    tape.clear();
    accumulate(tape, pass(tape, stored, false));
    expect_equal(direct.gradient, stored.gradient);
  }
}

TEST(Parameters, ARootThatIsAParameterCounts) {
  Parameter w = make_parameter("w", {2}, 1);
  Tape tape;
  const Variable leaf = tape.parameter(w);
  const Root roots[] = {{leaf, Tensor::full({2}, 5, DType::f64)}, {scale(leaf, 2), {}}};
  tape.backward(roots, {.into_parameters = true});
  EXPECT_TRUE(w.has_gradient);
  expect_equal(w.gradient, Tensor::full({2}, 7, DType::f64));
}

TEST(Parameters, FrozenOnesGetNoGradient) {
  Parameter w = make_parameter("w", {3, 4}, 1);
  Parameter b = make_parameter("b", {3}, 2);
  b.frozen = true;
  Tape tape;
  tape.backward(loss(tape, w, b, 3), {.into_parameters = true});
  EXPECT_TRUE(w.has_gradient);
  EXPECT_FALSE(b.has_gradient);
  expect_equal(b.gradient, Tensor::full({3}, 1e6, DType::f64));
  Parameter* const both[] = {&w, &b};
  EXPECT_NO_THROW(require_gradients(both));
}

TEST(Parameters, OneWithoutAGradientIsNamed) {
  Parameter w = make_parameter("encoder.weight", {3, 4}, 1);
  Parameter lost = make_parameter("encoder.lost.bias", {3}, 2);
  Tape tape;
  tape.parameter(lost);
  tape.backward(sum(tape.parameter(w)), {.into_parameters = true});
  Parameter* const both[] = {&w, &lost};
  EXPECT_THAT(error_of([&] { require_gradients(both); }),
              AllOf(HasSubstr("encoder.lost.bias"), HasSubstr("no gradient")));
}

// ---- tables of which a batch reads few rows

std::vector<std::int32_t> touched(const Parameter& p) {
  return {p.touched.rows().begin(), p.touched.rows().end()};
}

Variable read_rows(Tape& tape, Parameter& table, std::initializer_list<std::int32_t> ids) {
  return sum(multiply(embedding(tape.parameter(table), indices(ids)),
                      Variable(Tensor::full({static_cast<std::int64_t>(ids.size()), 2}, 3, DType::f64))));
}

TEST(ParametersByRows, OnlyRowsThatWereReadHaveAGradient) {
  Parameter table = make_parameter("table", {6, 2}, 1, true);
  Tape tape;
  tape.backward(read_rows(tape, table, {4, 1, 4}), {.into_parameters = true});
  EXPECT_EQ(touched(table), (std::vector<std::int32_t>{4, 1}));
  EXPECT_EQ(values_of(table.gradient), (std::vector<double>{0, 0, 3, 3, 0, 0, 0, 0, 6, 6, 0, 0}));
}

TEST(ParametersByRows, RowsOfAnOlderStepAreCleared) {
  Parameter table = make_parameter("table", {6, 2}, 1, true);
  Tape tape;
  tape.backward(read_rows(tape, table, {4, 1, 4}), {.into_parameters = true});
  tape.clear();
  tape.backward(read_rows(tape, table, {5}), {.into_parameters = true});
  EXPECT_EQ(touched(table), (std::vector<std::int32_t>{4, 1, 5})) << "the same step: it adds";
  EXPECT_EQ(values_of(table.gradient), (std::vector<double>{0, 0, 3, 3, 0, 0, 0, 0, 6, 6, 3, 3}));
  tape.clear();
  table.has_gradient = false;
  tape.backward(read_rows(tape, table, {0, 1}), {.into_parameters = true});
  EXPECT_EQ(touched(table), (std::vector<std::int32_t>{0, 1}));
  EXPECT_EQ(values_of(table.gradient), (std::vector<double>{3, 3, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(ParametersByRows, EqualTheDenseGradient) {
  Parameter table = make_parameter("table", {6, 2}, 1, true);
  Parameter dense = make_parameter("table", {6, 2}, 1);
  for (Parameter* p : {&table, &dense}) {
    Tape tape;
    const Variable twice = add(read_rows(tape, *p, {4, 1, 4}), read_rows(tape, *p, {0, 1}));
    tape.backward(twice, {.into_parameters = true});
  }
  expect_equal(table.gradient, dense.gradient);
  EXPECT_EQ(touched(table).size(), 3u);

  Parameter stored = make_parameter("table", {6, 2}, 1, true);
  Tape tape;
  const Variable twice = add(read_rows(tape, stored, {4, 1, 4}), read_rows(tape, stored, {0, 1}));
  accumulate(tape, tape.backward(twice));
  expect_equal(stored.gradient, dense.gradient);
  EXPECT_EQ(touched(stored).size(), 6u) << "a store is dense: every row may have changed";
}

TEST(ParametersByRows, ADenseReaderIsRefusedInEitherOrder) {
  for (const bool dense_first : {true, false}) {
    Parameter table = make_parameter("word_embeddings", {6, 2}, 1, true);
    Tape tape;
    const auto dense = [&] { return sum(linear(Variable(random_tensor({3, 2}, 2)), tape.parameter(table))); };
    const Variable a = dense_first ? dense() : read_rows(tape, table, {1});
    const Variable b = dense_first ? read_rows(tape, table, {1}) : dense();
    const Variable y = add(a, b);
    EXPECT_THAT(error_of([&] { tape.backward(y, {.into_parameters = true}); }), HasSubstr("word_embeddings"))
        << dense_first;
  }
}

TEST(RowSet, CountsEachRowOnceAndForgets) {
  RowSet rows(5);
  const std::int32_t some[] = {3, 0, 3, 3};
  rows.add(some, 4);
  rows.add(some, 1);
  EXPECT_THAT(rows.rows(), ::testing::ElementsAre(3, 0));
  rows.clear();
  EXPECT_TRUE(rows.rows().empty());
  rows.add(some + 1, 2);
  EXPECT_THAT(rows.rows(), ::testing::ElementsAre(0, 3));
  rows.add_all();
  EXPECT_EQ(rows.rows().size(), 5u);
}

}  // namespace
}  // namespace costeff
