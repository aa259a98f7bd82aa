#include "nn/safetensors.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "tensor/error.h"
#include "tests/support.h"

namespace costeff {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr double infinity = std::numeric_limits<double>::infinity();

template <class F>
std::string error_of(F&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// Equal bit for bit, except that one NaN is as good as another.
bool same(double a, double b) {
  return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

class SafetensorsTest : public ::testing::Test {
 protected:
  SafetensorsTest() {
    std::string pattern = ::testing::TempDir() + "costeff_safetensors_XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    path_ = folder_ + "/model.safetensors";
  }
  ~SafetensorsTest() override { fs::remove_all(folder_); }

  void put(const std::string& content) const {
    fs::remove(path_);
    std::ofstream(path_, std::ios::binary) << content;
  }

  // A file of this header, as it is, and so many bytes of data.
  void put_header(const std::string& header, std::size_t data_bytes, std::uint64_t claimed_more = 0) const {
    const std::uint64_t length = header.size() + claimed_more;
    std::string content(8, '\0');
    std::memcpy(content.data(), &length, 8);
    put(content + header + std::string(data_bytes, '\0'));
  }

  // What opening that file says; it must name the file.
  std::string error_with(const std::string& header, std::size_t data_bytes) const {
    put_header(header, data_bytes);
    std::string error = error_of([&] { SafetensorsFile file(path_); });
    EXPECT_THAT(error, ::testing::AnyOf(HasSubstr(path_), "no error"));
    return error;
  }

  std::string write_error(const std::vector<SafetensorsEntry>& entries,
                          const std::map<std::string, std::string>& metadata = {},
                          SaveDType dtype = SaveDType::f32) const {
    return error_of([&] { write_safetensors(path_, entries, metadata, dtype); });
  }

  std::string folder_;
  std::string path_;
};

TEST_F(SafetensorsTest, WhatIsWrittenIsRead) {
  const std::vector<float> a = {1.5f,
                                -0.0f,
                                std::numeric_limits<float>::denorm_min(),
                                -std::numeric_limits<float>::max(),
                                std::numeric_limits<float>::infinity(),
                                0.1f};
  const std::vector<double> b = {0.1, 1e-30};
  const float scalar = 7.0f;
  write_safetensors(path_,
                    std::vector<SafetensorsEntry>{{"z.weight", {2, 3}, a.data()},
                                                  {"a \"quoted\" \xc3\xa4", {2}, b.data()},
                                                  {"empty", {0, 4}, a.data()},
                                                  {"scalar", {}, &scalar}},
                    {{"format", "pt"}, {"config", "{\"x\": 1}"}});
  const SafetensorsFile file(path_);
  EXPECT_THAT(file.names(), ElementsAre("z.weight", "a \"quoted\" \xc3\xa4", "empty", "scalar"));
  EXPECT_THAT(file.metadata(), ElementsAre(Pair("config", "{\"x\": 1}"), Pair("format", "pt")));
  EXPECT_TRUE(file.contains("empty"));
  EXPECT_FALSE(file.contains("__metadata__"));

  const TensorInfo& info = file.info("z.weight");
  EXPECT_EQ(info.dtype, "F32");
  EXPECT_THAT(info.shape, ElementsAre(2, 3));
  EXPECT_EQ(info.count(), 6);
  EXPECT_EQ(file.info("empty").count(), 0);
  EXPECT_EQ(file.info("scalar").count(), 1);
  ASSERT_EQ(info.bytes.size(), 24u);
  EXPECT_EQ(std::memcmp(info.bytes.data(), a.data(), 24), 0);

  std::vector<float> read(6);
  file.read_f32("z.weight", read.data(), 6);
  EXPECT_EQ(std::memcmp(read.data(), a.data(), 24), 0);
  std::vector<double> wide(2);
  file.read_f64("a \"quoted\" \xc3\xa4", wide.data(), 2);
  EXPECT_THAT(wide, ElementsAre(double{0.1f}, double{1e-30f}));
  file.read_f32("empty", nullptr, 0);

  // The header ends on a multiple of 8, for those who use f64 data in place.
  std::uint64_t length = 0;
  std::memcpy(&length, read_text(path_).data(), 8);
  EXPECT_EQ(length % 8, 0u);
}

TEST_F(SafetensorsTest, EveryDtypeIsWrittenAndConverted) {
  std::vector<double> values(200'001);  // more than one piece of the writer's
  std::mt19937 random(1);
  for (double& x : values) x = std::normal_distribution<double>(0, 100)(random);
  values[0] = std::nan("");
  values[1] = -infinity;
  const std::vector<float> narrow(values.begin(), values.end());
  const auto n = static_cast<std::int64_t>(values.size());
  for (const SaveDType dtype : {SaveDType::f32, SaveDType::f16, SaveDType::f64}) {
    write_safetensors(
        path_, std::vector<SafetensorsEntry>{{"narrow", {n}, narrow.data()}, {"wide", {n, 1}, values.data()}},
        {}, dtype);
    const SafetensorsFile file(path_);
    const auto expected = [&](double x) -> double {
      if (dtype == SaveDType::f64) return x;
      const auto rounded = static_cast<float>(x);
      return dtype == SaveDType::f32 ? rounded : f16_to_f32(f32_to_f16(rounded));
    };
    std::vector<double> read(values.size());
    std::vector<float> read_narrow(values.size());
    file.read_f64("wide", read.data(), n);
    file.read_f32("narrow", read_narrow.data(), n);
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_TRUE(same(read[i], expected(values[i]))) << i;
      ASSERT_TRUE(same(read_narrow[i], expected(narrow[i]))) << i;
    }
    file.read_f32("wide", read_narrow.data(), n);
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_TRUE(same(read_narrow[i], static_cast<float>(expected(values[i])))) << i;
    }
  }
}

TEST_F(SafetensorsTest, ReadsBfloatsAndIntegersAlsoUnaligned) {
  const std::string header =
      R"({"h":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},)"
      R"("i":{"dtype":"I32","shape":[2],"data_offsets":[6,14]},"j":{"dtype":"I64","shape":[],"data_offsets":[14,22]}})";
  put_header(header, 0);
  std::string data(22, '\0');
  const std::uint16_t halves[] = {0x3f80, 0xc040, 0x7f80};
  const std::int32_t ints[] = {-5, 2147483647};
  const std::int64_t big = -(std::int64_t{1} << 40);
  std::memcpy(data.data(), halves, 6);
  std::memcpy(data.data() + 6, ints, 8);
  std::memcpy(data.data() + 14, &big, 8);
  std::ofstream(path_, std::ios::binary | std::ios::app) << data;

  const SafetensorsFile file(path_);
  std::vector<float> floats(3);
  file.read_f32("h", floats.data(), 3);
  EXPECT_THAT(floats, ElementsAre(1.0f, -3.0f, std::numeric_limits<float>::infinity()));
  std::vector<std::int64_t> integers(2);
  file.read_i64("i", integers.data(), 2);
  EXPECT_THAT(integers, ElementsAre(-5, 2147483647));
  file.read_i64("j", integers.data(), 1);
  EXPECT_EQ(integers[0], big);
}

TEST_F(SafetensorsTest, ReadingTheWrongThingIsRefused) {
  const std::vector<float> a(6);
  write_safetensors(path_, std::vector<SafetensorsEntry>{{"a", {2, 3}, a.data()}});
  const SafetensorsFile file(path_);
  std::vector<float> out(7);
  std::vector<std::int64_t> integers(6);
  EXPECT_THAT(error_of([&] { file.info("b"); }), AllOf(HasSubstr(path_), HasSubstr("no tensor 'b'")));
  EXPECT_THAT(error_of([&] { file.read_f32("a", out.data(), 7); }),
              AllOf(HasSubstr(path_), HasSubstr("'a' of shape [2, 3] has 6 elements, 7")));
  EXPECT_THAT(error_of([&] { file.read_i64("a", integers.data(), 6); }), HasSubstr("integers are expected"));

  put_header(R"({"i":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}})", 4);
  EXPECT_THAT(error_of([&] { SafetensorsFile(path_).read_f32("i", out.data(), 1); }),
              AllOf(HasSubstr("'i'"), HasSubstr("floating-point numbers are expected")));
}

TEST_F(SafetensorsTest, AFileThatIsNotOneIsRefused) {
  const auto opening = [&] { return error_of([&] { SafetensorsFile file(path_); }); };
  EXPECT_THAT(opening(), AllOf(HasSubstr(path_), HasSubstr("No such file")));
  for (const std::size_t size : {0, 7}) {
    put(std::string(size, '\0'));
    EXPECT_THAT(opening(), AllOf(HasSubstr(path_), HasSubstr("at least 8")));
  }
  put_header("{}", 0, std::uint64_t{1} << 60);
  EXPECT_THAT(opening(), AllOf(HasSubstr(path_), HasSubstr("claims a header of 1152921504606846978 bytes")));
  put_header("{}", 0, 100'000'000);
  EXPECT_THAT(opening(), HasSubstr("at most 100000000"));
  put_header("{}", 3, 4);
  EXPECT_THAT(opening(), AllOf(HasSubstr("truncated"), HasSubstr("only 5 follow")));
  for (const char* text : {"", "{", "{\"a\"}", "\xff\xfe", "{} {}", "nonsense"}) {
    EXPECT_THAT(error_with(text, 0), HasSubstr("not valid JSON")) << text;
  }
  for (const char* text : {"[]", "1", "null", "\"a\""}) {
    EXPECT_THAT(error_with(text, 0), HasSubstr("not a JSON object")) << text;
  }
  EXPECT_THAT(error_with(std::string(1'000'000, '['), 0), HasSubstr("nested too deeply"));
  EXPECT_THAT(error_with("{\"a\":" + std::string(1000, '{'), 0), ::testing::Not("no error"));
  EXPECT_LT(error_with('"' + std::string(1'000'000, 'x'), 0).size(), 1000u);
  EXPECT_EQ(error_with("{}  ", 0), "no error") << "no tensors, padding";
  EXPECT_EQ(error_with(R"({"__metadata__":{}})", 0), "no error");
}

TEST_F(SafetensorsTest, AWrongDescriptionIsRefusedByName) {
  const auto with = [&](const std::string& tensor) { return error_with("{\"w.x\":" + tensor + "}", 24); };
  const auto described = [&](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return with(R"({"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}");
  };
  EXPECT_EQ(described("\"F32\"", "[2,3]", "[0,24]"), "no error");
  EXPECT_THAT(with("3"), HasSubstr("'w.x'"));
  EXPECT_THAT(with("{}"), AllOf(HasSubstr("'w.x'"), HasSubstr("no dtype")));
  EXPECT_THAT(with(R"({"dtype":"F32"})"), AllOf(HasSubstr("'w.x'"), HasSubstr("'shape'")));
  EXPECT_THAT(with(R"({"dtype":"F32","shape":[6]})"), AllOf(HasSubstr("'w.x'"), HasSubstr("'data_offsets'")));
  for (const char* dtype : {"\"F8_E4M3\"", "\"BOOL\"", "\"f32\"", "\"\""}) {
    EXPECT_THAT(described(dtype, "[2,3]", "[0,24]"), AllOf(HasSubstr("'w.x'"), HasSubstr("supported are")));
  }
  EXPECT_THAT(described("7", "[2,3]", "[0,24]"), HasSubstr("no dtype"));
  for (const char* size : {"-1", "1.5", "\"2\"", "null", "true", "1e3", "18446744073709551615", "[2]",
                           "99999999999999999999999999"}) {
    EXPECT_THAT(described("\"F32\"", fmt::format("[{},3]", size), "[0,24]"),
                AllOf(HasSubstr("'w.x'"), HasSubstr("not a size")))
        << size;
  }
  for (const char* shape : {"[4611686018427387904,4]", "[4294967296,4294967296]", "[9223372036854775807]"}) {
    EXPECT_THAT(described("\"F32\"", shape, "[0,24]"), AllOf(HasSubstr("'w.x'"), HasSubstr("too large")))
        << shape;
  }
  for (const char* offsets : {"[]", "[0]", "[0,12,24]", "[24,0]"}) {
    EXPECT_THAT(described("\"F32\"", "[2,3]", offsets),
                AllOf(HasSubstr("'w.x'"), HasSubstr("begin and an end")));
  }
  EXPECT_THAT(described("\"F32\"", "[2,3]", "[-4,20]"), AllOf(HasSubstr("'w.x'"), HasSubstr("data_offsets")));
  for (const char* offsets :
       {"[4,28]", "[0,9223372036854775807]", "[9223372036854775000,9223372036854775024]"}) {
    EXPECT_THAT(described("\"F32\"", "[2,3]", offsets), AllOf(HasSubstr("'w.x'"), HasSubstr("truncated")));
  }
  EXPECT_THAT(described("\"F32\"", "[2,2]", "[0,24]"),
              AllOf(HasSubstr("'w.x'"), HasSubstr("needs 16 bytes")));
  EXPECT_THAT(described("\"F16\"", "[2,3]", "[0,24]"),
              AllOf(HasSubstr("'w.x'"), HasSubstr("needs 12 bytes")));
  EXPECT_THAT(error_with(R"({"__metadata__":[]})", 0), HasSubstr("__metadata__"));
  EXPECT_THAT(error_with(R"({"__metadata__":{"a":1}})", 0),
              AllOf(HasSubstr("__metadata__"), HasSubstr("'a'")));
}

TEST_F(SafetensorsTest, OffsetsThatDoNotCoverTheDataAreRefused) {
  const auto two = [&](const std::string& a, const std::string& b, std::size_t data_bytes) {
    return error_with(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":)" + a +
                          R"(},"b":{"dtype":"F32","shape":[2],"data_offsets":)" + b + "}}",
                      data_bytes);
  };
  EXPECT_EQ(two("[0,8]", "[8,16]", 16), "no error");
  EXPECT_EQ(two("[8,16]", "[0,8]", 16), "no error");
  EXPECT_THAT(SafetensorsFile(path_).names(), ElementsAre("b", "a")) << "in the order of the data";
  EXPECT_THAT(two("[0,8]", "[4,12]", 12), AllOf(HasSubstr("'b'"), HasSubstr("overlaps")));
  EXPECT_THAT(two("[0,8]", "[0,8]", 8), AllOf(HasSubstr("'b'"), HasSubstr("overlaps")));
  EXPECT_THAT(two("[0,8]", "[12,20]", 20), AllOf(HasSubstr("'b'"), HasSubstr("hole of 4 bytes")));
  EXPECT_THAT(two("[4,12]", "[12,20]", 20), AllOf(HasSubstr("'a'"), HasSubstr("hole of 4 bytes")));
  EXPECT_THAT(two("[0,8]", "[8,16]", 17), HasSubstr("1 bytes follow the last tensor"));
  EXPECT_THAT(two("[0,8]", "[8,16]", 15), AllOf(HasSubstr("'b'"), HasSubstr("truncated")));

  const std::string tensor = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  EXPECT_THAT(error_with("{\"a\":" + tensor + ",\"a\":" + tensor + "}", 8), HasSubstr("'a' twice"));
  EXPECT_THAT(error_with(R"({"a":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8]}})", 8),
              HasSubstr("'dtype' twice"));
}

TEST_F(SafetensorsTest, WhatCannotBeWrittenLeavesTheOldFile) {
  const std::vector<float> ok = {1.0f, 2.0f};
  write_safetensors(path_, std::vector<SafetensorsEntry>{{"a", {2}, ok.data()}});
  const std::string before = read_text(path_);

  const std::vector<float> large = {1.0f, -65504.5f};
  const std::vector<double> huge = {1.0, 1e39};
  EXPECT_THAT(write_error({{"a", {2}, ok.data()}, {"b", {2}, large.data()}}, {}, SaveDType::f16),
              AllOf(HasSubstr(path_), HasSubstr("'b': element 1"), HasSubstr("F16")));
  EXPECT_THAT(write_error({{"b", {2}, huge.data()}}), AllOf(HasSubstr("'b'"), HasSubstr("F32")));
  EXPECT_THAT(write_error({{"a", {2}, ok.data()}, {"a", {2}, ok.data()}}), HasSubstr("'a' stands twice"));
  EXPECT_THAT(write_error({{"__metadata__", {2}, ok.data()}}), HasSubstr("'__metadata__'"));
  EXPECT_THAT(write_error({{"", {2}, ok.data()}}), HasSubstr("cannot name"));
  EXPECT_THAT(write_error({{"\xff", {2}, ok.data()}}), HasSubstr("UTF-8"));
  EXPECT_THAT(write_error({{"a", {2}, ok.data()}}, {{"k", "\xc3"}}), HasSubstr("UTF-8"));
  EXPECT_THAT(write_error({{"a", {-2}, ok.data()}}), AllOf(HasSubstr("'a'"), HasSubstr("[-2]")));
  EXPECT_THAT(write_error({{"a", {1L << 40, 1L << 40}, ok.data()}}), HasSubstr("impossible"));
  EXPECT_EQ(read_text(path_), before);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1) << "nothing half-written";

  EXPECT_THAT(error_of([&] { write_safetensors(folder_ + "/none/x", {}); }), HasSubstr("no folder"));
  const std::vector<float> edge = {65504.0f, -65504.0f};
  EXPECT_EQ(write_error({{"b", {2}, edge.data()}}, {}, SaveDType::f16), "no error");
}

// Damage anywhere in the header, or a cut anywhere, is an Error or a file that can be read: never a crash.
TEST_F(SafetensorsTest, DamagedFilesNeverCrash) {
  std::vector<float> values(40);
  std::iota(values.begin(), values.end(), 0.0f);
  write_safetensors(
      path_,
      std::vector<SafetensorsEntry>{
          {"a.weight", {4, 5}, values.data()}, {"b", {3, 2, 2}, values.data()}, {"c", {8}, values.data()}},
      {{"format", "pt"}});
  const std::string whole = read_text(path_);
  const std::size_t header_end = whole.size() - 160;
  std::mt19937 random(1);
  const auto below = [&](std::size_t n) {
    return std::uniform_int_distribution<std::size_t>(0, n - 1)(random);
  };
  int loaded = 0;
  const auto attempt = [&](const std::string& content) {
    put(content);
    try {
      const SafetensorsFile file(path_);
      for (const std::string& name : file.names()) {
        std::vector<double> out(static_cast<std::size_t>(file.info(name).count()));
        try {
          file.read_f64(name, out.data(), file.info(name).count());
        } catch (const Error&) {
        }
      }
      ++loaded;
    } catch (const Error&) {
    }
  };
  for (std::size_t size = 0; size < whole.size(); ++size) attempt(whole.substr(0, size));
  EXPECT_EQ(loaded, 0) << "a file that lacks its end was accepted";
  for (int i = 0; i < 3000; ++i) {
    std::string damaged = whole;
    for (std::size_t flips = 1 + below(3); flips > 0; --flips) {
      const std::size_t at = below(header_end);
      // Half of them replace a digit or a letter by another, which keeps the JSON valid more often.
      damaged[at] = below(2) == 0 ? static_cast<char>(damaged[at] ^ (1 << below(8)))
                                  : "0123456789[]{},:\"-eF"[below(20)];
    }
    attempt(damaged);
  }
  EXPECT_GT(loaded, 0) << "damage to a name does no harm";
}

TEST(SafetensorsReferenceTest, EveryReferenceFileIsRead) {
  const auto folder = testing::reference_folder();
  COSTEFF_SKIP_WITHOUT(folder);
  int files = 0;
  for (const auto& entry : fs::directory_iterator(*folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    ++files;
    const SafetensorsFile file(entry.path().string());
    EXPECT_FALSE(file.names().empty());
    for (const std::string& name : file.names()) {
      const TensorInfo& info = file.info(name);
      const auto n = static_cast<std::size_t>(info.count());
      if (info.dtype[0] == 'I') {
        std::vector<std::int64_t> out(n);
        file.read_i64(name, out.data(), info.count());
      } else {
        std::vector<double> out(n);
        file.read_f64(name, out.data(), info.count());
        if (name.substr(0, 2) == "w/") {
          // The weights are exact in f32 (the folder's README).
          EXPECT_TRUE(
              std::all_of(out.begin(), out.end(), [](double x) { return x == static_cast<float>(x); }))
              << entry.path() << ": " << name;
        }
      }
    }
  }
  EXPECT_GT(files, 0);
}

}  // namespace
}  // namespace costeff
