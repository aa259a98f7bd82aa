#include "tensor/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>

#include "tensor/error.h"

namespace costeff {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

// A folder of its own for each test.
class FileTest : public testing::Test {
 protected:
  FileTest() {
    std::string pattern = testing::TempDir() + "costeff_file_XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
  }
  ~FileTest() override { fs::remove_all(folder_); }

  std::string at(const std::string& name) const { return folder_ + "/" + name; }

  std::vector<std::string> listing() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_))
      names.push_back(entry.path().filename().string());
    return names;
  }

  std::string folder_;
};

template <class F>
std::string error_of(F&& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void put(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// While it lives, no file of this process can grow beyond `bytes`.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  sighandler_t handler_;
  rlimit before_{};
};

TEST_F(FileTest, MapsAndReadsBytesAsTheyAre) {
  const std::string content("a\0b\r\n\xff", 6);
  put(at("x"), content);
  MappedFile file(at("x"));
  EXPECT_EQ(file.path(), at("x"));
  EXPECT_EQ(text_of(file), content);
  EXPECT_EQ(read_text(at("x")), content);
  MappedFile moved(std::move(file));
  EXPECT_EQ(text_of(moved), content);
  put(at("y"), "other");
  moved = MappedFile(at("y"));
  EXPECT_EQ(text_of(moved), "other");
}

TEST_F(FileTest, AnEmptyFileHasNoBytes) {
  put(at("empty"), "");
  EXPECT_TRUE(MappedFile(at("empty")).bytes().empty());
  EXPECT_EQ(read_text(at("empty")), "");
}

TEST_F(FileTest, ReadsPipesAndFilesThatDoNotTellTheirSize) {
  EXPECT_THAT(read_text("/proc/self/status"), HasSubstr("Pid:"));
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  const std::string content(200'000, 'x');
  const pid_t child = ::fork();
  if (child == 0) {
    put(at("pipe"), content);
    ::_exit(0);
  }
  EXPECT_EQ(read_text(at("pipe")), content);
  ::waitpid(child, nullptr, 0);
}

TEST_F(FileTest, ReadingSaysWhatIsWrong) {
  const auto map = [](const std::string& path) { return error_of([&] { MappedFile file(path); }); };
  const auto read = [](const std::string& path) { return error_of([&] { read_text(path); }); };
  EXPECT_THAT(map(at("none")), AllOf(HasSubstr(at("none")), HasSubstr("No such file")));
  EXPECT_THAT(read(at("none")), AllOf(HasSubstr(at("none")), HasSubstr("No such file")));
  EXPECT_THAT(map(folder_), AllOf(HasSubstr(folder_), HasSubstr("is a folder")));
  EXPECT_THAT(read(folder_), AllOf(HasSubstr(folder_), HasSubstr("is a folder")));
  put(at("file"), "x");
  EXPECT_THAT(map(at("file/below")), HasSubstr("Not a directory"));
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  EXPECT_THAT(map(at("pipe")), HasSubstr("not a regular file"));
}

TEST_F(FileTest, AFileAppearsOnCommit) {
  put(at("x"), "old");
  fs::permissions(at("x"), fs::perms(0640));
  {
    AtomicFile file(at("x"));
    file.write("new ");
    EXPECT_EQ(read_text(at("x")), "old");
    file.write("content");
    file.commit();
  }
  EXPECT_EQ(read_text(at("x")), "new content");
  EXPECT_EQ(fs::status(at("x")).permissions(), fs::perms(0640));
  EXPECT_THAT(listing(), UnorderedElementsAre("x"));
}

TEST_F(FileTest, NothingIsLeftWithoutCommitOrWhenTheContentThrows) {
  { AtomicFile(at("x")).write("half"); }
  EXPECT_THAT(listing(), IsEmpty());
  put(at("x"), "old");
  EXPECT_THROW(write_atomically(at("x"),
                                [](AtomicFile& file) {
                                  file.write("half");
                                  throw std::runtime_error("stop");
                                }),
               std::runtime_error);
  EXPECT_EQ(read_text(at("x")), "old");
  EXPECT_THAT(listing(), UnorderedElementsAre("x"));
}

TEST_F(FileTest, ALinkIsFollowedAndAMappingKeepsTheOldContent) {
  put(at("x"), "old");
  fs::create_symlink("x", at("link"));
  const MappedFile before(at("x"));
  write_atomically(at("link"), "new");
  EXPECT_TRUE(fs::is_symlink(at("link")));
  EXPECT_EQ(read_text(at("x")), "new");
  EXPECT_EQ(text_of(before), "old");
}

TEST_F(FileTest, OneWriterAtATimeAndLeftoversAreTakenOver) {
  put(at("x.tmp"), "left by a killed process, longer than what comes");
  AtomicFile first(at("x"));
  EXPECT_THAT(error_of([&] { AtomicFile second(at("x")); }),
              AllOf(HasSubstr(at("x")), HasSubstr("another writer")));
  first.write("short");
  first.commit();
  EXPECT_EQ(read_text(at("x")), "short");
  EXPECT_THAT(listing(), UnorderedElementsAre("x"));
  EXPECT_THAT(error_of([&] { first.write("more"); }), HasSubstr("it is complete"));
  EXPECT_THAT(error_of([&] { first.commit(); }), HasSubstr("it is complete"));
}

TEST_F(FileTest, WritingSaysWhatIsWrong) {
  const auto write = [](const std::string& path) { return error_of([&] { write_atomically(path, "x"); }); };
  EXPECT_THAT(write(at("none/x")), AllOf(HasSubstr(at("none/x")), HasSubstr("there is no folder")));
  put(at("file"), "old");
  EXPECT_THAT(write(at("file/x")), AllOf(HasSubstr(at("file/x")), HasSubstr("Not a directory")));
  EXPECT_THAT(write(folder_), HasSubstr("is a folder"));
  EXPECT_THAT(write("/dev/full"), HasSubstr("not a regular file"));
  EXPECT_THAT(write(""), HasSubstr("empty name"));
  EXPECT_THAT(write("/proc/costeff"), HasSubstr("/proc/costeff"));
  EXPECT_EQ(read_text(at("file")), "old");
}

// In a child process, because root, who may write anywhere, has to become somebody else for it.
TEST_F(FileTest, AReadOnlyFolderIsAClearError) {
  put(at("x"), "old");
  fs::permissions(folder_, fs::perms(0555));
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 && ::setuid(65534) != 0) ::_exit(77);
    const std::string of_file = error_of([&] { write_atomically(at("x"), "new"); });
    const std::string of_folder =
        error_of([&] { write_folder_atomically(at("y"), [](const std::string&) {}); });
    const bool right = of_file.find(at("x") + "': Permission denied") != std::string::npos &&
                       of_folder.find(at("y") + "': Permission denied") != std::string::npos;
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  fs::permissions(folder_, fs::perms(0755));
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "may not give up root's rights";
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(read_text(at("x")), "old");
  EXPECT_THAT(listing(), UnorderedElementsAre("x"));
}

TEST_F(FileTest, AFileThatMayNotGrowLosesNothing) {
  write_atomically(at("x"), "old");
  write_folder_atomically(at("y"), [](const std::string& folder) { put(folder + "/part", "old"); });
  const std::string large(100'000, 'n');
  std::string of_file;
  std::string of_folder;
  std::string of_later_calls;
  {
    const FileSizeLimit limit(50'000);
    of_file = error_of([&] { write_atomically(at("x"), large); });
    of_folder = error_of([&] {
      write_folder_atomically(at("y"),
                              [&](const std::string& folder) { write_atomically(folder + "/part", large); });
    });
    AtomicFile file(at("z"));
    error_of([&] { file.write(large); });
    of_later_calls = error_of([&] { file.commit(); });
  }
  EXPECT_THAT(of_file, AllOf(HasSubstr(at("x")), HasSubstr("File too large")));
  EXPECT_THAT(of_folder, HasSubstr("File too large"));
  EXPECT_THAT(of_later_calls, HasSubstr("an earlier write failed"));
  EXPECT_EQ(read_text(at("x")), "old");
  EXPECT_EQ(read_text(at("y/part")), "old");
  EXPECT_THAT(listing(), UnorderedElementsAre("x", "y"));
}

// A real ENOSPC: a tiny file system of a child process's own.
TEST_F(FileTest, AFullDiskLosesNothing) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) ::_exit(77);
    ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
    if (::mount("none", folder_.c_str(), "tmpfs", 0, "size=64k") != 0) ::_exit(77);
    write_atomically(at("x"), "old");
    const std::string large(200'000, 'n');
    const std::string of_file = error_of([&] { write_atomically(at("x"), large); });
    const std::string of_folder = error_of([&] {
      write_folder_atomically(at("y"),
                              [&](const std::string& folder) { write_atomically(folder + "/part", large); });
    });
    const bool right = of_file.find(at("x")) != std::string::npos &&
                       of_file.find("No space left") != std::string::npos &&
                       of_folder.find("No space left") != std::string::npos && read_text(at("x")) == "old" &&
                       listing() == std::vector<std::string>{"x"};
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "may not mount a file system";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// A folder of two files that say the same; together large enough that a write takes a while.
void fill_pair(const std::string& folder, const std::string& content) {
  put(folder + "/a", content + std::string(100'000, '.'));
  put(folder + "/b", content + std::string(100'000, '.'));
}

TEST_F(FileTest, AFolderIsMadeAndReplaced) {
  for (const std::string content : {"one", "two"}) {
    // A trailing slash or a detour names the same folder.
    for (const std::string& name : {at("c"), at("c/"), at("./c"), at("c/.")}) {
      write_folder_atomically(name, [&](const std::string& folder) {
        EXPECT_NE(folder, at("c"));
        EXPECT_TRUE(fs::is_empty(folder));
        EXPECT_FALSE(recover_folder(at("c"))) << "a folder being filled stays out";
        put(folder + "/x", content);
        fs::create_directory(folder + "/sub");
        put(folder + "/sub/y", content);
      });
      EXPECT_EQ(read_text(at("c/x")), content);
      EXPECT_EQ(read_text(at("c/sub/y")), content);
      EXPECT_THAT(listing(), UnorderedElementsAre("c"));
    }
  }
}

TEST_F(FileTest, AFolderWhoseFillingFailsIsAsBefore) {
  const auto fill = [](const std::string& folder) {
    put(folder + "/x", "half");
    fail("stop");
  };
  EXPECT_EQ(error_of([&] { write_folder_atomically(at("c"), fill); }), "stop");
  EXPECT_THAT(listing(), IsEmpty());
  write_folder_atomically(at("c"), [](const std::string& folder) { put(folder + "/x", "old"); });
  EXPECT_EQ(error_of([&] { write_folder_atomically(at("c"), fill); }), "stop");
  EXPECT_EQ(read_text(at("c/x")), "old");
  EXPECT_THAT(listing(), UnorderedElementsAre("c"));

  put(at("file"), "x");
  EXPECT_THAT(error_of([&] { write_folder_atomically(at("file"), fill); }), HasSubstr("file of that name"));
  EXPECT_THAT(error_of([&] { write_folder_atomically(at("none/c"), fill); }), HasSubstr(at("none/c")));
}

// The states between the steps of write_folder_atomically.
TEST_F(FileTest, EveryInterruptedReplacementIsRecoveredOrIgnored) {
  const auto make = [&](const std::string& name, const std::string& content) {
    fs::create_directory(at(name));
    put(at(name) + "/x", content);
  };
  EXPECT_FALSE(recover_folder(at("c")));

  make("c.writing", "half");
  EXPECT_FALSE(recover_folder(at("c"))) << "what is not known to be whole stays out";
  EXPECT_FALSE(fs::exists(at("c")));

  make("c", "old");
  make("c.ready", "new");
  EXPECT_FALSE(recover_folder(at("c"))) << "the old folder is whole; a writer may be at work";
  EXPECT_EQ(read_text(at("c/x")), "old");

  fs::rename(at("c"), at("c.old"));
  EXPECT_TRUE(recover_folder(at("c")));
  EXPECT_EQ(read_text(at("c/x")), "new");
  EXPECT_FALSE(recover_folder(at("c")));

  write_folder_atomically(at("c"), [](const std::string& folder) { put(folder + "/x", "newer"); });
  EXPECT_EQ(read_text(at("c/x")), "newer");
  EXPECT_THAT(listing(), UnorderedElementsAre("c")) << "leftovers go with the next write";
}

TEST_F(FileTest, AKillAtAnyMomentLeavesWholeContent) {
  std::mt19937 random(1);
  for (int round = 0; round < 30; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (int i = 0;; ++i) {
        const std::string content = std::to_string(round) + "." + std::to_string(i) + "|";
        write_atomically(at("file"), content + std::string(100'000, '.') + content);
        write_folder_atomically(at("pair"), [&](const std::string& folder) { fill_pair(folder, content); });
      }
    }
    ::usleep(std::uniform_int_distribution<useconds_t>(2'000, 40'000)(random));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);

    recover_folder(at("pair"));
    if (fs::exists(at("pair"))) {
      const std::string a = read_text(at("pair/a"));
      ASSERT_GT(a.size(), 100'000u);
      ASSERT_EQ(a, read_text(at("pair/b"))) << "round " << round;
    }
    if (fs::exists(at("file"))) {
      const std::string text = read_text(at("file"));
      const std::string content = text.substr(0, text.find('|') + 1);
      ASSERT_EQ(text, content + std::string(100'000, '.') + content) << "round " << round;
    }
  }
  EXPECT_TRUE(fs::exists(at("file")) && fs::exists(at("pair"))) << "no write was ever complete";
}

// A reader that recovers beside a writer sees a whole folder at every attempt and disturbs nothing.
TEST_F(FileTest, ReadersMayRecoverWhileAWriterIsAtWork) {
  write_folder_atomically(at("pair"), [&](const std::string& folder) { fill_pair(folder, "0"); });
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string failure = error_of([&] {
      for (int i = 0; i < 60; ++i) {
        write_folder_atomically(at("pair"),
                                [&](const std::string& folder) { fill_pair(folder, std::to_string(i)); });
      }
    });
    ::_exit(failure == "no error" ? 0 : 1);
  }
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    ASSERT_EQ(error_of([&] { recover_folder(at("pair")); }), "no error");
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(read_text(at("pair/a")), "59" + std::string(100'000, '.'));
  EXPECT_THAT(listing(), UnorderedElementsAre("pair"));
}

}  // namespace
}  // namespace costeff
