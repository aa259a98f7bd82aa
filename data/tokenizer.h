// WordPiece: from a text to the ids that BERT reads, exactly as Hugging Face's fast BertTokenizer.
//
// A text goes through these steps:
//   1. [CLS], [SEP], [MASK], [UNK] and [PAD] in the raw text, upper-case and exact, stand for themselves.
//   2. Control and format characters vanish; ideographs are set apart (data/unicode.h says which).
//   3. Canonical decomposition, marks dropped, lower-casing; words end at spaces, punctuation stands alone.
//   4. A word becomes the longest piece of the vocabulary it starts with, then the longest "##" piece that
//      goes on, and so forth. A word of more than 100 characters, or one with a rest that no piece fits, is
//      [UNK].
// Source: Devlin et al., NAACL 2019; tokenizers 0.13.3 and 0.22.2, which agree.
//
//   const Tokenizer tokenizer = Tokenizer::from_folder("models/minilm");
//   Encoding e = tokenizer.encode("a charming journey .", 128);  // [CLS] a charming journey . [SEP]
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/piece_table.h"

namespace costeff {

struct TokenizerOptions {
  enum class StripAccents { as_lower_case, yes, no };

  bool lower_case = true;
  StripAccents strip_accents = StripAccents::as_lower_case;
  bool split_ideographs = true;
};

// token_type_ids are 0 up to and including the first [SEP], 1 after it.
struct Encoding {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> token_type_ids;
};

// Immutable once made: any number of threads may encode at the same time. Can be moved, not copied.
class Tokenizer {
 public:
  Tokenizer(Tokenizer&&) = default;
  Tokenizer& operator=(Tokenizer&&) = default;

  // Reads a vocabulary: one token a line, its id the number of the line from 0.
  // Throws Error, naming file and line, if the file is missing or empty, holds an empty, repeated or invalid
  // line, or lacks one of [CLS], [SEP], [UNK], [PAD].
  static Tokenizer from_file(const std::string& path, const TokenizerOptions& options = {});

  // Reads vocab.txt and, where it is there, tokenizer_config.json (do_lower_case, strip_accents,
  // tokenize_chinese_chars; other keys are not looked at) of a checkpoint folder.
  static Tokenizer from_folder(const std::string& folder);

  // [CLS] text [SEP], or [CLS] text [SEP] pair [SEP], of at most max_length tokens. Of a text that is too
  // long the end is cut off; of a pair the longer side is cut down to what the shorter leaves, and if that
  // would make it the shorter one, each gets half (an odd token goes to the longer side, to the second if
  // they are equally long). Throws Error if a text is not UTF-8, UsageError if max_length has no room for the
  // special tokens.
  Encoding encode(std::string_view text, std::size_t max_length = kNoLimit) const;
  Encoding encode(std::string_view text, std::string_view pair, std::size_t max_length = kNoLimit) const;

  // Appends the ids of the text alone, without [CLS] and [SEP]. Throws Error if it is not UTF-8.
  void tokenize(std::string_view text, std::vector<std::int32_t>& ids) const;

  std::size_t vocabulary_size() const { return tokens_.size(); }
  // The token of an id; throws Error if there is none.
  const std::string& token(std::int32_t id) const;
  // The id of a token, that of [UNK] if the vocabulary does not have it.
  std::int32_t id(std::string_view token) const;
  bool has_token(std::string_view token) const { return ids_.find(token) >= 0; }

  std::int32_t cls_id() const { return cls_; }
  std::int32_t sep_id() const { return sep_; }
  std::int32_t pad_id() const { return pad_; }
  std::int32_t unk_id() const { return unk_; }

  const TokenizerOptions& options() const { return options_; }

  static constexpr std::size_t kNoLimit = static_cast<std::size_t>(-1);

 private:
  Tokenizer(std::vector<std::string> tokens, const std::string& path, const TokenizerOptions& options);

  void segment(std::string_view text, std::vector<std::int32_t>& ids) const;
  void ascii_segment(std::string_view text, std::vector<std::int32_t>& ids) const;
  void unicode_segment(std::string_view text, std::vector<std::int32_t>& ids) const;
  void unicode_word(std::u32string& word, std::vector<std::int32_t>& ids) const;
  void word_pieces(std::string_view word, std::size_t characters, std::vector<std::int32_t>& ids) const;

  TokenizerOptions options_;
  bool strip_accents_;
  std::vector<std::string> tokens_;
  PieceTable ids_;            // its texts live in tokens_
  PieceTable continuations_;  // the tokens that start with "##", without it
  std::vector<std::pair<std::string, std::int32_t>> specials_;
  std::int32_t cls_, sep_, pad_, unk_;
};

}  // namespace costeff
