#include "costeff/train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "costeff/train/run_records.h"
#include "tensor/error.h"
#include "tensor/json_file.h"

namespace costeff {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "step-";

std::string reason() {
  return std::strerror(errno);
}

// Removes what a killed process left of checkpoints that it was writing.
void remove_unfinished(const std::string& run) {
  const fs::path folder = fs::path(run) / "checkpoints";
  if (!fs::is_directory(folder)) return;
  std::vector<fs::path> unfinished;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string ending = entry.path().extension().string();
    if (ending == ".writing" || ending == ".ready" || ending == ".old") unfinished.push_back(entry.path());
  }
  std::error_code error;
  for (const fs::path& path : unfinished) fs::remove_all(path, error);
}

}  // namespace

std::vector<std::pair<std::int64_t, std::string>> checkpoints(const std::string& run) {
  std::vector<std::pair<std::int64_t, std::string>> found;
  const fs::path folder = fs::path(run) / "checkpoints";
  if (!fs::is_directory(folder)) return found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const std::string digits = name.starts_with(kPrefix) ? name.substr(std::strlen(kPrefix)) : "";
    const bool number = !digits.empty() && std::all_of(digits.begin(), digits.end(),
                                                       [](char c) { return c >= '0' && c <= '9'; });
    if (number && fs::exists(entry.path() / "state.json"))
      found.emplace_back(std::stoll(digits), entry.path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

Json run_config(const std::string& run) {
  if (!fs::exists(run + "/config.json")) fail("{}: no training run is there (no config.json)", run);
  Json config = read_json<Json>(run + "/config.json");
  require_run_format(config, run + "/config.json");
  return config;
}

RunFolder::RunFolder(std::string path) : path_(std::move(path)) {}

RunFolder::RunFolder(RunFolder&& other) noexcept
    : path_(std::move(other.path_)), log_(std::exchange(other.log_, -1)), log_length_(other.log_length_) {}

RunFolder& RunFolder::operator=(RunFolder&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(log_, other.log_);
  std::swap(log_length_, other.log_length_);
  return *this;
}

RunFolder::~RunFolder() {
  if (log_ >= 0) close(log_);
}

RunFolder RunFolder::create(const std::string& path, const Json& config) {
  std::error_code error;
  if (fs::exists(path + "/config.json")) {
    fail("{} already holds a run; resume goes on with it, another folder begins anew", path);
  }
  if (fs::exists(path) && !fs::is_directory(path)) fail("{} is not a folder", path);
  // A process killed while it began a run leaves at most the temporary of config.json.
  fs::remove(path + "/config.json.tmp", error);
  if (fs::exists(path) && !fs::is_empty(path, error)) {
    fail("{} is not empty; a run wants a folder of its own", path);
  }
  fs::create_directories(path, error);
  if (error) fail("cannot make the folder {}: {}", path, error.message());
  RunFolder run(path);
  write_atomically(path + "/config.json", config.dump(2) + "\n");
  run.open_log(0);
  return run;
}

RunFolder RunFolder::open(const std::string& path) {
  if (!fs::exists(path + "/config.json")) fail("there is no run at {} to go on with", path);
  return RunFolder(path);
}

Json RunFolder::config() const {
  return run_config(path_);
}

void RunFolder::open_log(std::int64_t length) {
  const std::string file = path_ + "/log.jsonl";
  if (log_ >= 0) close(log_);
  log_ = ::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (log_ < 0) fail("cannot write {}: {}", file, reason());
  if (flock(log_, LOCK_EX | LOCK_NB) != 0) fail("another process is at the run in {}", path_);
  if (lseek(log_, 0, SEEK_END) < length) {
    fail("{} is shorter than the {} bytes it had at the newest checkpoint; was it edited?", file, length);
  }
  if (ftruncate(log_, length) != 0 || lseek(log_, length, SEEK_SET) != length)
    fail("cannot cut {} back: {}", file, reason());
  log_length_ = length;
}

void RunFolder::log(const Json& line) {
  const std::string text = line.dump() + "\n";
  std::size_t written = 0;
  while (written < text.size()) {
    const ssize_t n = ::write(log_, text.data() + written, text.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      fail("cannot write {}/log.jsonl: {}; resume goes on from the newest checkpoint, which is whole", path_,
           reason());
    written += static_cast<std::size_t>(n);
  }
  log_length_ += static_cast<std::int64_t>(text.size());
}

void RunFolder::save_checkpoint(std::int64_t step, Json state, int keep,
                                const std::function<void(const std::string& folder)>& fill) {
  const std::string folder = path_ + "/checkpoints";
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail("cannot make the folder {}: {}", folder, error.message());
  if (fsync(log_) != 0) fail("cannot write {}/log.jsonl: {}", path_, reason());
  state["log_bytes"] = log_length_;
  write_folder_atomically(fmt::format("{}/{}{}", folder, kPrefix, step), [&](const std::string& target) {
    fill(target);
    write_atomically(target + "/state.json", state.dump(2) + "\n");
  });
  auto all = checkpoints(path_);
  while (static_cast<int>(all.size()) > std::max(keep, 1)) {
    fs::remove_all(all.front().second, error);
    all.erase(all.begin());
  }
}

std::optional<RunFolder::Checkpoint> RunFolder::restore() {
  const auto all = checkpoints(path_);
  std::optional<Checkpoint> newest;
  if (!all.empty()) newest = {all.back().second, read_json<Json>(all.back().second + "/state.json")};
  open_log(newest ? newest->state.at("log_bytes").get<std::int64_t>() : 0);
  remove_unfinished(path_);
  return newest;
}

void RunFolder::save_model(const std::string& name,
                           const std::function<void(const std::string& folder)>& fill) const {
  write_folder_atomically(path_ + "/" + name, fill);
}

}  // namespace costeff
