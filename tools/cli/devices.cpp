// costeff devices: what this machine computes with.
#include <unistd.h>

#include <string>

#include "costeff/train/run_folder.h"
#include "tensor/backend.h"
#include "tensor/cuda/runtime.h"
#include "tools/cli/commands.h"
#include "tools/cli/model_options.h"
#include "tools/cli/options.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

std::int64_t memory_bytes() {
  return static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<std::int64_t>(sysconf(_SC_PAGESIZE));
}

double gib(std::size_t bytes) {
  return static_cast<double>(bytes) / 1073741824.0;
}

Json cuda_json() {
  if (!cuda::unavailable().empty()) return nullptr;
  Json list = Json::array();
  for (const cuda::DeviceInfo& d : cuda::devices()) {
    list.push_back({{"name", d.name},
                    {"compute_capability", fmt::format("{}.{}", d.major, d.minor)},
                    {"memory_bytes", d.memory},
                    {"free_memory_bytes", d.free_memory},
                    {"multiprocessors", d.multiprocessors},
                    {"driver", d.driver},
                    {"runtime", d.runtime}});
  }
  return list;
}

std::string cuda_text() {
  if (const std::string reason = cuda::unavailable(); !reason.empty())
    return fmt::format("cuda      {}\n", reason);
  const auto version = [](int v) { return fmt::format("{}.{}", v / 1000, v % 1000 / 10); };
  std::string text;
  int index = 0;
  for (const cuda::DeviceInfo& d : cuda::devices()) {
    text += fmt::format(
        "cuda:{}    {}\n"
        "  memory  {:.1f} GiB, {:.1f} GiB of it free\n"
        "  kernels compute capability {}.{}, {} multiprocessors\n"
        "  driver  for CUDA {}, runtime {}\n",
        index++, d.name, gib(d.memory), gib(d.free_memory), d.major, d.minor, d.multiprocessors,
        version(d.driver), version(d.runtime));
  }
  return text;
}

}  // namespace

int run_devices(const Invocation& invocation) {
  bool json = false;
  Options options("costeff devices [options]", "Says what this machine computes with.");
  options.group("Output");
  options.flag("json", &json, "one JSON object");
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  use_threads(0);

  const CpuInfo info = cpu_info();
  const std::int64_t memory = memory_bytes();
  if (json) {
    const Json out{{"cpu",
                    {{"processor", info.processor},
                     {"cores", available_cores()},
                     {"memory_bytes", memory},
                     {"kernels", info.isa},
                     {"blas", info.blas},
                     {"blas_kernels", info.blas_kernels},
                     {"blas_threads", info.blas_threads}}},
                   {"cuda", cuda_json()},
                   {"cuda_unavailable", cuda::unavailable()}};
    write_output(out.dump() + "\n");
    return 0;
  }
  write_output(fmt::format("cpu       {}\n"
                           "  cores   {} that this process may use\n"
                           "  memory  {:.1f} GiB\n"
                           "  kernels {}\n"
                           "  matmul  {}, {} kernels, {} threads\n",
                           info.processor, available_cores(), gib(static_cast<std::size_t>(memory)), info.isa,
                           info.blas, info.blas_kernels, info.blas_threads) +
               cuda_text());
  return 0;
}

}  // namespace costeff
