// Every bad input is a clear error and leaves nothing half-written.
#include <functional>

#include "nn/safetensors.h"
#include "tests/tools/support.h"

namespace costeff::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class BadDataTest : public CliTest {
 protected:
  // Fine-tuning and evaluation on this training and dev file both fail so.
  void expect(const std::string& content, const std::vector<std::string>& texts) const {
    folder_.write("some data/train.tsv", content);
    const std::string out = folder_.path("run");
    EXPECT_TRUE(fails(run(finetune(out)), 1, texts));
    EXPECT_FALSE(fs::exists(out));
    const Outcome scored = run(eval({"--split", "train"}));
    EXPECT_TRUE(fails(scored, 1, texts));
    EXPECT_EQ(scored.out, "");
  }
};

TEST_F(BadDataTest, MissingFile) {
  fs::remove(data_ + "/train.tsv");
  EXPECT_TRUE(fails(run(finetune(folder_.path("run"))), 1, {"costeff finetune: ", data_, "no train.tsv"}));
  fs::remove_all(data_);
  EXPECT_TRUE(fails(run(finetune(folder_.path("run"))), 1, {data_, "no such file or folder"}));
  EXPECT_TRUE(fails(run(eval()), 1, {data_, "no such file or folder"}));
  EXPECT_FALSE(fs::exists(folder_.path("run")));
}

TEST_F(BadDataTest, NothingInIt) {
  expect("", {"train.tsv"});
  expect("sentence\tlabel\n", {"train.tsv", "header"});
}

TEST_F(BadDataTest, WrongColumns) {
  expect(sentences(3) + "one column\n", {"train.tsv:5", "column"});
  expect(sentences(3) + "a\t1\tthree\n", {"train.tsv:5", "column"});
  expect("text\tlabel\nfilm\t1\n", {"train.tsv", "sentence"});
}

TEST_F(BadDataTest, UnknownLabel) {
  expect(sentences(3) + "a film\t2\n", {"train.tsv:5", "\"2\"", "0, 1"});
}

TEST_F(BadDataTest, Bytes) {
  expect(sentences(3) + "caf\xE9\t1\n", {"train.tsv:5", "UTF-8"});
  expect(sentences(3) + std::string("a\0b\t1\n", 6), {"train.tsv:5", "NUL"});
  expect(sentences(3) + std::string(10'000'000, 'a') + "\t1\n", {"train.tsv:5", "10000002 bytes"});
}

TEST_F(BadDataTest, CrlfIsAccepted) {
  const std::string plain = folder_.path("plain");
  const std::string crlf = folder_.path("crlf");
  ASSERT_EQ(run(finetune(plain)).code, 0);
  for (const char* name : {"train.tsv", "dev.tsv"}) {
    std::string text = read(data_ + "/" + name);
    for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2)
      text.insert(at, 1, '\r');
    folder_.write(std::string("some data/") + name, text);
  }
  ASSERT_EQ(run(finetune(crlf)).code, 0);
  EXPECT_EQ(read(plain + "/last/model.safetensors"), read(crlf + "/last/model.safetensors"));
}

TEST_F(BadDataTest, ABadDevFileStopsARunBeforeItBegins) {
  folder_.write("some data/dev.tsv", sentences(2) + "a film\tx\n");
  EXPECT_TRUE(fails(run(finetune(folder_.path("run"))), 1, {"dev.tsv:4", "\"x\""}));
  EXPECT_FALSE(fs::exists(folder_.path("run")));
}

// A safetensors file from its header and data.
std::string safetensors(const std::string& header, const std::string& data, std::uint64_t length) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(length >> (8 * i) & 0xff);
  return bytes + header + data;
}
std::string safetensors(const Json& header, const std::string& data) {
  return safetensors(header.dump(), data, header.dump().size());
}

class BadModelTest : public CliTest {
 protected:
  BadModelTest() {
    const std::string bytes = read(model_ + "/model.safetensors");
    std::uint64_t length = 0;
    for (std::size_t i = 8; i-- > 0;) length = length << 8 | static_cast<unsigned char>(bytes[i]);
    header_ = Json::parse(bytes.substr(8, length));
    weights_ = bytes.substr(8 + length);
  }

  void write_weights(const std::string& bytes) const { folder_.write("tiny model/model.safetensors", bytes); }
  void change_header(const std::function<void(Json& header)>& change) const {
    Json header = header_;
    change(header);
    write_weights(safetensors(header, weights_));
  }
  void change_config(const std::function<void(Json& config)>& change) const {
    Json config = Json::parse(read(model_ + "/config.json"));
    change(config);
    folder_.write("tiny model/config.json", config.dump());
  }
  // Whatever reads the model says so.
  void expect(const std::vector<std::string>& texts) const {
    const std::string out = folder_.path("run");
    EXPECT_TRUE(fails(run(finetune(out)), 1, texts));
    EXPECT_FALSE(fs::exists(out));
    EXPECT_TRUE(fails(run({"predict", "--model", model_}, "a film\n"), 1, texts));
    EXPECT_TRUE(fails(run({"inspect", model_}), 1, texts));
    EXPECT_TRUE(fails(run(eval()), 1, texts));
  }

  Json header_;
  std::string weights_;
};

