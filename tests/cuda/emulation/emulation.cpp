#include <cuda_runtime.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {
namespace {

constexpr std::size_t kStack = 128 << 10;
constexpr unsigned kLanes = 32;

enum class State : std::uint8_t { ready, at_block, at_warp, done };

struct Fibre {
  ucontext_t context{};
  std::unique_ptr<char[]> stack = std::make_unique<char[]>(kStack);
  State state = State::done;
};

struct Machine {
  std::vector<Fibre> fibres;
  ucontext_t scheduler{};
  unsigned running = 0;
  const std::function<void()>* kernel = nullptr;
  std::vector<std::uint64_t> lanes;
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
  if (machine.order == Order::backward) std::reverse(index.begin(), index.end());
  if (machine.order == Order::shuffled) std::shuffle(index.begin(), index.end(), machine.random);
  return index;
}

void fibre_main() {
  (*machine.kernel)();
  machine.fibres[machine.running].state = State::done;
}

void wait(State state) {
  Fibre& mine = machine.fibres[machine.running];
  mine.state = state;
  swapcontext(&mine.context, &machine.scheduler);
}

// Lets go whoever is at a barrier that everybody reached; false when nobody is left.
bool release(unsigned threads) {
  unsigned done = 0, at_block = 0;
  bool any = false;
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

void run_block(unsigned threads) {
  for (unsigned t = 0; t < threads; ++t) {
    Fibre& f = machine.fibres[t];
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.get();
    f.context.uc_stack.ss_size = kStack;
    f.context.uc_link = &machine.scheduler;
    makecontext(&f.context, fibre_main, 0);
    f.state = State::ready;
  }
  do {
    for (const unsigned t : ordered(threads)) {
      if (machine.fibres[t].state != State::ready) continue;
      machine.running = t;
      threadIdx = dim3(t, 0, 0);
      swapcontext(&machine.scheduler, &machine.fibres[t].context);
    }
  } while (release(threads));
}

}  // namespace

void set_order(Order order) {
  machine.order = order;
}

void run(const cudaLaunchConfig_t& config, const std::function<void()>& kernel) {
  const unsigned threads = config.blockDim.x;
  if (threads == 0 || threads % kLanes != 0 || threads > 1024) stop("a block has whole warps, 1024 threads at most");
  if (machine.fibres.size() < threads) machine.fibres.resize(threads);
  machine.lanes.assign(threads, 0);
  machine.threads.assign(threads, 0);
  machine.kernel = &kernel;
  gridDim = config.gridDim;
  blockDim = config.blockDim;
  const std::size_t bytes = (config.dynamicSmemBytes + 15) / 16 * 16;
  machine.shared = bytes == 0 ? nullptr : std::aligned_alloc(16, bytes);
  for (const unsigned block : ordered(gridDim.x * gridDim.y * gridDim.z)) {
    blockIdx = dim3(block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y);
    if (bytes != 0) std::memset(machine.shared, 0xff, bytes);  // NaN, as no kernel may read what it did not write
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
std::uint64_t& slot_of_lane(unsigned lane) {
  return machine.lanes[machine.running / kLanes * kLanes + lane];
}
int& slot_of_thread(unsigned thread) {
  return machine.threads[thread];
}

}  // namespace emulation

void* emulated_shared_memory() {
  return emulation::machine.shared;
}
