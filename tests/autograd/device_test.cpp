// Every operation on a device that is not the CPU: the mock's kernels are the CPU's, so outputs and gradients
// are the same bits, and each call of a kernel has its contract checked.
#include "tests/autograd/gradient_cases.h"
#include "tests/mock/mock.h"

namespace costeff {
namespace {

using namespace testing;
using mock::kMock;

TEST(OperationsOnADevice, GiveTheSameBits) {
  mock::install();
  for (const GradientCase& c : gradient_cases()) {
    SCOPED_TRACE(c.op + " " + c.what);
    std::vector<Tensor> there;
    for (const Tensor& input : c.inputs) there.push_back(input.to(kMock));
    const Outcome a = run(c.function, c.inputs);
    Outcome b;
    EXPECT_NO_THROW(b = run(c.function, there));
    if (!b.value.defined()) continue;
    EXPECT_EQ(b.value.device(), kMock);
    expect_equal(b.value, a.value);
    for (std::size_t i = 0; i < c.inputs.size(); ++i) {
      if (a.gradients[i].defined()) expect_equal(b.gradients[i], a.gradients[i]);
    }
  }
}

// Scalars are sums and products of scalars: their gradients are on the CPU.
TEST(OperationsOnADevice, NoRuleOfALossWaits) {
  mock::install();
  Tape tape;
  const Variable x = tape.leaf(random_tensor({4, 3}, 1).to(kMock), "x");
  const Variable loss =
      add(scale(cross_entropy(x, indices({0, 1, 2, 0})), 0.5),
          add(mean(x), weighted_squared_error(x, detach(tanh(x)), random_tensor({4}, 2).to(kMock))));
  const mock::Counts before = mock::counts();
  const Gradients gradients = tape.backward(gradient_rescale(loss, 2));
  EXPECT_EQ(mock::counts().copies_out, before.copies_out);
  EXPECT_EQ(gradients.of(x).device(), kMock);
}

}  // namespace
}  // namespace costeff
