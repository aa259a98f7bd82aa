#include "data/tokenizer.h"

#include "tensor/error.h"
#include "tests/support.h"

namespace costeff {
namespace {

using ::testing::HasSubstr;
using testing::message_of;
using testing::TemporaryFolder;
using Ids = std::vector<std::int32_t>;

// [PAD]=0 [UNK]=1 [CLS]=2 [SEP]=3 [MASK]=4, then words
const char* const kVocabulary =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nfilm\n##s\ncafe\nCafé\nFilm\n.\n中\nun\n##aff\n##able\ncafé\nf\n";

class TokenizerTest : public ::testing::Test {
 protected:
  Tokenizer load(const TokenizerOptions& options = {}) const {
    return Tokenizer::from_file(folder_.write("vocab.txt", kVocabulary), options);
  }
  std::string vocabulary_error(const std::string& content) const {
    return message_of<Error>([&] { Tokenizer::from_file(folder_.write("bad.txt", content)); });
  }

  TemporaryFolder folder_;
};

TEST_F(TokenizerTest, SplitsWordsIntoPieces) {
  const Encoding got = load().encode("Films, unaffable.");
  EXPECT_EQ(got.ids, (Ids{2, 5, 6, 1, 12, 13, 14, 10, 3}));  // no comma in the vocabulary
  EXPECT_EQ(got.token_type_ids, Ids(9, 0));
}

TEST_F(TokenizerTest, MarksTheSecondTextByItsType) {
  const Encoding got = load().encode("film", "film .");
  EXPECT_EQ(got.ids, (Ids{2, 5, 3, 5, 10, 3}));
  EXPECT_EQ(got.token_type_ids, (Ids{0, 0, 0, 1, 1, 1}));
}

TEST_F(TokenizerTest, AnEmptyPairIsStillAPair) {
  const Encoding got = load().encode("film", "");
  EXPECT_EQ(got.ids, (Ids{2, 5, 3, 3}));
  EXPECT_EQ(got.token_type_ids, (Ids{0, 0, 0, 1}));
}

TEST_F(TokenizerTest, CutsSinglesAndPairs) {
  const Tokenizer tokenizer = load();
  EXPECT_EQ(tokenizer.encode("film film . .", 4).ids, (Ids{2, 5, 5, 3}));
  EXPECT_EQ(tokenizer.encode("film film film", ".", 6).ids,
            (Ids{2, 5, 5, 3, 10, 3}));  // the longer side gives
  EXPECT_EQ(tokenizer.encode("film film film", ". . .", 6).ids,
            (Ids{2, 5, 3, 10, 10, 3}));  // odd: to the second
  EXPECT_EQ(tokenizer.encode("film film film film", ". . .", 6).ids, (Ids{2, 5, 5, 3, 10, 3}));
  EXPECT_EQ(tokenizer.encode("film", 2).ids, (Ids{2, 3}));
  EXPECT_EQ(tokenizer.encode("film", ".", 3).ids, (Ids{2, 3, 3}));
  EXPECT_THROW(tokenizer.encode("film", 1), UsageError);
  EXPECT_THROW(tokenizer.encode("film", ".", 2), UsageError);
}

TEST_F(TokenizerTest, KeepsSpecialTokensOfTheRawText) {
  EXPECT_EQ(load().encode("un[MASK]able [mask]").ids, (Ids{2, 12, 4, 1, 1, 1, 1, 3}));
}

TEST_F(TokenizerTest, AppendsIdsWithoutSpecialTokens) {
  Ids ids = {99};
  load().tokenize("film.", ids);
  EXPECT_EQ(ids, (Ids{99, 5, 10}));
}

TEST_F(TokenizerTest, FollowsItsOptions) {
  using Strip = TokenizerOptions::StripAccents;
  EXPECT_EQ(load().encode("CAFÉ").ids, (Ids{2, 7, 3}));
  EXPECT_EQ(load({.lower_case = false}).encode("Café Film").ids, (Ids{2, 8, 9, 3}));
  EXPECT_EQ(load({.lower_case = true, .strip_accents = Strip::no}).encode("CAFÉ").ids, (Ids{2, 15, 3}));
  EXPECT_EQ(load({.lower_case = false, .strip_accents = Strip::yes}).encode("café").ids, (Ids{2, 7, 3}));
  EXPECT_EQ(load().encode("film中").ids, (Ids{2, 5, 11, 3}));
  EXPECT_EQ(load({.split_ideographs = false}).encode("film中").ids, (Ids{2, 1, 3}));
}

TEST_F(TokenizerTest, ReadsAFoldersConfiguration) {
  folder_.write("vocab.txt", kVocabulary);
  EXPECT_TRUE(Tokenizer::from_folder(folder_.path()).options().lower_case);
  folder_.write("tokenizer_config.json", R"({"do_lower_case": false, "strip_accents": null, "other": 1})");
  const Tokenizer cased = Tokenizer::from_folder(folder_.path());
  EXPECT_EQ(cased.encode("Café Film").ids, (Ids{2, 8, 9, 3}));
  folder_.write("tokenizer_config.json", R"({"do_lower_case": true, "strip_accents": false})");
  EXPECT_EQ(Tokenizer::from_folder(folder_.path()).encode("CAFÉ").ids, (Ids{2, 15, 3}));
  folder_.write("tokenizer_config.json", R"({"tokenize_chinese_chars": false})");
  EXPECT_EQ(Tokenizer::from_folder(folder_.path()).encode("film中").ids, (Ids{2, 1, 3}));

  folder_.write("tokenizer_config.json", R"({"do_lower_case": "no"})");
  EXPECT_THAT(message_of<Error>([&] { Tokenizer::from_folder(folder_.path()); }), HasSubstr("do_lower_case"));
  const std::string nest = std::string(1000000, '[') + std::string(1000000, ']');
  for (const auto& [text, error] : {std::pair<std::string, const char*>{"{", "not valid JSON"},
                                    {"[]", "not a JSON object"},
                                    {R"({"do_lower_case": )" + nest + "}", "levels deep"}}) {
    folder_.write("tokenizer_config.json", text);
    EXPECT_THAT(message_of<Error>([&] { Tokenizer::from_folder(folder_.path()); }), HasSubstr(error));
  }
}

TEST_F(TokenizerTest, GivesIdsAndTokens) {
  Tokenizer made = load();
  const Tokenizer tokenizer = std::move(made);  // its tables stay good
  EXPECT_EQ(tokenizer.vocabulary_size(), 17u);
  EXPECT_EQ(tokenizer.pad_id(), 0);
  EXPECT_EQ(tokenizer.unk_id(), 1);
  EXPECT_EQ(tokenizer.cls_id(), 2);
  EXPECT_EQ(tokenizer.sep_id(), 3);
  EXPECT_EQ(tokenizer.id("##aff"), 13);
  EXPECT_EQ(tokenizer.id("nothing"), 1);
  EXPECT_TRUE(tokenizer.has_token("f"));
  EXPECT_FALSE(tokenizer.has_token("nothing"));
  EXPECT_EQ(tokenizer.token(13), "##aff");
  EXPECT_THROW(tokenizer.token(17), Error);
  EXPECT_THROW(tokenizer.token(-1), Error);
}

TEST_F(TokenizerTest, RefusesBadVocabularies) {
  EXPECT_THAT(vocabulary_error(""), HasSubstr("empty"));
  for (const char* missing : {"[CLS]", "[SEP]", "[UNK]", "[PAD]"}) {
    std::string content = kVocabulary;
    content.replace(content.find(missing), 5, "other");
    EXPECT_THAT(vocabulary_error(content), HasSubstr(std::string("has no ") + missing));
  }
  EXPECT_THAT(vocabulary_error(std::string(kVocabulary) + "film\n"),
              HasSubstr(":18: \"film\" stands in line 6"));
  EXPECT_THAT(vocabulary_error(std::string(kVocabulary) + "\nx\n"), HasSubstr(":18: an empty line"));
  EXPECT_THAT(vocabulary_error(std::string(kVocabulary) + "\xFF\n"), HasSubstr(":18: invalid UTF-8"));
  EXPECT_THAT(message_of<Error>([&] { Tokenizer::from_file(folder_.path("none.txt")); }),
              HasSubstr("none.txt"));
}

TEST_F(TokenizerTest, AcceptsCarriageReturnsInAVocabulary) {
  const std::string path = folder_.write("crlf.txt", "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\nfilm\r\n");
  EXPECT_EQ(Tokenizer::from_file(path).encode("film").ids, (Ids{2, 4, 3}));
}

TEST_F(TokenizerTest, RefusesTextsThatAreNotUtf8) {
  const Tokenizer tokenizer = load();
  const std::vector<std::string> bad = {
      "\x80",     "\xC3",         "\xC0\x80",         "\xE0\x80\x80",    "\xED\xA0\x80",
      "\xF5\x80", "\xE2\x82 abc", "\xF4\x90\x80\x80", "\xF0\x80\x80\x80"};
  for (const std::string& text : bad) {
    EXPECT_THAT(message_of<Error>([&] { tokenizer.encode("eight byt" + text); }), HasSubstr("byte 10"));
    EXPECT_THROW(tokenizer.encode("film", text), Error);
  }
  EXPECT_NO_THROW(tokenizer.encode("\xF4\x8F\xBF\xBF \xED\x9F\xBF \xEE\x80\x80 \xC2\x80"));
}

}  // namespace
}  // namespace costeff
