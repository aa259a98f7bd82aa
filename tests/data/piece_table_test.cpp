#include "data/piece_table.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace costeff {
namespace {

TEST(PieceTable, FindsTheLongestBeginning) {
  PieceTable table(3);
  EXPECT_EQ(table.insert("un", 7), -1);
  EXPECT_EQ(table.insert("unaff", 8), -1);
  EXPECT_EQ(table.insert("un", 9), 7);
  EXPECT_EQ(table.longest_prefix("unaffable").id, 8);
  EXPECT_EQ(table.longest_prefix("unaffable").length, 5u);
  EXPECT_EQ(table.longest_prefix("unaf").id, 7);
  EXPECT_EQ(table.longest_prefix("u").id, -1);
  EXPECT_EQ(table.longest_prefix("").length, 0u);
  EXPECT_EQ(table.find("unaff"), 8);
  EXPECT_EQ(table.find("unaf"), -1);
}

TEST(PieceTable, KeepsManyPiecesApart) {
  std::vector<std::string> texts;
  texts.reserve(30000);
  for (int i = 0; i < 30000; ++i) texts.push_back(std::to_string(i * 7));
  PieceTable table(texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i)
    ASSERT_EQ(table.insert(texts[i], static_cast<std::int32_t>(i)), -1);
  for (std::size_t i = 0; i < texts.size(); ++i)
    ASSERT_EQ(table.find(texts[i]), static_cast<std::int32_t>(i));
  EXPECT_EQ(table.find("8"), -1);
}

TEST(PieceTable, PiecesLongerThanAnyWordDoNoHarm) {
  const std::string text(5000, 'a');
  PieceTable table(2);
  table.insert(text, 0);
  table.insert("aa", 1);
  EXPECT_EQ(table.longest_prefix(text).id, 1);
  EXPECT_EQ(table.find(text), 0);
}

}  // namespace
}  // namespace costeff
