#include "tools/cli/options.h"

#include "tensor/error.h"
#include "tests/tools/support.h"
#include "tools/cli/nearest.h"
#include "tools/cli/progress.h"

namespace costeff {
namespace {

using ::testing::HasSubstr;

struct Values {
  std::int64_t times = 3;
  double rate = 5e-5;
  std::uint64_t seed = 1;
  std::string name;
  bool loud = false;
};

Options options_of(Values& v) {
  Options options("greet [options]", "Greets.");
  options.group("Whom");
  options.add("name", "NAME", &v.name, "who is greeted");
  options.group("How");
  options.add("times", "N", &v.times, "how often", {.least = 1});
  options.add("rate", "X", &v.rate, "how fast");
  options.add("seed", "N", &v.seed, "of chance");
  options.flag("loud", &v.loud, "so that all hear");
  return options;
}

Values parse(const std::vector<std::string>& words) {
  Values values;
  Options options = options_of(values);
  EXPECT_TRUE(options.parse(words));
  options.apply();
  return values;
}

std::string error(const std::vector<std::string>& words) {
  try {
    parse(words);
  } catch (const UsageError& e) {
    return e.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

TEST(Options, ReadsValues) {
  const Values v =
      parse({"--times", "5", "--rate=2e-5", "--seed", "18446744073709551615", "--loud", "--name", "a b"});
  EXPECT_EQ(v.times, 5);
  EXPECT_EQ(v.rate, 2e-5);
  EXPECT_EQ(v.seed, 18446744073709551615u);
  EXPECT_TRUE(v.loud);
  EXPECT_EQ(v.name, "a b");
  EXPECT_EQ(parse({"--rate", "-1"}).rate, -1);
  EXPECT_EQ(parse({}).times, 3);
}

TEST(Options, HelpHasGroupsAndDefaults) {
  Values v;
  const std::string help = options_of(v).help();
  EXPECT_THAT(help, HasSubstr("Whom:\n"));
  EXPECT_THAT(help, HasSubstr("How:\n"));
  EXPECT_THAT(help, HasSubstr("--times N (=3)"));
  EXPECT_THAT(help, HasSubstr("--rate X (=5e-5)"));
  EXPECT_THAT(help, HasSubstr("--name NAME "));
}

TEST(Options, RefusesWhatIsNoNumber) {
  for (const char* bad : {"nan", "inf", "-inf", "1e999", "2e-5x", "", " 1", "1 ", "+1", "0x10", "1,5"}) {
    EXPECT_THAT(error({"--rate", bad}), HasSubstr("--rate")) << bad;
  }
  for (const char* bad : {"1.5", "1e3", "9223372036854775808", "five", "", "0", "-1"}) {
    EXPECT_THAT(error({"--times", bad}), HasSubstr("--times")) << bad;
  }
  for (const char* bad : {"-1", "18446744073709551616", "1.0"}) {
    EXPECT_THAT(error({"--seed", bad}), HasSubstr("--seed")) << bad;
  }
}

TEST(Options, NamesWhatIsWrongWithTheLine) {
  EXPECT_THAT(error({"--tims", "3"}), HasSubstr("unknown flag --tims; the nearest is --times"));
  EXPECT_THAT(error({"--time", "3"}), HasSubstr("unknown flag --time;"));  // no guessing from the beginning
  EXPECT_THAT(error({"--times", "1", "--times", "2"}), HasSubstr("--times stands twice"));
  EXPECT_THAT(error({"--times", "--loud"}), HasSubstr("--times needs a value, but --loud follows"));
  EXPECT_THAT(error({"--times"}), HasSubstr("--times"));
  EXPECT_THAT(error({"--loud=yes"}), HasSubstr("--loud"));
  EXPECT_THAT(error({"--name", ""}), HasSubstr("--name"));
  EXPECT_THAT(error({"stray"}), HasSubstr("unexpected argument \"stray\""));
}

TEST(Nearest, CountsEdits) {
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("eval", "eavl"), 1u);
  const std::vector<std::string> words = {"eval", "predict"};
  EXPECT_EQ(nearest("pedrict", words), "predict");
}

TEST(ProgressLine, FitsItsWidth) {
  const std::string wide = progress_line(100, "finetune", 50, 200, "loss 0.5", 187);
  EXPECT_EQ(wide, "finetune  25 % [######..................]  50/200  loss 0.5  3:07 left");
  for (std::size_t width = 0; width < 100; ++width) {
    EXPECT_LE(progress_line(width, "finetune", 50, 200, "loss 0.5", 187).size(), width);
  }
  EXPECT_EQ(progress_line(60, "eval", 0, 0, "", -1), "eval   0 % [........................]  0/0");
  EXPECT_EQ(progress_line(kNoBar, "eval", 1, 4, "", 3), "eval  25 %  1/4  3 s left");
  EXPECT_EQ(duration_text(11.2), "12 s");
  EXPECT_EQ(duration_text(7451), "2:04:11");
}

}  // namespace
}  // namespace costeff
