// What tests share: the largest error, temporary files, expected errors, the reference folder.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <typeinfo>
#include <vector>

namespace costeff::testing {

// The larger of two errors, and infinity once one was no number.
inline double worse(double worst, double error) {
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(worst, error);
}

// A folder that goes with the test; its name holds a space.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "costeff test XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() {
    std::error_code error;  // a test may have locked it
    std::filesystem::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string path() const { return path_.string(); }
  std::string path(const std::string& name) const { return (path_ / name).string(); }

  // Writes a file and returns its path.
  std::string write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path(name);
  }
  std::string write_gzip(const std::string& name, const std::string& content) const {
    std::string file = path(name);
    gzFile out = gzopen(file.c_str(), "wb9");
    gzwrite(out, content.data(), static_cast<unsigned>(content.size()));
    gzclose(out);
    return file;
  }

 private:
  std::filesystem::path path_;
};

// The message of the error that the action throws, which must be exactly of this type; fails if it throws
// none.
template <class ErrorType, class Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const ErrorType& error) {
    EXPECT_EQ(typeid(error), typeid(ErrorType));
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

// The checkout, and the program built from it (tests/places.cpp).
std::string source_dir();
std::string binary();

// The folder of reference numbers: COSTEFF_REFERENCE, or beside the source tree; nothing if there is none.
inline std::optional<std::filesystem::path> reference_folder() {
  if (const char* folder = std::getenv("COSTEFF_REFERENCE")) return folder;
  auto beside = std::filesystem::path(source_dir()) / ".." / "shared" / "reference";
  if (std::filesystem::exists(beside)) return beside;
  return std::nullopt;
}

// The file in the reference folder, or beside it.
inline std::filesystem::path reference_data(const std::filesystem::path& reference, const std::string& name) {
  auto within = reference / name;
  return std::filesystem::exists(within) ? within : reference / ".." / "data" / name;
}

inline nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in.good()) << path;
  return nlohmann::json::parse(in);
}

}  // namespace costeff::testing

// Needs a `const auto reference` of type std::optional<path>.
#define COSTEFF_SKIP_WITHOUT(reference) \
  if (!(reference)) GTEST_SKIP() << "no reference numbers: set COSTEFF_REFERENCE to their folder"
