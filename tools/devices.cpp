// costeff devices: what this machine computes with.
#include <unistd.h>

#include <string>

#include "costeff/run_folder.h"
#include "tensor/backend.h"
#include "tools/commands.h"
#include "tools/model_options.h"
#include "tools/options.h"
#include "tools/streams.h"

namespace costeff {
namespace {

std::int64_t memory_bytes() {
  return static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<std::int64_t>(sysconf(_SC_PAGESIZE));
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
                   {"cuda", nullptr}};
    write_output(out.dump() + "\n");
    return 0;
  }
  write_output(
      fmt::format("cpu       {}\n"
                  "  cores   {} that this process may use\n"
                  "  memory  {:.1f} GiB\n"
                  "  kernels {}\n"
                  "  matmul  {}, {} kernels, {} threads\n"
                  "cuda      not in this build\n",
                  info.processor, available_cores(), static_cast<double>(memory) / 1073741824.0, info.isa,
                  info.blas, info.blas_kernels, info.blas_threads));
  return 0;
}

}  // namespace costeff
