#include "tools/gnuplot.h"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tensor/error.h"
#include "tools/report_text.h"

namespace costeff {
namespace {

// A file in memory. A child's three streams are such files and not pipes, so that neither side ever waits for
// the other to read.
class MemoryFile {
 public:
  explicit MemoryFile(const char* name) : descriptor_(memfd_create(name, MFD_CLOEXEC)) {
    if (descriptor_ < 0) fail("cannot make a file in memory for gnuplot: {}", std::strerror(errno));
  }
  ~MemoryFile() { close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  int descriptor() const { return descriptor_; }

  void write(std::string_view text) const {
    while (!text.empty()) {
      const ssize_t n = ::write(descriptor_, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("cannot write gnuplot's script to memory: {}", std::strerror(errno));
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
      if (n < 0) fail("cannot read what gnuplot wrote: {}", std::strerror(errno));
      if (n == 0) return text;
      text.append(buffer, static_cast<std::size_t>(n));
    }
  }

 private:
  int descriptor_;
};

// Runs gnuplot without the user's settings; its exit status as of waitpid.
int run_gnuplot(const MemoryFile& in, const MemoryFile& out, const MemoryFile& err) {
  std::string program = "gnuplot";
  std::string defaults = "--default-settings";
  std::string from_stdin = "-";
  char* const words[] = {program.data(), defaults.data(), from_stdin.data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.descriptor(), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out.descriptor(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.descriptor(), STDERR_FILENO);
  pid_t child = -1;
  const int error = posix_spawnp(&child, program.c_str(), &actions, nullptr, words, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) {
    fail(
        "gnuplot, which draws the report's pictures, was not found; install Debian's package gnuplot-nox "
        "(apt-get install gnuplot-nox)");
  }
  if (error != 0) {
    fail("gnuplot (Debian's package gnuplot-nox) could not be started: {}", std::strerror(error));
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) fail("cannot wait for gnuplot: {}", std::strerror(errno));
  }
  return status;
}

std::string preamble(const Figure& figure) {
  std::string out = fmt::format(
      "set encoding utf8\n"
      "set terminal svg size {},{} dynamic noenhanced font 'sans-serif,13' background '{}'\n",
      figure.width, figure.height, kInks[0].light);
  for (const Ink& ink : kInks) out += fmt::format("{} = '{}'\n", ink.name, ink.light);
  return out +
         "set border 3 lc rgb muted\n"
         "set tics nomirror out scale 0.5 textcolor rgb muted\n"
         "set grid ytics lt 1 lw 1 lc rgb rule\n"
         "set key textcolor rgb ink samplen 1.6 spacing 1.15\n"
         "set lmargin at screen 0.18\n"
         "set rmargin at screen 0.96\n"
         "set style fill solid noborder\n";
}

}  // namespace

std::string gnuplot_string(std::string_view text) {
  std::string out = "'";
  for (const char c : plain_text(text)) {
    out += c;
    if (c == '\'') out += c;
  }
  return out + "'";
}

std::string gnuplot_tic(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c;
    if (c == '%') out += c;
  }
  return gnuplot_string(out);
}

std::string draw(const Figure& figure) {
  const MemoryFile in("gnuplot-in");
  const MemoryFile out("gnuplot-out");
  const MemoryFile err("gnuplot-err");
  in.write(preamble(figure) + figure.script);
  const int status = run_gnuplot(in, out, err);
  std::string svg = out.read();
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || svg.find("</svg>") == std::string::npos) {
    fail("gnuplot could not draw the picture {} (exit status {}): {}", figure.name,
         WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), plain_text(err.read(), 300));
  }
  return svg;
}

}  // namespace costeff
