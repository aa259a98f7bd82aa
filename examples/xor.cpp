// A network with one hidden layer learns exclusive or, and prints the tape of its last step.
#include <fmt/format.h>

#include "autograd/print.h"
#include "nn/modules.h"
#include "nn/optimizer.h"

int main() {
  using namespace costeff;
  ParameterStore parameters(DType::f32);
  const Linear hidden(parameters, {"hidden"}, 2, 8);
  const Linear output(parameters, {"output"}, 8, 2);
  parameters.allocate();
  parameters.allocate_gradients();
  for (const NamedTensor& p : parameters.named()) initialise_normal(p.value(), p.name, 0.8, 1);

  const float inputs[] = {0, 0, 0, 1, 1, 0, 1, 1};
  const std::int32_t answers[] = {0, 1, 1, 0};
  const Tensor x = Tensor::from<float>(inputs, {4, 2});
  const Tensor y = Tensor::from<std::int32_t>(answers, {4});
  AdamW adam(parameters, {.weight_decay = 0});
  Tape tape;
  double loss = 1;
  for (int step = 0; step < 500; ++step) {
    tape.clear();
    const Forward forward(tape);
    const Variable logits = output(forward, tanh(hidden(forward, x)));
    const Variable error = cross_entropy(logits, y);
    parameters.clear_gradients();
    tape.backward(error, {.into_parameters = true});
    adam.step(0.02);
    loss = error.value().item();
  }
  fmt::print("{}\nloss {:.4f}: xor {}\n", tape_text(tape), loss, loss < 0.01 ? "learned" : "not learned");
}
