#include "nn/optimizer.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "tensor/backend.h"
#include "tensor/error.h"

namespace costeff {
namespace {

// Put-off steps are taken by all rows once there are this many of them, which bounds their list.
constexpr std::size_t kMostWaiting = 4096;

}  // namespace

AdamW::AdamW(ParameterStore& store, const AdamWOptions& options)
    : store_(store),
      options_(options),
      m_(Tensor::zeros(store.values().shape(), store.dtype(), store.values().device())),
      v_(Tensor::zeros(store.values().shape(), store.dtype(), store.values().device())) {
  for (Parameter* p : store.parameters()) {
    if (!p->by_rows) continue;
    const std::int64_t rows = p->value.shape()[0];
    Table& table = tables_.emplace_back();
    table.parameter = p;
    table.offset = store.offset(*p);
    table.behind.assign(static_cast<std::size_t>(rows), 0);
    table.waiting.reserve(kMostWaiting);
    table.wanted = RowSet(rows);
  }
}

math::AdamStep AdamW::scalars(double learning_rate, double gradient_scale, bool decays) const {
  const auto t = static_cast<double>(steps_);
  const double bias1 = 1 - std::pow(options_.beta1, t);
  const double bias2 = 1 - std::pow(options_.beta2, t);
  const bool torch = options_.variant == AdamVariant::torch;
  return {.beta1 = options_.beta1,
          .beta2 = options_.beta2,
          .epsilon = options_.epsilon,
          .decay = decays ? 1 - learning_rate * options_.weight_decay : 1,
          .step_size = torch ? learning_rate / bias1 : learning_rate * std::sqrt(bias2) / bias1,
          .inv_sqrt_bias2 = torch ? 1 / std::sqrt(bias2) : 1,
          .gradient_scale = gradient_scale,
          .decay_first = torch};
}

void AdamW::step(double learning_rate, double gradient_scale) {
  ++steps_;
  dispatch(store_.dtype(), [&](auto element) {
    using T = decltype(element);
    const Kernels<T>& k = kernels<T>(m_.device());
    for_each_run(store_, [&](const ParameterRun& run) {
      if (run.fixed) return;
      k.adamw(run.end - run.begin, scalars(learning_rate, gradient_scale, run.decays),
              run.first->value.data<T>(), run.first->gradient.data<T>(), m_.data<T>() + run.begin,
              v_.data<T>() + run.begin);
    });
  });
  for (Table& table : tables_) {
    if (table.parameter->has_gradient && !table.parameter->fixed)
      step_table(table, scalars(learning_rate, gradient_scale, table.parameter->decays));
  }
}

void AdamW::step_table(Table& table, const math::AdamStep& step) {
  Parameter& p = *table.parameter;
  catch_up(table, p.touched);
  dispatch(store_.dtype(), [&](auto element) {
    using T = decltype(element);
    const Tensor& index = p.touched.on(m_.device());
    kernels<T>(m_.device())
        .adamw_rows(index.numel(), p.value.shape()[1], index.data<std::int32_t>(), step, p.value.data<T>(),
                    p.gradient.data<T>(), m_.data<T>() + table.offset, v_.data<T>() + table.offset);
  });
  table.waiting.push_back(step);
  for (const std::int32_t row : p.touched.rows()) {
    table.behind[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(table.waiting.size());
  }
  if (table.waiting.size() == kMostWaiting) catch_up_all(table);
}

void AdamW::catch_up(Table& table, const RowSet& set) {
  if (table.waiting.empty()) return;
  const CachedVector<std::int32_t>& rows = set.rows();
  const Parameter& p = *table.parameter;
  const auto count = static_cast<std::int32_t>(table.waiting.size());
  const auto waits = [&](std::int32_t row) { return table.behind[static_cast<std::size_t>(row)] < count; };
  if (std::none_of(rows.begin(), rows.end(), waits)) return;
  const math::AdamStep* steps = table.waiting.data();
  std::int32_t* behind = table.behind.data();
  if (m_.device() != kCpu) std::tie(steps, behind) = copy_book(table);
  dispatch(store_.dtype(), [&](auto element) {
    using T = decltype(element);
    const Tensor& index = set.on(m_.device());
    kernels<T>(m_.device())
        .adamw_catch_up(index.numel(), p.value.shape()[1], index.data<std::int32_t>(), steps, count, behind,
                        p.value.data<T>(), m_.data<T>() + table.offset, v_.data<T>() + table.offset);
  });
  for (const std::int32_t row : rows) table.behind[static_cast<std::size_t>(row)] = count;
}

// The device's copies of a table's `waiting` and `behind`, brought up to date: of the former what is new.
std::pair<const math::AdamStep*, std::int32_t*> AdamW::copy_book(Table& table) const {
  static_assert(sizeof(math::AdamStep) % sizeof(double) == 0);
  const Device device = m_.device();
  const auto rows = static_cast<std::int64_t>(table.behind.size());
  if (!table.behind_there.defined()) {
    constexpr std::size_t kNumbers = sizeof(math::AdamStep) / sizeof(double);
    table.behind_there = Tensor::empty({rows}, DType::i32, device);
    table.waiting_there =
        Tensor::empty({static_cast<std::int64_t>(kMostWaiting * kNumbers)}, DType::f64, device);
  }
  DeviceMemory& memory = device_memory(device);
  auto* steps = static_cast<math::AdamStep*>(table.waiting_there.raw());
  memory.copy_in(table.behind_there.raw(), table.behind.data(), table.behind_there.bytes());
  if (table.steps_there < table.waiting.size()) {
    memory.copy_in(steps + table.steps_there, table.waiting.data() + table.steps_there,
                   (table.waiting.size() - table.steps_there) * sizeof(math::AdamStep));
    table.steps_there = table.waiting.size();
  }
  return {steps, table.behind_there.data<std::int32_t>()};
}

void AdamW::catch_up(const Tensor& ids) {
  for (Table& table : tables_) {
    const std::int64_t rows = table.parameter->value.shape()[0];
    const auto outside = [&](std::int32_t id) { return id < 0 || id >= rows; };
    const std::span<const std::int32_t> all = ids.span<std::int32_t>();
    if (const auto bad = std::find_if(all.begin(), all.end(), outside); bad != all.end())
      fail("{}: row {} of {} is asked for", table.parameter->name, *bad, rows);
    table.wanted.clear();
    table.wanted.add(ids.host<std::int32_t>(), ids.numel());
    catch_up(table, table.wanted);
  }
}

void AdamW::catch_up_all(Table& table) {
  table.wanted.clear();
  table.wanted.add_all();
  catch_up(table, table.wanted);
  forget_waiting(table);
}

void AdamW::forget_waiting(Table& table) {
  std::fill(table.behind.begin(), table.behind.end(), 0);
  table.waiting.clear();
  table.steps_there = 0;
}

void AdamW::catch_up_all() {
  for (Table& table : tables_) catch_up_all(table);
}

void AdamW::restore(std::int64_t steps) {
  steps_ = steps;
  for (Table& table : tables_) forget_waiting(table);
}

double gradient_norm(const ParameterStore& store) {
  std::int64_t parts = 0;  // touched rows of tables, then runs
  for (const Parameter* p : store.parameters()) {
    if (p->by_rows && p->has_gradient) parts += static_cast<std::int64_t>(p->touched.rows().size());
  }
  for_each_run(store, [&](const ParameterRun&) { ++parts; });
  const Tensor squares = Tensor::empty({parts}, DType::f64, store.device());
  dispatch(store.dtype(), [&](auto element) {
    using T = decltype(element);
    const Kernels<T>& k = kernels<T>(store.device());
    double* next = squares.data<double>();
    for (const Parameter* p : store.parameters()) {
      if (!p->by_rows || !p->has_gradient) continue;
      const Tensor& rows = p->touched.on(store.device());
      k.squares_of_rows(rows.numel(), p->value.shape()[1], p->gradient.data<T>(), rows.data<std::int32_t>(),
                        next);
      next += rows.numel();
    }
    for_each_run(store, [&](const ParameterRun& run) {
      const T* gradient = run.first->gradient.data<T>();
      k.dot(run.end - run.begin, gradient, gradient, next++);
    });
  });
  double total = 0;
  const Tensor found = squares.to(kCpu);
  for (const double s : found.span<double>()) total += s;
  return std::sqrt(total);
}

double clip_scale(double norm, double max_norm) {
  return max_norm > 0 ? std::min(1.0, max_norm / (norm + 1e-6)) : 1;
}

double warmup_linear(std::int64_t step, std::int64_t warmup, std::int64_t total) {
  const auto at = static_cast<double>(step);
  if (step < warmup) return at / static_cast<double>(std::max<std::int64_t>(1, warmup));
  return std::max(0.0, (static_cast<double>(total) - at) /
                           static_cast<double>(std::max<std::int64_t>(1, total - warmup)));
}

}  // namespace costeff
