#include "data/tokenizer.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <system_error>

#include "data/text_file.h"
#include "data/unicode.h"
#include "tensor/error.h"
#include "tensor/json_file.h"

namespace costeff {

namespace {

constexpr std::size_t kLongestWord = 100;

enum class Ascii : unsigned char { kDropped, kSpace, kPunctuation, kLetter };

std::array<Ascii, 128> classify_ascii() {
  std::array<Ascii, 128> out;
  for (char32_t c = 0; c < 128; ++c) {
    out[c] = is_bert_dropped(c)       ? Ascii::kDropped
             : is_bert_space(c)       ? Ascii::kSpace
             : is_bert_punctuation(c) ? Ascii::kPunctuation
                                      : Ascii::kLetter;
  }
  return out;
}

bool is_ascii(std::string_view text) {
  unsigned char bits = 0;
  for (const char c : text) bits = static_cast<unsigned char>(bits | static_cast<unsigned char>(c));
  return bits < 0x80;
}

void check_utf8(std::string_view text) {
  const std::size_t at = find_invalid_utf8(text);
  if (at != std::string_view::npos) fail("invalid UTF-8: byte {} of the text", at + 1);
}

// Hugging Face's keys; null counts as absent.
TokenizerOptions read_options(const std::string& path) {
  TokenizerOptions options;
  const auto config = read_json<nlohmann::json>(path);
  if (!config.is_object()) fail("{}: not a JSON object", path);
  const auto flag = [&](const char* key, bool& value) {
    const auto found = config.find(key);
    if (found == config.end() || found->is_null()) return false;
    if (!found->is_boolean()) fail("{}: \"{}\" is {}, not true or false", path, key, found->dump());
    value = found->get<bool>();
    return true;
  };
  flag("do_lower_case", options.lower_case);
  flag("tokenize_chinese_chars", options.split_ideographs);
  bool strip = false;
  if (flag("strip_accents", strip)) {
    options.strip_accents = strip ? TokenizerOptions::StripAccents::yes : TokenizerOptions::StripAccents::no;
  }
  return options;
}

}  // namespace

Tokenizer Tokenizer::from_file(const std::string& path, const TokenizerOptions& options) {
  const std::string content = read_text_file(path);
  std::vector<std::string> tokens;
  for_each_line(content, [&](std::size_t number, std::string_view line) {
    if (line.empty()) fail("{}:{}: an empty line in a vocabulary", path, number);
    if (find_invalid_utf8(line) != std::string_view::npos) fail("{}:{}: invalid UTF-8", path, number);
    tokens.emplace_back(line);
  });
  if (tokens.empty()) fail("{}: the vocabulary is empty", path);
  return Tokenizer(std::move(tokens), path, options);
}

Tokenizer Tokenizer::from_folder(const std::string& folder) {
  const std::filesystem::path base(folder);
  const std::string config = (base / "tokenizer_config.json").string();
  std::error_code unused;
  const bool configured = std::filesystem::exists(config, unused);
  const TokenizerOptions options = configured ? read_options(config) : TokenizerOptions();
  return from_file((base / "vocab.txt").string(), options);
}

Tokenizer::Tokenizer(std::vector<std::string> tokens, const std::string& path,
                     const TokenizerOptions& options)
    : options_(options),
      strip_accents_(options.strip_accents == TokenizerOptions::StripAccents::as_lower_case
                         ? options.lower_case
                         : options.strip_accents == TokenizerOptions::StripAccents::yes),
      tokens_(std::move(tokens)),
      ids_(tokens_.size()),
      continuations_(tokens_.size()) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const std::string_view token = tokens_[i];
    const auto id = static_cast<std::int32_t>(i);
    const std::int32_t there = ids_.insert(token, id);
    if (there >= 0) fail("{}:{}: \"{}\" stands in line {} already", path, i + 1, token, there + 1);
    if (token.size() > 2 && token.starts_with("##")) continuations_.insert(token.substr(2), id);
  }
  const auto special = [&](const char* token, bool required) {
    const std::int32_t id = ids_.find(token);
    if (id >= 0) specials_.emplace_back(token, id);
    if (id < 0 && required) fail("{}: the vocabulary has no {}", path, token);
    return id;
  };
  cls_ = special("[CLS]", true);
  sep_ = special("[SEP]", true);
  pad_ = special("[PAD]", true);
  unk_ = special("[UNK]", true);
  special("[MASK]", false);
}

const std::string& Tokenizer::token(std::int32_t id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= tokens_.size()) {
    fail("no token has the id {}: the vocabulary has {}", id, tokens_.size());
  }
  return tokens_[static_cast<std::size_t>(id)];
}

std::int32_t Tokenizer::id(std::string_view token) const {
  const std::int32_t id = ids_.find(token);
  return id < 0 ? unk_ : id;
}

Encoding Tokenizer::encode(std::string_view text, std::size_t max_length) const {
  if (max_length < 2) fail_usage("a maximum length of {} has no room for [CLS] and [SEP]", max_length);
  Encoding out;
  out.ids.push_back(cls_);
  tokenize(text, out.ids);
  out.ids.resize(std::min(out.ids.size(), max_length - 1));
  out.ids.push_back(sep_);
  out.token_type_ids.assign(out.ids.size(), 0);
  return out;
}

