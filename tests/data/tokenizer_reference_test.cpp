// Hugging Face's fast tokenizer, text by text.
#include "data/tokenizer.h"
#include "tests/support.h"

namespace costeff {
namespace {

using testing::read_json;
using testing::reference_data;
using testing::reference_folder;

class TokenizerReference : public ::testing::Test {
 protected:
  void check(const char* list, const char* answer) {
    const auto reference = reference_folder();
    COSTEFF_SKIP_WITHOUT(reference);
    const auto all = read_json(*reference / "tokenizer.json");
    const Tokenizer tokenizer = Tokenizer::from_file(reference_data(*reference, all["vocabulary"]).string());
    std::size_t wrong = 0;
    for (const auto& item : all[list]) {
      const std::string text = item["text"];
      const std::size_t max_length = item["max_length"];
      Encoding got = item.contains("pair")
                         ? tokenizer.encode(text, item["pair"].get<std::string>(), max_length)
                         : tokenizer.encode(text, max_length);
      std::vector<std::int32_t> mask(got.ids.size(), 1);
      if (item.value("pad", false)) {
        got.ids.resize(max_length, tokenizer.pad_id());
        got.token_type_ids.resize(max_length, 0);
        mask.resize(max_length, 0);
      }
      std::vector<std::string> tokens;
      for (const std::int32_t id : got.ids) tokens.push_back(tokenizer.token(id));

      const auto& expected = item[answer];
      const bool right = got.ids == expected["ids"].get<std::vector<std::int32_t>>() &&
                         got.token_type_ids == expected["token_type_ids"].get<std::vector<std::int32_t>>() &&
                         tokens == expected["tokens"].get<std::vector<std::string>>() &&
                         (!expected.contains("attention_mask") ||
                          mask == expected["attention_mask"].get<std::vector<std::int32_t>>());
      if (right) continue;
      ++wrong;
      EXPECT_TRUE(wrong > 20) << item.dump(-1, ' ', true) << "\ngot "
                              << nlohmann::json(tokens).dump(-1, ' ', true);
    }
    EXPECT_EQ(wrong, 0u) << "of " << all[list].size();
    EXPECT_GT(all[list].size(), 0u);
  }
};

TEST_F(TokenizerReference, Cases) {
  check("cases", "expected");
}

TEST_F(TokenizerReference, Disagreements) {
  check("disagreements", "fast");
}

}  // namespace
}  // namespace costeff
