// The prose of pages: every entry is used, and fills its placeholders.
#include "tools/cli/pages/words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <stdexcept>

#include "tests/tools/support.h"

namespace costeff::testing {
namespace {

namespace fs = std::filesystem;

TEST(Words, EveryKeyIsUnique) {
  const std::vector<std::string> keys = prose_keys();
  EXPECT_GT(keys.size(), 100U);
  EXPECT_EQ(std::set<std::string>(keys.begin(), keys.end()).size(), keys.size());
}

// An entry that no source names would be dead, and its placeholders untested.
TEST(Words, EveryKeyIsUsed) {
  std::string sources;
  for (const auto& entry : fs::recursive_directory_iterator(source_dir() + "/tools/cli")) {
    if (entry.path().extension() == ".cpp") sources += read(entry.path().string());
  }
  for (const std::string& key : prose_keys()) {
    const std::string last = key.substr(key.find('.') + 1);
    const std::string stem = last.substr(0, std::min(last.find("_table"), last.find("_figure")));
    const auto quoted = [&](const std::string& text) {
      return sources.find("\"" + text + "\"") != std::string::npos;
    };
    EXPECT_TRUE(last.starts_with("word.") || quoted(key) || quoted(last) || quoted(stem)) << key;
  }
}

TEST(Words, PlaceholdersAreFilled) {
  EXPECT_EQ(words("run.headline", named("clipped", 0.25, "steps", 40)),
            "Gradients were clipped in 25.0 % of 40 steps");
  EXPECT_THAT(words("run.clipping", named("share", 1, "scale", std::nan(""), "norm", 2)),
              ::testing::HasSubstr("is –"));
  EXPECT_THROW(words("run.headline", named("steps", 40)), std::logic_error);
  EXPECT_THROW(words("run.nothing"), std::logic_error);
}

}  // namespace
}  // namespace costeff::testing
