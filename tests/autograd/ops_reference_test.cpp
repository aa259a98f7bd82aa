// Single operations against PyTorch: ops.safetensors of the reference folder, forward and gradients, wide
// values and near-constant rows included.
#include <map>
#include <set>

#include "nn/safetensors.h"
#include "tests/autograd/support.h"
#include "tests/device.h"
#include "tests/support.h"

namespace costeff {
namespace {

using namespace testing;

using Inputs = std::span<const Variable>;

Tensor read(const SafetensorsFile& file, const std::string& name, DType dtype) {
  const std::vector<std::int64_t>& sizes = file.info(name).shape;
  Shape shape;
  for (auto size = sizes.rbegin(); size != sizes.rend(); ++size) {
    Shape longer = shape;
    switch (shape.rank()) {
      case 0:
        longer = {*size};
        break;
      case 1:
        longer = {*size, shape[0]};
        break;
      case 2:
        longer = {*size, shape[0], shape[1]};
        break;
      default:
        longer = {*size, shape[0], shape[1], shape[2]};
    }
    shape = longer;
  }
  const Tensor t = Tensor::empty(shape, DType::f64);
  file.read_f64(name, t.data<double>(), t.numel());
  return t.to(dtype).to(test_device());
}

// The labels and the teacher that the reference was made with are no tensors of the file: its README's
// program fixes the labels, and the teacher is the logits with their rows in reverse order.
Variable hard_loss(Inputs x) {
  constexpr std::int32_t kLabels[] = {0, 2, 1, 1, 0, 2};
  return cross_entropy(x[0], Tensor::from<std::int32_t>(kLabels, {6}));
}

Variable soft_loss(Inputs x) {
  const Tensor& z = x[0].value();
  const Tensor teacher = Tensor::empty(z.shape(), z.dtype(), z.device());
  const std::int64_t rows = z.shape()[0];
  for (std::int64_t i = 0; i < rows; ++i) teacher.slice(i, i + 1).copy_from(z.slice(rows - 1 - i, rows - i));
  return soft_cross_entropy(x[0], teacher, 2);
}

const std::map<std::string, Function> kFunctions = {
    {"gelu", [](Inputs x) { return gelu(x[0]); }},
    {"tanh", [](Inputs x) { return tanh(x[0]); }},
    {"softmax", [](Inputs x) { return softmax(x[0]); }},
    {"log_softmax", [](Inputs x) { return log_softmax(x[0]); }},
    {"layer_norm", [](Inputs x) { return layer_norm(x[0], x[1], x[2], 1e-12); }},
    {"linear", [](Inputs x) { return linear(x[0], x[1], x[2]); }},
    {"matmul", [](Inputs x) { return matmul(x[0], x[1]); }},
    {"cross_entropy", hard_loss},
    {"soft_cross_entropy", soft_loss},
    {"mse", [](Inputs x) { return mean_squared_error(x[0], x[1]); }},
    {"diamond", [](Inputs x) { return add(add(x[0], x[1]), x[0]); }},
};

Outcome compute_from(const SafetensorsFile& file, const std::string& op, DType dtype, DType rounded_to) {
  Tape tape;
  std::vector<Variable> inputs;
  const auto name = [&](std::size_t i) { return "in/" + op + "." + std::to_string(i); };
  while (file.contains(name(inputs.size())))
    inputs.push_back(tape.leaf(read(file, name(inputs.size()), rounded_to).to(dtype), "input"));
  const Variable y = kFunctions.at(op)(inputs);
  const Root root[] = {{y, read(file, "in/" + op + ".cotangent", rounded_to).to(dtype)}};
  const Gradients g = tape.backward(root);
  Outcome outcome{y.value(), {}};
  for (const Variable& input : inputs) outcome.gradients.push_back(g.of(input));
  return outcome;
}

std::set<std::string> names_in(const SafetensorsFile& file) {
  std::set<std::string> ops;
  for (const std::string& name : file.names()) {
    if (name.starts_with("in/")) ops.insert(name.substr(3, name.rfind('.') - 3));
  }
  return ops;
}

class OpsReference : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto folder = reference_folder();
    COSTEFF_SKIP_WITHOUT(folder);
    file_.emplace((*folder / "ops.safetensors").string());
  }

  std::optional<SafetensorsFile> file_;
};

TEST_F(OpsReference, EveryOperationOfTheFileIsKnown) {
  const std::set<std::string> names = names_in(*file_);
  EXPECT_FALSE(names.empty());
  for (const std::string& name : names) EXPECT_TRUE(kFunctions.contains(name)) << name;
}

TEST_F(OpsReference, F64) {
  for (const std::string& op : names_in(*file_)) {
    const Outcome actual = compute_from(*file_, op, DType::f64, DType::f64);
    expect_close(actual.value, read(*file_, "out/" + op, DType::f64), 1e-10, op);
    for (std::size_t i = 0; i < actual.gradients.size(); ++i) {
      const std::string name = "out/" + op + ".grad." + std::to_string(i);
      expect_close(actual.gradients[i], read(*file_, name, DType::f64), 1e-10, name);
    }
  }
}

// Near-constant rows magnify the rounding of their inputs to f32, so f32 is held against the operation in
// f64, which the test above holds against the reference, of the same rounded inputs.
TEST_F(OpsReference, F32) {
  for (const std::string& op : names_in(*file_)) {
    const Outcome actual = compute_from(*file_, op, DType::f32, DType::f32);
    const Outcome expected = compute_from(*file_, op, DType::f64, DType::f32);
    expect_close(actual.value, expected.value, 1e-5, op);
    for (std::size_t i = 0; i < actual.gradients.size(); ++i) {
      expect_close(actual.gradients[i], expected.gradients[i], 1e-5, op + ".grad." + std::to_string(i));
    }
  }
}

}  // namespace
}  // namespace costeff
