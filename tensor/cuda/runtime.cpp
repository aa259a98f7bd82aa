// Devices, their streams, scratch memory and cuBLAS handles, and what failing calls say.
#include "tensor/cuda/runtime.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mutex>

#include "tensor/cuda/blas.h"
#include "tensor/cuda/table.h"
#include "tensor/error.h"

namespace costeff::cuda {
namespace {

constexpr int kMostDevices = 64;
constexpr std::size_t kBlasWorkspace = std::size_t{32} << 20;  // what NVIDIA advises on Hopper

thread_local int used = 0;  // the device that this thread's kernels run on

void use(int index) {
  check(cudaSetDevice(index), "cudaSetDevice");
  used = index;
}

// Uses a device for as long as it lives, then again the one before.
class Using {
 public:
  explicit Using(int index) : before_(used) { use(index); }
  ~Using() {
    if (cudaSetDevice(before_) == cudaSuccess) used = before_;
  }
  Using(const Using&) = delete;
  Using& operator=(const Using&) = delete;

 private:
  int before_;
};

struct Memory : DeviceMemory {
  int index = 0;
  cudaStream_t work = nullptr;
  cublasHandle_t blas = nullptr;

  void* allocate(std::size_t bytes) override {
    const Using device(index);
    void* data = nullptr;
    const cudaError_t result = cudaMalloc(&data, bytes == 0 ? 1 : bytes);
    if (result == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // it would be reported by the next launch
      return nullptr;
    }
    check(result, "cudaMalloc");
    return data;
  }
  void release(void* data) noexcept override {
    cudaFree(data);  // waits for the device; at the end of the process the driver may be gone
  }
  void copy_in(void* device, const void* host, std::size_t bytes) override {
    copy(device, host, bytes, cudaMemcpyHostToDevice);  // of pageable memory: returns when it has been read
  }
  void copy_out(void* host, const void* device, std::size_t bytes) override {
    copy(host, device, bytes, cudaMemcpyDeviceToHost);
    synchronise();
  }
  void copy_within(void* to, const void* from, std::size_t bytes) override {
    copy(to, from, bytes, cudaMemcpyDeviceToDevice);
  }
  void zero(void* device, std::size_t bytes) override {
    const Using using_device(index);
    check(cudaMemsetAsync(device, 0, bytes, work), "cudaMemsetAsync");
  }
  void synchronise() override {
    const Using device(index);
    check(cudaStreamSynchronize(work), "cudaStreamSynchronize");
  }

 private:
  void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
    if (bytes == 0) return;
    const Using device(index);
    check(cudaMemcpyAsync(to, from, bytes, kind, work), "cudaMemcpyAsync");
  }
};

void check_blas(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) fail("CUDA: {}: {}", call, blas_library().status_string(status));
}

void set_up(Memory& device, int index) {
  const Using using_device(index);
  device.index = index;
  check(cudaStreamCreateWithFlags(&device.work, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  const BlasLibrary& library = blas_library();
  check_blas(library.create(&device.blas), "cublasCreate");
  check_blas(library.set_stream(device.blas, device.work), "cublasSetStream");
  void* workspace = nullptr;
  check(cudaMalloc(&workspace, kBlasWorkspace), "cudaMalloc of cuBLAS's workspace");
  check_blas(library.set_workspace(device.blas, workspace, kBlasWorkspace), "cublasSetWorkspace");
  check_blas(library.set_math_mode(device.blas, CUBLAS_DEFAULT_MATH), "cublasSetMathMode");
}

// Devices live as long as the process: the driver goes before static objects do.
Memory& device_of(int index) {
  static auto& devices = *new std::array<std::atomic<Memory*>, kMostDevices>{};
  static std::mutex& mutex = *new std::mutex;
  if (index >= 0 && index < kMostDevices) {
    if (Memory* known = devices[static_cast<std::size_t>(index)].load(std::memory_order_acquire))
      return *known;
  }
  const std::string reason = unavailable();
  if (!reason.empty()) fail("{}", reason);
  int count = 0;
  check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  if (index < 0 || index >= std::min(count, kMostDevices))
    fail("there is no GPU {}: this machine has {}, counted from 0", index, count);
  const std::lock_guard lock(mutex);
  std::atomic<Memory*>& device = devices[static_cast<std::size_t>(index)];
  if (Memory* known = device.load(std::memory_order_acquire)) return *known;
  auto made = std::make_unique<Memory>();
  set_up(*made, index);
  device.store(made.get(), std::memory_order_release);
  return *made.release();
}

Memory& used_device() {
  return device_of(used);
}

// Scratch of one thread on one device. Threads share a stream, not this: their kernels may alternate.
struct Scratch {
  void* data = nullptr;
  std::size_t bytes = 0;
  ~Scratch() { cudaFree(data); }
};

std::string why_unavailable() {
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result != cudaSuccess || count == 0) {
    cudaGetLastError();
    if (result == cudaErrorInsufficientDriver)
      return "no CUDA device: there is no NVIDIA driver, or one older than CUDA 13 needs (nvidia-smi shows "
             "it)";
    return fmt::format("no CUDA device: {}",
                       cudaGetErrorString(result == cudaSuccess ? cudaErrorNoDevice : result));
  }
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  const bool runs = properties.major == 8 || (properties.major == 9 && properties.minor == 0);
  if (!runs) {
    return fmt::format(
        "no CUDA device that this build has kernels for: {} has compute capability {}.{}, they are compiled "
        "for 8.x and 9.0",
        properties.name, properties.major, properties.minor);
  }
  return blas_library().missing;
}

template <class T>
Kernels<T> make_table() {
  Kernels<T> k{};
  fill_gemm(k);
  fill_families(k);
  return k;
}

template <class T>
const Kernels<T>& kernels_of(int index) {
  static const Kernels<T> table = make_table<T>();
  device_of(index);
  use(index);
  return table;
}

}  // namespace

