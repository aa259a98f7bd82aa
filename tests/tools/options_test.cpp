#include "tools/cli/options.h"

#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "costeff/methods/costeff.h"
#include "costeff/methods/method_list.h"
#include "data/nearest.h"
#include "tensor/error.h"
#include "tensor/file.h"
#include "tests/tools/support.h"
#include "tools/cli/progress.h"
#include "tools/cli/settings_options.h"

namespace costeff {
namespace testing {
std::string source_dir();
}
namespace {

using ::testing::HasSubstr;
using testing::message_of;

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

// The words that begin with "--" at the beginning of a line of help.
std::set<std::string> flags_in(const std::string& help) {
  std::set<std::string> flags;
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("  --")) flags.insert(line.substr(2, line.find_first_of(" \n", 2) - 2));
  }
  return flags;
}

std::string help_of(Uses stage, bool shared, SettingsTable table = settings_table()) {
  Options options("a command", "about it");
  Settings settings;
  TrainRequest request;
  add_settings(options, stage, shared, settings, request, nullptr, table);
  return options.help();
}

TEST(SettingsOptions, HelpFilesAndDocsNameTheSame) {
  const std::string page = settings_page();
  const std::regex flag_name("`(--[a-z-]+)");
  std::set<std::string> named{std::sregex_token_iterator(page.begin(), page.end(), flag_name, 1), {}};
  for (const char* of_run : {"--set", "--recipe"}) named.erase(of_run);
  for (const Setting& row : settings_table()) named.erase(row.flag());
  EXPECT_THAT(named, ::testing::IsEmpty()) << "no settings";
  for (const StageSpec& spec : all_methods().front().stages) {
    const Uses stage = spec.uses;
    std::set<std::string> expected = {"--resume", "--config"};
    const Json json = to_json(stage, spec.defaults);
    for (const auto& [key, value] : json.items()) {
      const std::string flag = setting_named(stage, key).flag();
      expected.insert(flag);
      EXPECT_THAT(page, HasSubstr("\n| `" + flag + "`"));
    }
    EXPECT_EQ(flags_in(help_of(stage, false)), expected) << spec.name;
  }
}

TEST(SettingsOptions, ANewOneHasAFlagAndALineOfTheDocs) {
  std::vector<Setting> table(settings_table().begin(), settings_table().end());
  table.push_back(
      {"patience", &Settings::max_steps, kTeacher, SettingGroup::training, "N", "evaluations to wait"});
  EXPECT_THAT(help_of(costeff_stage("recover").uses, false, table), HasSubstr("--patience N (=0)"));
  EXPECT_THAT(help_of(costeff_stage("finetune").uses, false, table), ::testing::Not(HasSubstr("--patience")));
  EXPECT_THAT(settings_page(table), HasSubstr("| `--patience` | evaluations to wait |"));
}

TEST(SettingsOptions, OfAWholeRunAreThoseThatStagesShare) {
  const std::set<std::string> flags = flags_in(help_of(costeff_stage("recover").uses, true));
  EXPECT_TRUE(flags.contains("--seed") && flags.contains("--out") && flags.contains("--temperature"));
  EXPECT_FALSE(flags.contains("--lr") || flags.contains("--teacher") || flags.contains("--heads"));
}

// The page in docs/ is what the table gives; `costeff settings` writes it.
TEST(SettingsOptions, TheDocsAreUpToDate) {
  EXPECT_EQ(read_text(testing::source_dir() + "/docs/settings.md"), settings_page())
      << "costeff settings >docs/settings.md";
}

TEST(SettingsOptions, SetsSingleStages) {
  PipelineSettings stages(all_methods().front());
  set_each("recover.lr=5e-4,assist.two-stage=true,recover.feature_epochs=1", stages);
  EXPECT_EQ(stages["recover"].lr, 5e-4);
  EXPECT_EQ(stages["recover"].feature_epochs, 1);
  EXPECT_TRUE(stages["assist"].two_stage);
  for (const char* bad : {"lr=1", "recover.lr", "recover=lr.1", "rest.lr=1", "recover.speed=1",
                          "recover.lr=x", "finetune.heads=2"}) {
    EXPECT_THAT(message_of<UsageError>([&] { set_each(bad, stages); }),
                ::testing::StartsWith("--set " + std::string(bad)));
  }
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