const std::string kQuery = "bert.encoder.layer.1.attention.self.query.weight";

TEST_F(BadModelTest, NoModel) {
  fs::remove(model_ + "/model.safetensors");
  expect({"model.safetensors"});
  fs::remove(model_ + "/config.json");
  expect({"config.json"});
  fs::remove_all(model_);
  expect({model_});
}

TEST_F(BadModelTest, TruncatedWeights) {
  const std::string bytes = read(model_ + "/model.safetensors");
  for (const std::size_t size : {std::size_t{0}, std::size_t{5}, std::size_t{100}, bytes.size() - 1}) {
    write_weights(bytes.substr(0, size));
    expect({"model.safetensors"});
  }
}

TEST_F(BadModelTest, HeaderThatClaimsTooMuch) {
  write_weights(safetensors(header_.dump(), weights_, std::uint64_t{1} << 60));
  expect({"model.safetensors"});
  write_weights(safetensors("{\"a\": ", weights_, 6));
  expect({"model.safetensors"});
}

TEST_F(BadModelTest, Offsets) {
  change_header([](Json& header) { header[kQuery]["data_offsets"] = {0, 4096}; });
  expect({"model.safetensors"});
  change_header([](Json& header) {
    const auto begin = header[kQuery]["data_offsets"][0].get<std::int64_t>();
    header[kQuery]["data_offsets"] = {begin, std::int64_t{1} << 40};
  });
  expect({"model.safetensors", kQuery});
  change_header([](Json& header) { header[kQuery]["data_offsets"] = {-4096, 0}; });
  expect({"model.safetensors", kQuery});
}

TEST_F(BadModelTest, DTypes) {
  change_header([](Json& header) { header[kQuery]["dtype"] = "I32"; });
  expect({"model.safetensors", kQuery});
  change_header([](Json& header) { header[kQuery]["dtype"] = "F8_E4M3"; });
  expect({"model.safetensors", kQuery});
}

TEST_F(BadModelTest, MissingAndUnexpectedTensors) {
  const std::string other = "bert.encoder.layer.1.attention.self.extra.weight";
  change_header([&](Json& header) {
    header[other] = header[kQuery];
    header.erase(kQuery);
  });
  expect({"model.safetensors", "missing", kQuery});
  change_header([&](Json& header) {
    const auto end = static_cast<std::int64_t>(weights_.size());
    header[other] = {{"dtype", "F32"}, {"shape", {0}}, {"data_offsets", {end, end}}};
  });
  expect({"model.safetensors", other});
}

TEST_F(BadModelTest, Shapes) {
  change_header([](Json& header) { header[kQuery]["shape"] = {16, 64}; });
  expect({"model.safetensors", kQuery, "[16, 64]", "[32, 32]"});
}

TEST_F(BadModelTest, Configs) {
  const std::string whole = read(model_ + "/config.json");
  const std::vector<std::pair<std::string, Json>> bad = {
      {"hidden_size", -32},           {"hidden_size", 1LL << 40},  {"vocab_size", 0},
      {"num_hidden_layers", 1 << 30}, {"hidden_size", "32"},       {"hidden_size", 33},
      {"intermediate_size", -1},      {"model_type", "roberta"},   {"hidden_act", "swish"},
      {"num_attention_heads", 5},     {"layer_norm_eps", "small"}, {"hidden_dropout_prob", 2},
      {"id2label", Json::array()}};
  for (const auto& [key, value] : bad) {
    change_config([&, &name = key, &now = value](Json& config) { config[name] = now; });
    SCOPED_TRACE(key + " " + value.dump());
    expect({"config.json", key});
    folder_.write("tiny model/config.json", whole);
  }
  folder_.write("tiny model/config.json", "{\"hidden_size\": ");
  expect({"config.json", "JSON"});
}

TEST_F(BadModelTest, Vocabularies) {
  folder_.write("tiny model/vocab.txt", vocabulary() + "more\n");
  const std::vector<std::string> texts = {"vocab.txt", "61", "60"};
  EXPECT_TRUE(fails(run(finetune(folder_.path("run"))), 1, texts));
  EXPECT_TRUE(fails(run({"predict", "--model", model_}, "a film\n"), 1, texts));
  EXPECT_TRUE(fails(run(eval()), 1, texts));
  folder_.write("tiny model/vocab.txt", "[PAD]\n[CLS]\n[SEP]\n");
  EXPECT_TRUE(fails(run({"tokenize", "--vocab", model_}), 1, {"vocab.txt", "[UNK]"}));
  fs::remove(model_ + "/vocab.txt");
  EXPECT_TRUE(fails(run({"predict", "--model", model_}), 1, {"vocab.txt"}));
  EXPECT_TRUE(fails(run({"tokenize", "--vocab", folder_.path("none.txt")}), 1, {"none.txt"}));
}

TEST_F(BadModelTest, OutputsThatAreNotTheTasks) {
  make_model(model_, {"score"});
  EXPECT_TRUE(fails(run(eval()), 1, {"1 outputs", "2"}));
  make_model(model_, {"a", "b", "c"});
  EXPECT_TRUE(fails(run(eval()), 1, {"3 outputs", "2"}));
}

}  // namespace
}  // namespace costeff::testing
