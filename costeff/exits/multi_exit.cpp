#include "costeff/exits/multi_exit.h"

namespace costeff {
namespace {

// s1 = 1/(L-k+1) on h_k, before anything reads it.
Variable rescale_state(Forward& forward, const Variable& state, std::int64_t k, std::int64_t layers) {
  const Scope scope(forward.tape(), kRescaledState.name,
                    {.layer = static_cast<std::int32_t>(k), .part = &kRescaledState});
  return gradient_rescale(state, 1.0 / static_cast<double>(layers - k + 1));
}

// s2 = L-k on the branch from h_k to layer k+1.
Variable rescale_branch(Forward& forward, const Variable& state, std::int64_t k, std::int64_t layers) {
  const Scope scope(forward.tape(), kRescaledBranch.name,
                    {.layer = static_cast<std::int32_t>(k), .part = &kRescaledBranch});
  return gradient_rescale(state, static_cast<double>(layers - k));
}

}  // namespace

TokenBatch token_batch(const Batch& batch) {
  const Shape rows{static_cast<std::int64_t>(batch.tokens())};
  return {Tensor::from(std::span(batch.ids), rows), Tensor::from(std::span(batch.token_types), rows),
          Tensor::from(std::span(batch.positions), rows), make_layout(batch.offsets, batch.lengths)};
}

MultiExitOutputs multi_exit(const Bert& model, Forward& forward, const TokenBatch& batch, bool equalise) {
  const std::int64_t layers = model.config().layers();
  MultiExitOutputs out;
  out.first = model.config().first_exit();
  out.logits.reserve(static_cast<std::size_t>(layers));
  out.hidden.reserve(static_cast<std::size_t>(layers + 1));
  out.hidden.push_back(model.embed(forward, batch));
  Variable input = out.hidden.back();
  for (std::int64_t k = 1; k <= layers; ++k) {
    Variable state = model.layer(forward, k, input, batch.layout);
    if (equalise) state = rescale_state(forward, state, k, layers);
    out.hidden.push_back(state);
    if (k >= out.first) out.logits.push_back(model.exit_logits(forward, k, out.hidden, batch.layout));
    input = equalise && k < layers ? rescale_branch(forward, state, k, layers) : state;
  }
  return out;
}

}  // namespace costeff
