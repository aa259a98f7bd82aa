#include "data/tsv.h"

#include "tensor/error.h"
#include "tests/support.h"

namespace costeff {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;
using testing::TemporaryFolder;

class TsvTest : public ::testing::Test {
 protected:
  std::string error(const std::string& content, const TsvOptions& options = {}) const {
    return message_of<Error>([&] { Tsv::read(folder_.write("f.tsv", content), options); });
  }

  TemporaryFolder folder_;
};

TEST_F(TsvTest, ReadsRowsWithTheirLines) {
  const Tsv tsv = Tsv::read(folder_.write("f.tsv", "a\tb\n1\t\"2\n\t4\n"));
  EXPECT_THAT(tsv.header(), ElementsAre("a", "b"));
  ASSERT_EQ(tsv.rows(), 2u);
  EXPECT_EQ(tsv.field(0, 0), "1");
  EXPECT_EQ(tsv.field(0, 1), "\"2");  // no quoting
  EXPECT_EQ(tsv.field(1, 0), "");
  EXPECT_EQ(tsv.field(1, 1), "4");
  EXPECT_EQ(tsv.line(1), 3u);
  EXPECT_EQ(tsv.column("b"), 1u);
  EXPECT_EQ(tsv.find_column("c"), std::nullopt);
  EXPECT_THAT(message_of<Error>([&] { (void)tsv.column("c"); }), HasSubstr("\"c\"; there are: a, b"));
}

TEST_F(TsvTest, FieldsOutliveAMove) {
  Tsv first = Tsv::parse("a\n1\n", "short");
  const Tsv second = std::move(first);
  EXPECT_EQ(second.field(0, 0), "1");
}

TEST_F(TsvTest, AcceptsCrlfByteOrderMarkAndBlankEnd) {
  const Tsv tsv = Tsv::read(folder_.write("f.tsv",
                                          "\xEF\xBB\xBF"
                                          "a\tb\r\n1\t2\r\n3\t4\r\n\r\n\n"));
  EXPECT_THAT(tsv.header(), ElementsAre("a", "b"));
  ASSERT_EQ(tsv.rows(), 2u);
  EXPECT_EQ(tsv.field(1, 1), "4");
}

TEST_F(TsvTest, AcceptsAFileWithoutLastLineEnd) {
  EXPECT_EQ(Tsv::parse("a\n1\n2", "f").field(1, 0), "2");
}

TEST_F(TsvTest, ReadsGzip) {
  const Tsv tsv = Tsv::read(folder_.write_gzip("f.tsv.gz", "a\tb\n1\t2\n"));
  EXPECT_EQ(tsv.field(0, 1), "2");
  const Tsv unnamed = Tsv::read(folder_.write_gzip("f.tsv", "a\tb\n1\t3\n"));
  EXPECT_EQ(unnamed.field(0, 1), "3");
}

TEST_F(TsvTest, ReadsWithoutHeader) {
  const Tsv tsv = Tsv::parse("1\t2\n3\t4\n", "f", {.header = false, .columns = 2});
  EXPECT_EQ(tsv.rows(), 2u);
  EXPECT_EQ(tsv.field(0, 0), "1");
  EXPECT_TRUE(tsv.header().empty());
  EXPECT_THAT(error("1\n", {.header = false, .columns = 2}),
              HasSubstr("f.tsv:1: 1 column, but each line of this task"));
}

TEST_F(TsvTest, MissingFile) {
  EXPECT_THAT(message_of<Error>([&] { Tsv::read(folder_.path("none.tsv")); }),
              HasSubstr("none.tsv: cannot be opened"));
}

TEST_F(TsvTest, AFolderIsNoFile) {
  EXPECT_THAT(message_of<Error>([&] { Tsv::read(folder_.path()); }), HasSubstr("is a folder"));
}

TEST_F(TsvTest, EmptyFile) {
  EXPECT_THAT(error(""), HasSubstr("f.tsv: the file is empty"));
  EXPECT_THAT(error("\n\r\n"), HasSubstr("f.tsv: the file is empty"));
}

TEST_F(TsvTest, HeaderOnly) {
  EXPECT_THAT(error("a\tb\n"), HasSubstr("f.tsv: no rows, only a header"));
}

TEST_F(TsvTest, WrongColumnCount) {
  EXPECT_THAT(error("a\tb\n1\t2\n1\t2\t3\n"), HasSubstr("f.tsv:3: 3 columns, but line 1 has 2"));
  EXPECT_THAT(error("a\tb\n1\t2\n\n1\t2\n"), HasSubstr("f.tsv:3: 1 column, but line 1 has 2"));
}

TEST_F(TsvTest, BrokenRowsAreListedWhereTheyMayBeSkipped) {
  const Tsv tsv = Tsv::parse("a\tb\n1\n3\t4\n5\t6\t7\n", "f", {.skip_broken_rows = true});
  ASSERT_EQ(tsv.rows(), 1u);
  EXPECT_EQ(tsv.field(0, 1), "4");
  EXPECT_EQ(tsv.line(0), 3u);
  EXPECT_THAT(tsv.skipped_lines(), ElementsAre(2u, 4u));
}

TEST_F(TsvTest, RepeatedColumn) {
  EXPECT_THAT(error("a\ta\n1\t2\n"), HasSubstr("f.tsv:1: two columns are named \"a\""));
}

TEST_F(TsvTest, InvalidUtf8) {
  EXPECT_THAT(error("a\nfine\nbroken \xC3\nfine\n"),
              HasSubstr("f.tsv:3: invalid UTF-8 (byte 8 of the line)"));
}

TEST_F(TsvTest, NulByte) {
  EXPECT_THAT(error(std::string("a\nx\0y\n", 6)), HasSubstr("f.tsv:2: a NUL byte (byte 2 of the line)"));
}

TEST_F(TsvTest, LongLine) {
  EXPECT_THAT(error("a\nx\n" + std::string(10u << 20, 'x') + "\n"),
              HasSubstr("f.tsv:3: a line of 10485760 bytes; the limit is 1 MiB"));
  EXPECT_EQ(Tsv::parse("a\n" + std::string(Tsv::kLongestLine, 'x') + "\n", "f").rows(), 1u);
}

TEST_F(TsvTest, DamagedGzip) {
  std::string text = "a\n";
  for (int i = 0; i < 20000; ++i) text += std::to_string(i * 7919 % 10007) + "\n";
  const std::string path = folder_.write_gzip("f.tsv.gz", text);
  std::ifstream in(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const auto read = [&](const std::string& content) {
    return message_of<Error>([&] { Tsv::read(folder_.write("bad.gz", content)); });
  };
  EXPECT_THAT(read(bytes.substr(0, bytes.size() / 2)), HasSubstr("bad.gz: the gzip stream ends too early"));
  EXPECT_THAT(read(bytes.substr(0, bytes.size() - 4)), HasSubstr("bad.gz: the gzip stream ends too early"));
  bytes[bytes.size() - 6] = static_cast<char>(bytes[bytes.size() - 6] ^ 1);  // in the checksum
  EXPECT_THAT(read(bytes), HasSubstr("bad.gz: damaged gzip stream"));
}

}  // namespace
}  // namespace costeff
