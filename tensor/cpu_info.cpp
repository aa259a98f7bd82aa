// The processor, its threads and OpenBLAS: what they are, and the settings that must be in the environment
// before they start.
#include <cblas.h>
#include <omp.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include "tensor/backend.h"
#include "tensor/error.h"

namespace costeff {
namespace {

// How often a waiting thread looks before it sleeps: some 200 us, a few times what waking it costs. Against
// 50 us a step on short sentences is 4 % faster and a sentence alone 11 %, and beside a busy process a step
// takes 2.1 times as long instead of 1.9 (with 800 us 2.5). libgomp's own 300,000 rounds keep a core from
// other processes for milliseconds at every barrier: then a step took 2 to 7 times as long.
constexpr const char* kSpinCount = "5000";
constexpr const char* kTuned = "COSTEFF_TUNED";  // set in the process that tune_process started

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  for (const std::string_view other : words) {
    if (word == other) return true;
  }
  return false;
}

// The kernel set that OpenBLAS should have chosen, or null where its own choice uses what the processor has.
const char* better_blas_kernels() {
  const std::string_view chosen = openblas_get_corename();
  if (is_one_of(chosen, {"SkylakeX", "Cooperlake", "SapphireRapids"})) return nullptr;
  if (__builtin_cpu_supports("x86-64-v4"))
    return __builtin_cpu_supports("avx512bf16") ? "COOPERLAKE" : "SKYLAKEX";
  if (is_one_of(chosen, {"Haswell", "Zen"})) return nullptr;
  return __builtin_cpu_supports("x86-64-v3") ? "HASWELL" : nullptr;
}

// Sets a variable that the user did not; whether it is new.
bool set_missing(const char* name, const char* value) {
  return value != nullptr && std::getenv(name) == nullptr && setenv(name, value, 1) == 0;
}

}  // namespace

void tune_process(char** argv) {
  if (std::getenv(kTuned) != nullptr) {
    unsetenv(kTuned);  // programs that this one starts choose for themselves
    return;
  }
  bool changed = set_missing("OPENBLAS_CORETYPE", better_blas_kernels());
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) changed |= set_missing("GOMP_SPINCOUNT", kSpinCount);
  if (!changed || setenv(kTuned, "1", 1) != 0) return;
  char program[4096];
  const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  if (length > 0) {
    program[length] = '\0';
    execv(program, argv);  // by its own name, which is what ps and pkill know it by
  }
  execv("/proc/self/exe", argv);
  unsetenv(kTuned);  // not to be had: it runs as it is, only slower
}

void set_threads(int threads) {
  if (threads < 1) fail("{} threads: there must be at least 1", threads);
  omp_set_num_threads(threads);
  openblas_set_num_threads(threads);
  const int taken = openblas_get_num_threads();
  if (taken != threads) fail("OpenBLAS was asked to use {} threads and uses {}", threads, taken);
}

int threads() {
  return omp_get_max_threads();
}

int available_cores() {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) != 0) return omp_get_num_procs();
  return CPU_COUNT(&cores);
}

CpuInfo cpu_info() {
  CpuInfo info;
  info.processor = processor_name();
  switch (best_isa()) {
    case Isa::v2:
      info.isa = "x86-64-v2 (SSE4.2)";
      break;
    case Isa::v3:
      info.isa = "x86-64-v3 (AVX2)";
      break;
    case Isa::v4:
      info.isa = "x86-64-v4 (AVX-512)";
      break;
  }
  const std::string config = openblas_get_config();  // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ..."
  info.blas = config.substr(0, config.find(' ', config.find(' ') + 1));
  info.blas_kernels = openblas_get_corename();
  info.blas_threads = openblas_get_num_threads();
  return info;
}

}  // namespace costeff
