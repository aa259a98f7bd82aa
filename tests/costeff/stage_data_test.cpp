// Which sentences a stage trains on: the draw, and what is held out.
#include "costeff/train/stage_data.h"

#include <fmt/format.h>

#include <numeric>
#include <set>

#include "tensor/error.h"
#include "tests/support.h"

namespace costeff {
namespace {

using namespace testing;
using ::testing::HasSubstr;

using Places = std::vector<std::int32_t>;

TEST(Draw, SoManyDifferentPlacesInTheirOrder) {
  for (const std::size_t count : {0, 1, 7, 99, 100}) {
    const Places drawn = draw(count, 100, 3, 1);
    EXPECT_EQ(drawn.size(), count);
    EXPECT_TRUE(std::is_sorted(drawn.begin(), drawn.end()));
    EXPECT_EQ(std::set<std::int32_t>(drawn.begin(), drawn.end()).size(), count);
    for (const std::int32_t place : drawn) EXPECT_TRUE(place >= 0 && place < 100) << place;
  }
  Places all(100);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(draw(1000, 100, 3, 1), all) << "no more than there are";
}

TEST(Draw, BySeedAndPurpose) {
  const Places drawn = draw(10, 1000, 3, 1);
  EXPECT_EQ(draw(10, 1000, 3, 1), drawn);
  EXPECT_NE(draw(10, 1000, 4, 1), drawn);
  EXPECT_NE(draw(10, 1000, 3 + (std::uint64_t{1} << 32), 1), drawn);
  EXPECT_NE(draw(10, 1000, 3, 2), drawn);
}

// Over 400 seeds each of 20 places is drawn 100 times, give or take: the deviation is below 9.
TEST(Draw, EachPlaceAsOften) {
  std::vector<int> times(20, 0);
  for (std::uint64_t seed = 0; seed < 400; ++seed) {
    for (const std::int32_t place : draw(5, 20, seed, 1)) ++times[static_cast<std::size_t>(place)];
  }
  for (const int count : times) EXPECT_NEAR(count, 100, 45);
}

// Sentence i of the file is the word w<i> with the label i % 2.
class Holdout : public ::testing::Test {
 protected:
  static constexpr int kTrain = 30;

  Holdout() {
    std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n";
    for (int i = 0; i < kTrain; ++i) vocabulary += fmt::format("w{}\n", i);
    folder_.write("vocab.txt", vocabulary);
    folder_.write("train.tsv", sentences(kTrain));
    folder_.write("dev.tsv", sentences(3));
    settings_.columns = "sentence,label";
    settings_.data = folder_.path();
    settings_.max_length = 8;
  }

  static std::string sentences(int count) {
    std::string text = "sentence\tlabel\n";
    for (int i = 0; i < count; ++i) text += fmt::format("w{}\t{}\n", i, i % 2);
    return text;
  }

  StageData load(std::int64_t holdout, std::uint64_t seed = 1) const {
    Settings s = settings_;
    s.holdout = holdout;
    s.seed = seed;
    return load_data(s, task_of(s), Tokenizer::from_folder(folder_.path()),
                     BertConfig::plain(kTrain + 4, 8, 1, 1, 8), [](const std::string&) {});
  }

  // Which sentences of the file these are; their labels must have come along.
  static Places places(const EncodedDataset& data) {
    Places found;
    for (std::size_t i = 0; i < data.size(); ++i) {
      EXPECT_EQ(data.length(i), 3);
      found.push_back(data.ids[data.offsets[i] + 1] - 4);
      EXPECT_EQ(data.labels[i], found.back() % 2);
    }
    return found;
  }

  TemporaryFolder folder_;
  Settings settings_;
};

TEST_F(Holdout, IsNotTrainedOn) {
  Places all(kTrain);
  std::iota(all.begin(), all.end(), 0);
  const StageData whole = load(0);
  EXPECT_EQ(places(whole.train), all);
  EXPECT_EQ(whole.held_out.size(), 0);
  EXPECT_EQ(whole.dev.size(), 3);

  const StageData data = load(9);
  const Places in = places(data.train), out = places(data.held_out);
  EXPECT_EQ(out.size(), 9);
  EXPECT_EQ(data.dev.size(), 3);
  Places both;
  std::merge(in.begin(), in.end(), out.begin(), out.end(), std::back_inserter(both));
  EXPECT_EQ(both, all) << "each sentence in one of the two";
  EXPECT_EQ(places(load(9).held_out), out);
  EXPECT_NE(places(load(9, 2).held_out), out);
}

TEST_F(Holdout, LeavesSomethingToTrainOn) {
  EXPECT_EQ(load(kTrain - 1).train.size(), 1);
  EXPECT_THAT(message_of<UsageError>([&] { load(kTrain); }), HasSubstr("--holdout 30"));
}

}  // namespace
}  // namespace costeff
