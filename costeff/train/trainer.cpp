#include "costeff/train/trainer.h"

#include <cmath>
#include <numeric>

#include "costeff/exits/multi_exit.h"
#include "nn/safetensors.h"
#include "tensor/error.h"

namespace costeff {
namespace {

constexpr const char* kStateFile = "/training.safetensors";

// The three flat buffers that a resumed run needs.
struct Buffer {
  const char* name;
  Tensor tensor;
};

std::array<Buffer, 3> buffers(const ParameterStore& parameters, const AdamW& optimizer) {
  return {{{"weights", parameters.values()},
           {"first_moments", optimizer.first_moments()},
           {"second_moments", optimizer.second_moments()}}};
}

}  // namespace

Trainer::Trainer(ParameterStore& parameters, const TrainerOptions& options)
    : parameters_(parameters), options_(options), optimizer_(parameters, options.adam) {
  parameters_.allocate_gradients();
  tape_.check_finite = options.check_finite;
}

StepReport Trainer::step(std::span<const Batch> micro_batches, const Loss& loss, const Inspect& inspect) {
  std::size_t sequences = 0;
  for (const Batch& b : micro_batches) sequences += b.sequences();
  const std::int64_t now = optimizer_.steps();
  StepReport report;
  parameters_.clear_gradients();
  for (std::size_t i = 0; i < micro_batches.size(); ++i) {
    const Batch& batch = micro_batches[i];
    const TokenBatch tokens = token_batch(batch);
    optimizer_.catch_up(tokens.ids);
    // Each micro-batch draws masks of its own: its number goes with the seed.
    Forward forward(tape_, options_.seed + (static_cast<std::uint64_t>(i) << 32),
                    static_cast<std::uint32_t>(now), options_.precision);
    const Variable value = loss(forward, batch, tokens);
    const double share = static_cast<double>(batch.sequences()) / static_cast<double>(sequences);
    const Root root{value, Tensor::scalar(share, value.dtype())};
    tape_.backward(std::span(&root, 1), {.into_parameters = true});
    report.loss += share * value.value().item();  // waits for the device, which has its work by now
    if (inspect) inspect(tape_, value);
    tape_.clear();
    report.tokens += std::accumulate(batch.lengths.begin(), batch.lengths.end(), std::int64_t{0});
  }
  require_gradients(parameters_.parameters());
  report.gradient_norm = gradient_norm(parameters_);
  if (!std::isfinite(report.loss) || !std::isfinite(report.gradient_norm)) {
    fail(
        "step {} of this phase: the loss is {} and the gradient's norm {}; check_finite names the first "
        "operation "
        "that went wrong",
        now + 1, report.loss, report.gradient_norm);
  }
  report.clip_scale = clip_scale(report.gradient_norm, options_.max_norm);
  report.learning_rate = options_.learning_rate * warmup_linear(now, options_.warmup, options_.total);
  optimizer_.step(report.learning_rate, report.clip_scale);
  return report;
}

void Trainer::save(const std::string& folder) {
  flush();
  std::vector<SafetensorsEntry> entries;
  std::array<Buffer, 3> on_host = buffers(parameters_, optimizer_);
  for (Buffer& b : on_host) {
    b.tensor = b.tensor.to(kCpu);
    entries.push_back(entry_of(b.name, b.tensor));
  }
  write_safetensors(folder + kStateFile, entries, {},
                    parameters_.dtype() == DType::f64 ? SaveDType::f64 : SaveDType::f32);
}

void Trainer::restore(const std::string& folder, std::int64_t steps) {
  const SafetensorsFile file(folder + kStateFile);
  for (const Buffer& b : buffers(parameters_, optimizer_)) file.read(b.name, b.tensor);
  optimizer_.restore(steps);
}

}  // namespace costeff
