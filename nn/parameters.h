// The parameters of a model: named tensors in one flat buffer, their gradients in another of the same layout.
//
// Norm, optimiser and checkpoint are then single passes over long runs. The buffer holds tables read by rows
// first, then weights that decay, then biases and LayerNorm parameters, which do not.
#pragma once

#include <deque>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "autograd/parameter.h"
#include "nn/weight_role.h"

namespace costeff {

// A tensor as checkpoints have it: a parameter, or a run of rows of a stacked one.
struct NamedTensor {
  std::string name;
  WeightRole role;
  Parameter* parameter = nullptr;
  std::int64_t begin = 0;  // rows of the parameter
  std::int64_t end = 0;

  Tensor value() const { return parameter->value.slice(begin, end); }
  Tensor gradient() const { return parameter->gradient.slice(begin, end); }
};

class ParameterStore {
 public:
  explicit ParameterStore(DType dtype, Device device = kCpu) : dtype_(dtype), device_(device) {}
  ParameterStore(const ParameterStore&) = delete;
  ParameterStore& operator=(const ParameterStore&) = delete;

  // ---- declaring, before allocate(). The reference stays valid. Throws Error on a name that stands twice.
  Parameter& add(std::string name, const Shape& shape, const WeightRole& role = {});
  // Several tensors of the same row length as one, so that one matrix product computes them: each of `parts`,
  // with name and role, has as many of the rows.
  Parameter& add_stacked(std::string name, const Shape& shape, std::span<const NamedTensor> parts);
  // A table of which a batch reads few rows: its gradient and its optimiser state are kept by rows.
  Parameter& add_table(std::string name, const Shape& shape, const WeightRole& role = {});
  void allocate();            // values, uninitialised, once
  void allocate_gradients();  // and gradients, when the model is to be trained
  // Moves values, in one transfer, and gradients. Tensors that were handed out stay where they were.
  void to(Device device);

  // ---- use
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  std::int64_t count() const;                                        // elements of all parameters
  std::span<Parameter* const> parameters() const { return order_; }  // in the order of the flat buffer
  std::span<const NamedTensor> named() const { return named_; }      // in declaration order
  // Of this name or role. Throws Error when there is none.
  const NamedTensor& find(std::string_view name) const;
  const NamedTensor& find(const WeightRole& role) const;
  const WeightRole& role(const Parameter& parameter) const;  // of a stacked one: its first part's
  const Tensor& values() const { return values_; }
  std::int64_t offset(const Parameter& parameter) const;  // of its first element in the flat buffer
  void freeze(const std::function<bool(const WeightRole& role)>& which);

  // Forgets gradients, so that the next backward writes instead of adding.
  void clear_gradients() const;

 private:
  void place_values();
  void place_gradients();

  DType dtype_;
  Device device_;
  std::deque<Parameter> parameters_;
  std::deque<Shape> shapes_;
  std::vector<NamedTensor> named_;
  std::vector<Parameter*> order_;
  Tensor values_;
  Tensor gradients_;
};

// A run of neighbouring parameters in the flat buffer that are treated alike.
struct ParameterRun {
  Parameter* first = nullptr;
  std::int64_t begin = 0;  // elements of the flat buffer
  std::int64_t end = 0;
  bool decays = false;
  bool fixed = false;
};

// Calls f with each maximal run of dense parameters that have a gradient, in order.
template <class F>
void for_each_run(const ParameterStore& store, F&& f) {
  ParameterRun run;
  for (Parameter* p : store.parameters()) {
    const bool in = p->has_gradient && !p->by_rows;
    const std::int64_t begin = store.offset(*p);
    if (run.first != nullptr &&
        (!in || begin != run.end || p->decays != run.decays || p->fixed != run.fixed)) {
      f(run);
      run.first = nullptr;
    }
    if (!in) continue;
    if (run.first == nullptr) run = {p, begin, begin, p->decays, p->fixed};
    run.end = begin + p->value.numel();
  }
  if (run.first != nullptr) f(run);
}

// Fills a tensor with normal numbers of the given standard deviation: a function of seed and name alone.
void initialise_normal(const Tensor& tensor, std::string_view name, double deviation, std::uint64_t seed);

}  // namespace costeff
