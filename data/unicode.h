// What BERT's tokenizer asks about characters, as Hugging Face's fast tokenizer answers it.
//
// That tokenizer has the categories of Unicode 8.0 and the decompositions of Unicode 12.1 compiled in. Models
// were trained on what it makes of a text, so later characters are treated as it treats them: as unassigned
// ones. Source: tokenizers 0.13.3, normalizers/bert.rs and pre_tokenizers/bert.rs.
#pragma once

#include <string>
#include <string_view>

namespace costeff {

// Removed before anything else: U+0000, U+FFFD, Cf, Co, and Cc but tab, newline and carriage return.
bool is_bert_dropped(char32_t c);

// Separates words: tab, newline, carriage return and the space separators of Unicode.
bool is_bert_space(char32_t c);

// Ideographs, each a word of its own. U+2B820 to U+2B91F are not among them: a slip in the original's table,
// which models have seen.
bool is_bert_ideograph(char32_t c);

// A non-spacing mark (Mn): what stripping accents takes away after decomposition.
bool is_bert_mark(char32_t c);

// A word of its own: every ASCII symbol, elsewhere the P categories.
bool is_bert_punctuation(char32_t c);

// Appends the lower case of c: one character, but for U+0130, which becomes two. No rule looks at its
// neighbours.
void append_lower_case(char32_t c, std::u32string& out);

// Canonical decomposition (NFD) in place.
void decompose(std::u32string& text);

// The character that starts at `at`, which moves to the next one. The text must be well-formed UTF-8.
inline char32_t next_utf8(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[at + i]));
  };
  const char32_t c = byte(0);
  if (c < 0x80) {
    at += 1;
    return c;
  }
  if (c < 0xE0) {
    const char32_t out = (c & 0x1F) << 6 | (byte(1) & 0x3F);
    at += 2;
    return out;
  }
  if (c < 0xF0) {
    const char32_t out = (c & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    at += 3;
    return out;
  }
  const char32_t out = (c & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  at += 4;
  return out;
}

// Appends c in UTF-8.
void append_utf8(char32_t c, std::string& out);

}  // namespace costeff
