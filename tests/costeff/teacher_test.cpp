// A teacher that remembers says what it would say anew.
#include "costeff/train/teacher.h"

#include "tests/costeff/support.h"

namespace costeff {
namespace {

using namespace testing;

std::unique_ptr<Bert> assistant(DType dtype = DType::f64) {
  BertConfig config = small_config();
  config.exits = ExitConfig{.first = 2};
  auto model = std::make_unique<Bert>(std::move(config), dtype);
  model->initialise(3);
  return model;
}

Batch shuffled(const EncodedDataset& data, std::optional<std::size_t> pad_to = std::nullopt) {
  const std::vector<std::int32_t> rows = {7, 0, 4, 10, 3};
  Batch batch;
  fill_batch(data, rows, pad_to, batch);
  return batch;
}

constexpr std::size_t kAmple = std::size_t{1} << 30;

// The same logits, and the same states in the rows that are no padding.
void expect_same(const TeacherOutputs& found, const TeacherOutputs& expected, const Batch& batch) {
  EXPECT_EQ(found.first, expected.first);
  ASSERT_EQ(found.logits.size(), expected.logits.size());
  for (std::size_t i = 0; i < found.logits.size(); ++i)
    EXPECT_LT(largest_difference(found.logits[i], expected.logits[i]), 1e-12);
  ASSERT_EQ(found.hidden.size(), expected.hidden.size());
  for (std::size_t i = 0; i < found.hidden.size(); ++i) {
    EXPECT_EQ(found.hidden[i].shape(), expected.hidden[i].shape());
    for (std::size_t s = 0; s < batch.sequences(); ++s) {
      const std::int64_t begin = batch.offsets[s], end = begin + batch.lengths[s];
      EXPECT_LT(largest_difference(found.hidden[i].slice(begin, end), expected.hidden[i].slice(begin, end)),
                1e-12);
    }
  }
}

TEST(Teacher, RemembersWhatItSays) {
  const EncodedDataset data = random_dataset(11);
  Teacher teacher(assistant());
  ASSERT_TRUE(teacher.cache(data, true, 4, kAmple));
  for (const std::optional<std::size_t> pad_to :
       {std::optional<std::size_t>(), std::optional<std::size_t>(20)}) {
    const Batch batch = shuffled(data, pad_to);
    const TeacherOutputs anew = teach(teacher.model(), token_batch(batch));
    EXPECT_EQ(anew.first, 2);
    EXPECT_EQ(anew.hidden.size(), 4);
    const TeacherOutputs recalled = teacher(batch, token_batch(batch));
    expect_same(recalled, anew, batch);
    for (const Tensor& state : recalled.hidden) {
      for (std::int64_t i = 0; i < state.numel(); ++i) ASSERT_TRUE(std::isfinite(state.at(i))) << "padding";
    }
  }
}

TEST(Teacher, DoesNotReadWhatItRemembers) {
  const EncodedDataset data = random_dataset(11);
  Teacher teacher(assistant());
  const Batch batch = shuffled(data);
  Batch other = batch;
  for (std::int32_t& id : other.ids) id = (id + 1) % 60;
  const TeacherOutputs expected = teacher(batch, token_batch(batch));
  EXPECT_GT(largest_difference(teacher(other, token_batch(other)).logits[0], expected.logits[0]), 1e-3);
  ASSERT_TRUE(teacher.cache(data, false, 3, kAmple));
  const TeacherOutputs recalled = teacher(other, token_batch(other));
  EXPECT_LT(largest_difference(recalled.logits[0], expected.logits[0]), 1e-12);
  EXPECT_TRUE(recalled.hidden.empty()) << "hidden states were not asked for";
}

// Two exits' logits of 3 labels, and 4 states of 24 units: so many bytes in f32, and not one less.
TEST(Teacher, RefusesAboveItsLimit) {
  const EncodedDataset data = random_dataset(11);
  const std::size_t logits = 4 * 2 * 11 * 3, states = 4 * 4 * 24 * data.ids.size();
  const Batch batch = shuffled(data);
  Teacher teacher(assistant(DType::f32));
  EXPECT_FALSE(teacher.cache(data, true, 4, logits + states - 1));
  EXPECT_FALSE(teacher.cache(data, false, 4, logits - 1));
  EXPECT_EQ(teacher(batch, token_batch(batch)).hidden.size(), 4) << "says it anew";
  EXPECT_TRUE(teacher.cache(data, false, 4, logits));
  EXPECT_TRUE(teacher.cache(data, true, 4, logits + states));
  EXPECT_EQ(teacher(batch, token_batch(batch)).hidden.size(), 4);
}

// Other sentences, other batches or hidden states that it does not remember are said.
TEST(Teacher, DoesNotSayAgainWhatItRemembers) {
  const EncodedDataset data = random_dataset(11), other = random_dataset(12);
  Teacher teacher(assistant());
  const auto says = [&](const EncodedDataset& of, bool hidden, std::size_t batch) {
    bool said = false;
    EXPECT_TRUE(teacher.cache(of, hidden, batch, kAmple, [&](std::size_t) { return said = true; }));
    return said;
  };
  EXPECT_TRUE(says(data, false, 4));
  EXPECT_FALSE(says(data, false, 4));
  EXPECT_TRUE(says(data, true, 4));
  EXPECT_FALSE(says(data, true, 4));
  EXPECT_FALSE(says(data, false, 4));
  EXPECT_TRUE(says(data, true, 3));
  EXPECT_TRUE(says(other, true, 3));
  const Batch batch = shuffled(other);
  expect_same(teacher(batch, token_batch(batch)), teach(teacher.model(), token_batch(batch)), batch);
}

TEST(Teacher, StopsWhenItIsTold) {
  const EncodedDataset data = random_dataset(11);
  Teacher teacher(assistant());
  const Batch batch = shuffled(data);
  const TeacherOutputs expected = teacher(batch, token_batch(batch));
  std::vector<std::size_t> asked;
  EXPECT_FALSE(teacher.cache(data, true, 4, kAmple, [&](std::size_t done) {
    asked.push_back(done);
    return done < 8;
  }));
  EXPECT_EQ(asked, (std::vector<std::size_t>{0, 4, 8}));
  EXPECT_EQ(largest_difference(teacher(batch, token_batch(batch)).logits[0], expected.logits[0]), 0)
      << "says it anew";
}

}  // namespace
}  // namespace costeff
