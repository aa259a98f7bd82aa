// The characters on which Hugging Face's fast tokenizer and newer Unicode data differ.
#include "data/unicode.h"

#include <gtest/gtest.h>

namespace costeff {
namespace {

std::u32string decomposed(std::u32string text) {
  decompose(text);
  return text;
}

TEST(Unicode, CategoriesAreThoseOfUnicode8) {
  EXPECT_TRUE(is_bert_mark(0x301));
  EXPECT_TRUE(is_bert_mark(0x1734));                                                         // now Mc
  for (const char32_t c : {0x1885, 0x1886, 0xA9BD, 0x111C9}) EXPECT_FALSE(is_bert_mark(c));  // now Mn
  EXPECT_FALSE(is_bert_mark(0x1193C));                                                       // Unicode 13
  EXPECT_TRUE(is_bert_punctuation(0x166D));                                                  // now So
  EXPECT_TRUE(is_bert_punctuation(0x111C9));
  EXPECT_TRUE(is_bert_punctuation(0x2E42));
  EXPECT_FALSE(is_bert_punctuation(0x2E43));  // Unicode 9
  EXPECT_TRUE(is_bert_dropped(0x200D));
  EXPECT_FALSE(is_bert_dropped(0x8E2));  // Cf of Unicode 9
  EXPECT_FALSE(is_bert_dropped(0x378));  // unassigned
}

TEST(Unicode, DecompositionsAreThoseOfUnicode12) {
  EXPECT_EQ(decomposed(U"\u00e9\u1ec7\uac01"), U"e\u0301e\u0323\u0302\u1100\u1161\u11a8");
  EXPECT_EQ(decomposed(U"\U0001109A"), U"\U00011099\U000110BA");
  EXPECT_EQ(decomposed(U"\U00011938"), U"\U00011938");  // Unicode 13
  EXPECT_EQ(decomposed(U""), U"");
}

TEST(Unicode, LowerCaseLooksAtOneCharacter) {
  std::u32string out;
  for (const char32_t c : U"\u0130\u03A3\u1E9E\U00010400z") {
    if (c != 0) append_lower_case(c, out);
  }
  EXPECT_EQ(out, U"i\u0307\u03C3\u00DF\U00010428z");
}

TEST(Unicode, IdeographsLeaveOutTheOriginalsGap) {
  EXPECT_TRUE(is_bert_ideograph(0x4E00));
  EXPECT_TRUE(is_bert_ideograph(0x2B81F));
  EXPECT_FALSE(is_bert_ideograph(0x2B820));
  EXPECT_FALSE(is_bert_ideograph(0x2B91F));
  EXPECT_TRUE(is_bert_ideograph(0x2B920));
  EXPECT_FALSE(is_bert_ideograph(0x3042));
}

TEST(Unicode, Utf8GoesBothWays) {
  std::string text;
  const std::u32string all = U"a\u007F\u0080\u07FF\u0800\uFFFF\U00010000\U0010FFFF";
  for (const char32_t c : all) append_utf8(c, text);
  std::u32string back;
  for (std::size_t at = 0; at < text.size();) back += next_utf8(text, at);
  EXPECT_EQ(back, all);
}

}  // namespace
}  // namespace costeff