Encoding Tokenizer::encode(std::string_view text, std::string_view pair, std::size_t max_length) const {
  if (max_length < 3) fail_usage("a maximum length of {} has no room for [CLS], [SEP] and [SEP]", max_length);
  Encoding out;
  out.ids.push_back(cls_);
  tokenize(text, out.ids);
  std::vector<std::int32_t> second;
  tokenize(pair, second);

  std::size_t n1 = out.ids.size() - 1;
  std::size_t n2 = second.size();
  const std::size_t budget = max_length - 3;
  if (n1 + n2 > budget) {
    std::size_t& shorter = n1 > n2 ? n2 : n1;
    std::size_t& longer = n1 > n2 ? n1 : n2;
    if (2 * shorter <= budget) {
      longer = budget - shorter;
    } else {
      shorter = budget / 2;
      longer = budget - shorter;
    }
  }
  out.ids.resize(1 + n1);
  out.ids.push_back(sep_);
  out.token_type_ids.assign(out.ids.size(), 0);
  out.ids.insert(out.ids.end(), second.begin(), second.begin() + static_cast<std::ptrdiff_t>(n2));
  out.ids.push_back(sep_);
  out.token_type_ids.resize(out.ids.size(), 1);
  return out;
}

void Tokenizer::tokenize(std::string_view text, std::vector<std::int32_t>& ids) const {
  check_utf8(text);
  std::size_t start = 0;
  for (std::size_t at = text.find('['); at != std::string_view::npos; at = text.find('[', at)) {
    const std::string_view rest = text.substr(at);
    const auto found = std::find_if(specials_.begin(), specials_.end(),
                                    [&](const auto& special) { return rest.starts_with(special.first); });
    if (found == specials_.end()) {
      ++at;
      continue;
    }
    segment(text.substr(start, at - start), ids);
    ids.push_back(found->second);
    at += found->first.size();
    start = at;
  }
  segment(text.substr(start), ids);
}

void Tokenizer::segment(std::string_view text, std::vector<std::int32_t>& ids) const {
  if (is_ascii(text)) {
    ascii_segment(text, ids);
  } else {
    unicode_segment(text, ids);
  }
}

void Tokenizer::ascii_segment(std::string_view text, std::vector<std::int32_t>& ids) const {
  static const std::array<Ascii, 128> classes = classify_ascii();
  char word[kLongestWord];  // the first characters of a word; `length` counts all of them
  std::size_t length = 0;
  const auto end_word = [&] {
    if (length > 0) word_pieces({word, std::min(length, kLongestWord)}, length, ids);
    length = 0;
  };
  for (char c : text) {
    switch (classes[static_cast<unsigned char>(c)]) {
      case Ascii::kDropped:
        break;
      case Ascii::kSpace:
        end_word();
        break;
      case Ascii::kPunctuation:
        end_word();
        word_pieces({&c, 1}, 1, ids);
        break;
      case Ascii::kLetter:
        if (options_.lower_case && c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
        if (length < kLongestWord) word[length] = c;
        ++length;
        break;
    }
  }
  end_word();
}

void Tokenizer::unicode_segment(std::string_view text, std::vector<std::int32_t>& ids) const {
  std::u32string word;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_utf8(text, at);
    if (is_bert_dropped(c)) continue;
    if (is_bert_space(c)) {
      unicode_word(word, ids);
    } else if (options_.split_ideographs && is_bert_ideograph(c)) {
      unicode_word(word, ids);
      word = c;
      unicode_word(word, ids);
    } else {
      word += c;
    }
  }
  unicode_word(word, ids);
}

// Normalises what stood between two spaces, splits it at punctuation, and empties it.
void Tokenizer::unicode_word(std::u32string& word, std::vector<std::int32_t>& ids) const {
  if (strip_accents_) {
    constexpr char32_t kFirstDecomposable = 0xC0;
    if (std::any_of(word.begin(), word.end(), [](char32_t c) { return c >= kFirstDecomposable; }))
      decompose(word);
    std::erase_if(word, is_bert_mark);
  }
  if (options_.lower_case) {
    std::u32string lower;
    lower.reserve(word.size());
    for (const char32_t c : word) append_lower_case(c, lower);
    word.swap(lower);
  }
  std::string piece;
  std::size_t characters = 0;
  const auto end_piece = [&] {
    if (characters > 0) word_pieces(piece, characters, ids);
    piece.clear();
    characters = 0;
  };
  for (const char32_t c : word) {
    const bool alone = is_bert_punctuation(c);
    if (alone) end_piece();
    append_utf8(c, piece);
    ++characters;
    if (alone) end_piece();
  }
  end_piece();
  word.clear();
}

// Longest match first. Of a word of more than kLongestWord characters only the count matters.
void Tokenizer::word_pieces(std::string_view word, std::size_t characters,
                            std::vector<std::int32_t>& ids) const {
  if (characters > kLongestWord) {
    ids.push_back(unk_);
    return;
  }
  const std::size_t first = ids.size();
  const PieceTable* pieces = &ids_;
  while (!word.empty()) {
    const PieceTable::Match match = pieces->longest_prefix(word);
    if (match.length == 0) {
      ids.resize(first);
      ids.push_back(unk_);
      return;
    }
    ids.push_back(match.id);
    word.remove_prefix(match.length);
    pieces = &continuations_;
  }
}

}  // namespace costeff
