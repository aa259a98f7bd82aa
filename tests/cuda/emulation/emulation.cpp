#include <cuda_runtime.h>
#include <ucontext.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {
namespace {

constexpr std::size_t kStack = 128 << 10;
constexpr unsigned kLanes = 32;

enum class State : std::uint8_t { ready, at_block, at_warp, done };

// A fibre is entered once by swapcontext, which gives it its stack; from then on longjmp changes between it
// and the scheduler, as that leaves the signal mask alone and is many times faster.
struct Fibre {
  ucontext_t context{};
  jmp_buf place{};
  bool entered = false;
  std::uint64_t handed[2] = {};
  int turn = 0;
  std::unique_ptr<char[]> stack = std::make_unique<char[]>(kStack);
  State state = State::done;
};

struct Machine {
  std::vector<Fibre> fibres;
  ucontext_t scheduler{};
  jmp_buf place{};  // of the scheduler
  unsigned running = 0;
  const std::function<void()>* kernel = nullptr;
  std::vector<int> threads;
  void* shared = nullptr;
  Order order = Order::forward;
  std::mt19937 random{1};
};
Machine machine;

[[noreturn]] void stop(const char* what) {
  std::fprintf(stderr, "emulated kernel: block (%u, %u, %u): %s\n", blockIdx.x, blockIdx.y, blockIdx.z, what);
  std::abort();
}

std::vector<unsigned> ordered(unsigned n) {
  std::vector<unsigned> index(n);
  std::iota(index.begin(), index.end(), 0U);
  if (machine.order == Order::shuffled) std::shuffle(index.begin(), index.end(), machine.random);
  return index;
}

void fibre_main() {
  (*machine.kernel)();
  machine.fibres[machine.running].state = State::done;
  _longjmp(machine.place, 1);
}

[[gnu::noinline]] void wait(State state) {
  Fibre& mine = machine.fibres[machine.running];
  mine.state = state;
  if (_setjmp(mine.place) == 0) _longjmp(machine.place, 1);
}

[[gnu::noinline]] void resume(Fibre& fibre) {
  if (_setjmp(machine.place) != 0) return;  // it waits, or is done
  if (fibre.entered) _longjmp(fibre.place, 1);
  fibre.entered = true;
  swapcontext(&machine.scheduler, &fibre.context);
}

// Lets go whoever is at a barrier that everybody reached; false when everybody is done.
bool release(unsigned threads) {
  unsigned done = 0, at_block = 0;
  bool any = std::any_of(machine.fibres.begin(), machine.fibres.begin() + threads,
                         [](const Fibre& f) { return f.state == State::ready; });
  for (unsigned warp = 0; warp < threads; warp += kLanes) {
    unsigned at_warp = 0;
    for (unsigned t = warp; t < warp + kLanes; ++t) {
      at_warp += machine.fibres[t].state == State::at_warp ? 1 : 0;
      at_block += machine.fibres[t].state == State::at_block ? 1 : 0;
      done += machine.fibres[t].state == State::done ? 1 : 0;
    }
    if (at_warp == kLanes) {
      for (unsigned t = warp; t < warp + kLanes; ++t) machine.fibres[t].state = State::ready;
      any = true;
    }
  }
  if (any) return true;
  if (done == threads) return false;
  if (at_block + done != threads) stop("some threads wait where others do not come");
  for (unsigned t = 0; t < threads; ++t) {
    if (machine.fibres[t].state == State::at_block) machine.fibres[t].state = State::ready;
  }
  return true;
}

// In the shuffled order half of the warps pause at any time, so that others get far ahead of them.
std::uint32_t warps_that_come_late() {
  return machine.order == Order::shuffled ? static_cast<std::uint32_t>(machine.random()) : 0;
}

// Not inlined, as resume() and wait() are not: a loop's variables do not outlive a function that returns
// twice.
[[gnu::noinline]] void prepare(Fibre& f) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(f.stack.get(), kStack);  // of the frames of the block before
#endif
  getcontext(&f.context);
  f.context.uc_stack.ss_sp = f.stack.get();
  f.context.uc_stack.ss_size = kStack;
  f.context.uc_link = nullptr;
  makecontext(&f.context, fibre_main, 0);
  f.state = State::ready;
  f.entered = false;
  f.turn = 0;
}

