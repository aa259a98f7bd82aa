#include "tools/cli/child_process.h"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tensor/error.h"

namespace costeff {
namespace {

// A file in memory. A child's three streams are such files and not pipes, so that neither side ever waits for
// the other to read.
class MemoryFile {
 public:
  explicit MemoryFile(const char* name) : descriptor_(memfd_create(name, MFD_CLOEXEC)) {
    if (descriptor_ < 0) fail("cannot make a file in memory: {}", std::strerror(errno));
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  int descriptor() const { return descriptor_; }

  void write(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t n = ::write(descriptor_, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("cannot write to a file in memory: {}", std::strerror(errno));
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    lseek(descriptor_, 0, SEEK_SET);
  }

  std::string read() const {
    std::string text;
    char buffer[65536];
    lseek(descriptor_, 0, SEEK_SET);
    for (;;) {
      const ssize_t n = ::read(descriptor_, buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("cannot read a file in memory: {}", std::strerror(errno));
      if (n == 0) return text;
      text.append(buffer, static_cast<std::size_t>(n));
    }
  }

 private:
  int descriptor_;
};

}  // namespace

ChildOutcome run_child(const std::vector<std::string>& words, const std::string& package,
                       std::string_view input) {
  const MemoryFile in("child-in");
  const MemoryFile out("child-out");
  const MemoryFile err("child-err");
  in.write(input);
  std::vector<std::string> copy = words;
  std::vector<char*> arguments;
  arguments.reserve(copy.size() + 1);
  for (std::string& word : copy) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.descriptor(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out.descriptor(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.descriptor(), STDERR_FILENO);
  pid_t child = -1;
  const int error = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) {
    fail("{0}, which draws the pictures, was not found; install Debian's package {1} (apt-get install {1})",
         words[0], package);
  }
  if (error != 0)
    fail("{} (Debian's package {}) could not be started: {}", words[0], package, std::strerror(error));
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) fail("cannot wait for {}: {}", words[0], std::strerror(errno));
  }
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), out.read(), err.read()};
}

}  // namespace costeff
