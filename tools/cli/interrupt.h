// Ctrl-C and SIGTERM as a wish to stop that a long job can look at.
#pragma once

#include <atomic>

namespace costeff {

// From now on the first SIGINT or SIGTERM says on stderr that the job is stopping and sets the flag; a second
// one of the same kind ends the process at once.
const std::atomic<bool>& stop_on_signals();

}  // namespace costeff