void run_block(unsigned threads) {
  for (unsigned t = 0; t < threads; ++t) prepare(machine.fibres[t]);
  do {
    const std::uint32_t late = warps_that_come_late();
    for (const unsigned t : ordered(threads)) {
      if (machine.fibres[t].state != State::ready || (late >> t / kLanes & 1U) != 0) continue;
      machine.running = t;
      threadIdx = dim3(t, 0, 0);
      resume(machine.fibres[t]);
    }
  } while (release(threads));
}

}  // namespace

void set_order(Order order) {
  machine.order = order;
}

void run(const cudaLaunchConfig_t& config, const std::function<void()>& kernel) {
  const unsigned threads = config.blockDim.x;
  if (threads == 0 || threads % kLanes != 0 || threads > 1024)
    stop("a block has whole warps, 1024 threads at most");
  if (machine.fibres.size() < threads) machine.fibres.resize(threads);
  machine.threads.assign(threads, 0);
  machine.kernel = &kernel;
  gridDim = config.gridDim;
  blockDim = config.blockDim;
  const std::size_t bytes = (config.dynamicSmemBytes + 15) / 16 * 16;
  machine.shared = bytes == 0 ? nullptr : std::aligned_alloc(16, bytes);
  for (const unsigned block : ordered(gridDim.x * gridDim.y * gridDim.z)) {
    blockIdx = dim3(block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y);
    if (bytes != 0)
      std::memset(machine.shared, 0xff, bytes);  // NaN, as no kernel may read what it did not write
    run_block(threads);
  }
  std::free(machine.shared);
}

void wait_for_block() {
  wait(State::at_block);
}
void wait_for_warp() {
  wait(State::at_warp);
}
unsigned lane() {
  return machine.running % kLanes;
}
// Two places a lane, used in turn: when one is written again, every lane has passed a barrier since it was
// read.
void put(std::uint64_t value) {
  Fibre& mine = machine.fibres[machine.running];
  mine.turn = 1 - mine.turn;
  mine.handed[mine.turn] = value;
}
std::uint64_t get(unsigned lane) {
  const Fibre& mine = machine.fibres[machine.running];
  return machine.fibres[machine.running / kLanes * kLanes + lane].handed[mine.turn];
}
int& slot_of_thread(unsigned thread) {
  return machine.threads[thread];
}

}  // namespace emulation

void emulated_mma(const unsigned (&a)[4], const unsigned (&b)[2], float (&c)[4]) {
  const auto number = [](std::uint64_t words, unsigned half) {  // of four in two words
    const auto bits = static_cast<std::uint32_t>(words >> 16 * half) << 16;
    float x = 0;
    std::memcpy(&x, &bits, sizeof x);
    return static_cast<double>(x);
  };
  double rows[2][16], columns[2][16];  // of A: g and g + 8; of B: 2t and 2t + 1
  const unsigned g = emulation::lane() / 4, t = emulation::lane() % 4;
  const unsigned handed[3][2] = {{a[0], a[1]}, {a[2], a[3]}, {b[0], b[1]}};
  for (unsigned part = 0; part < 3; ++part) {
    emulation::put(handed[part][0] | std::uint64_t{handed[part][1]} << 32);
    emulation::wait_for_warp();
    for (unsigned u = 0; u < 4; ++u) {
      for (unsigned i = 0; i < 2; ++i) {
        const unsigned k = 2 * u + i;
        if (part < 2) {
          const std::uint64_t words = emulation::get(4 * g + u);
          rows[0][k + 8 * part] = number(words, i);
          rows[1][k + 8 * part] = number(words, 2 + i);
        } else {
          for (unsigned column = 0; column < 2; ++column) {
            const std::uint64_t words = emulation::get(4 * (2 * t + column) + u);
            columns[column][k] = number(words, i);
            columns[column][k + 8] = number(words, 2 + i);
          }
        }
      }
    }
  }
  for (unsigned i = 0; i < 4; ++i) {
    double sum = 0;
    for (unsigned k = 0; k < 16; ++k) sum += rows[i / 2][k] * columns[i % 2][k];
    c[i] += static_cast<float>(sum);
  }
}

void* emulated_shared_memory() {
  return emulation::machine.shared;
}
