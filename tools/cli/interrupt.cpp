#include "tools/cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>

namespace costeff {
namespace {

std::atomic<bool> stop_flag{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

extern "C" void on_stop_signal(int) {
  const int error = errno;
  static constexpr char kMessage[] =
      "\nstopping: saving a checkpoint after this step (once more: stop at once)\n";
  if (write(STDERR_FILENO, kMessage, sizeof kMessage - 1) < 0)
    errno = error;  // nobody listens; stop all the same
  stop_flag.store(true);
  errno = error;
}

}  // namespace

const std::atomic<bool>& stop_on_signals() {
  struct sigaction action = {};
  action.sa_handler = on_stop_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM}) {
    struct sigaction before = {};
    // What the caller told us to ignore (nohup, a shell's background job) stays ignored.
    if (sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;
    sigaction(signal, &action, nullptr);
  }
  return stop_flag;
}

}  // namespace costeff