std::string unavailable() {
  static const std::string reason = why_unavailable();
  return reason;
}

std::vector<DeviceInfo> devices() {
  if (!unavailable().empty()) return {};
  int count = 0;
  check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  std::vector<DeviceInfo> found;
  found.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) {
    const Using device(i);
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, i), "cudaGetDeviceProperties");
    DeviceInfo info{.name = properties.name,
                    .major = properties.major,
                    .minor = properties.minor,
                    .multiprocessors = properties.multiProcessorCount};
    check(cudaMemGetInfo(&info.free_memory, &info.memory), "cudaMemGetInfo");
    check(cudaDriverGetVersion(&info.driver), "cudaDriverGetVersion");
    check(cudaRuntimeGetVersion(&info.runtime), "cudaRuntimeGetVersion");
    found.push_back(info);
  }
  return found;
}

DeviceMemory& memory(int index) {
  return device_of(index);
}

template <>
const Kernels<float>& kernels<float>(int index) {
  return kernels_of<float>(index);
}
template <>
const Kernels<double>& kernels<double>(int index) {
  return kernels_of<double>(index);
}

cudaStream_t stream() {
  return used_device().work;
}

cublasHandle_t blas() {
  return used_device().blas;
}

std::mutex& blas_mutex() {
  static std::mutex& mutex = *new std::mutex;
  return mutex;
}

void check_gemm(cublasStatus_t status, const ProductSizes& s) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail("CUDA: gemm {} x {} x {} (a{} with rows of {}, b{} of {}) failed on GPU {}: {}", s.m, s.n, s.k,
       s.trans_a ? "^T" : "", s.lda, s.trans_b ? "^T" : "", s.ldb, used,
       blas_library().status_string(status));
}

void* scratch(std::size_t bytes) {
  thread_local std::array<Scratch, kMostDevices> of_devices;
  Scratch& s = of_devices[static_cast<std::size_t>(used)];
  if (bytes > s.bytes) {
    check(cudaStreamSynchronize(stream()), "cudaStreamSynchronize");
    check(cudaFree(s.data), "cudaFree");
    s.data = nullptr;
    s.bytes = 0;
    const std::size_t grown = (bytes + bytes / 4 + 255) / 256 * 256;
    check(cudaMalloc(&s.data, grown), "cudaMalloc of kernels' scratch memory");
    s.bytes = grown;
  }
  return s.data;
}

void check(cudaError_t result, const char* call) {
  if (result != cudaSuccess)
    fail("CUDA: {} failed on GPU {}: {} ({})", call, used, cudaGetErrorString(result),
         cudaGetErrorName(result));
}

void check_launch(cudaError_t result, const char* kernel, const Launch& launch) {
  if (result == cudaSuccess) result = cudaGetLastError();
  if (result == cudaSuccess) return;
  fail(
      "CUDA: kernel {} failed on GPU {}, {} x {} x {} blocks of {} threads with {} bytes of shared memory: "
      "{} ({})",
      kernel, used, launch.grid_x, launch.grid_y, launch.grid_z, launch.threads, launch.shared,
      cudaGetErrorString(result), cudaGetErrorName(result));
}

}  // namespace costeff::cuda
