#include "costeff/audit/path_entry.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/gradient_check.h"
#include "autograd/ops.h"
#include "tensor/error.h"

namespace costeff::audit {
namespace {

// A record that reads a weight as its input `input`; i and j are the entry's place in the whole parameter.
struct Reader {
  const Trace& trace;
  std::int32_t index;
  std::size_t input;
  std::int64_t i, j;

  const Record& record() const { return trace.record(index); }
  Tensor dy() const { return trace.gradient(record().output); }
};

void add_term(EntryReading& reading, std::int64_t row, double gradient, double factor, double product) {
  if (product != 0) reading.terms.push_back({row, gradient, factor, product});
}

// sum over t of dy[t,column] other[t,at]; without `other` of dy[t,column] alone
void sum_over_rows(EntryReading& reading, const Tensor& dy, std::int64_t column, const Tensor& other,
                   std::int64_t at) {
  for (std::int64_t t = 0; t < dy.shape().rows(); ++t) {
    const double g = dy.at(t * dy.shape().cols() + column);
    const double f = other.defined() ? other.at(t * other.shape().cols() + at) : 1;
    add_term(reading, t, g, f, g * f);
  }
}

// sum over the rows t that read row i of a table
void sum_over_lookups(EntryReading& reading, const Reader& reader, const Tensor& ids) {
  const Tensor dy = reader.dy();
  for (std::int64_t t = 0; t < ids.numel(); ++t) {
    if (ids.host<std::int32_t>()[t] != reader.i) continue;
    const double g = dy.at(t * dy.shape().cols() + reader.j);
    add_term(reading, t, g, 1, g);
  }
}

void explain_linear(EntryReading& reading, const Reader& reader) {
  if (reader.input == 2) {
    reading.formula = "db[i] = sum over t of dy[t,i]";
    return sum_over_rows(reading, reader.dy(), reader.i, {}, 0);
  }
  reading.formula = "dW[i,j] = sum over t of dy[t,i] x[t,j]";
  reading.factor = "x[t,j]";
  sum_over_rows(reading, reader.dy(), reader.i, reader.record().saved(0), reader.j);
}

void explain_gelu_bias(EntryReading& reading, const Reader& reader) {
  reading.formula = "db[i] = sum over t of dy[t,i] gelu'(x + b)[t,i]";
  reading.factor = "gelu'";
  const Tensor dy = reader.dy();
  const Tensor dx = reader.trace.passed(reader.index, 0);
  for (std::int64_t t = 0; t < dy.shape().rows(); ++t) {
    const std::int64_t at = t * dy.shape().cols() + reader.i;
    if (dy.at(at) != 0) add_term(reading, t, dy.at(at), dx.at(at) / dy.at(at), dx.at(at));
  }
}

// layer_norm has gamma and beta as its inputs 1 and 2, the fused form as 3 and 4, after x, bias and residual.
void explain_norm(EntryReading& reading, const Reader& reader, std::size_t gamma) {
  if (reader.input < gamma) {
    reading.formula = "db[i] = sum over t of ds[t,i], s = x + b + residual, what is normalised";
    return sum_over_rows(reading, reader.trace.passed(reader.index, 0), reader.i, {}, 0);
  }
  if (reader.input > gamma) {
    reading.formula = "dbeta[i] = sum over t of dy[t,i]";
    return sum_over_rows(reading, reader.dy(), reader.i, {}, 0);
  }
  reading.formula = "dgamma[i] = sum over t of dy[t,i] xhat[t,i]";
  reading.factor = "xhat[t,i]";
  sum_over_rows(reading, reader.dy(), reader.i, reader.record().saved(0), reader.i);
}

void explain_lookup(EntryReading& reading, const Reader& reader, const Tensor& ids) {
  reading.formula = "dE[i,j] = sum over the t that look up row i of dy[t,j]";
  sum_over_lookups(reading, reader, ids);
}

EntryReading explain(const Reader& reader) {
  const Record& r = reader.record();
  EntryReading reading{.record = reader.index, .op = r.op, .path = reader.trace.tape().path(r.path)};
  reading.rows = reader.dy().shape().rows();
  if (r.op == &kLinear) {
    explain_linear(reading, reader);
  } else if (r.op == &kBiasGelu) {
    explain_gelu_bias(reading, reader);
  } else if (r.op == &kLayerNorm || r.op == &kFusedLayerNorm) {
    explain_norm(reading, reader, r.op == &kLayerNorm ? 1 : 3);
  } else if (r.op == &kEmbedding) {
    explain_lookup(reading, reader, r.saved(0));
  } else if (r.op == &kAddEmbeddings) {
    explain_lookup(reading, reader, r.saved(reader.input - 1));
  } else {
    fail("op {} at '{}' reads a weight, and costeff audit does not know how its gradient comes about",
         r.op->name, reading.path);
  }
  std::stable_sort(reading.terms.begin(), reading.terms.end(), [](const EntryTerm& a, const EntryTerm& b) {
    return std::abs(a.product) > std::abs(b.product);
  });
  return reading;
}

double largest_of(const Tensor& tensor) {
  double largest = 0;
  for (const double x : tensor.span<const double>()) largest = std::max(largest, std::abs(x));
  return largest;
}

// Puts a number back that was changed for a while.
class Restored {
 public:
  explicit Restored(double& number) : number_(number), old_(number) {}
  Restored(const Restored&) = delete;
  Restored& operator=(const Restored&) = delete;
  ~Restored() { number_ = old_; }

 private:
  double& number_;
  double old_;
};

// dL/dw of one number, all else as it is: the loss is recorded anew for each value of it.
Derivative differences(const LossOf& loss, const std::string& from, const Tensor& weight, std::int64_t at) {
  double& w = weight.host<double>()[at];
  const Restored restored(w);
  const double typical = norm_of(weight) / std::sqrt(static_cast<double>(weight.numel()));
  const auto value_at = [&](double x) {
    w = x;
    return Recording(loss, false, from).value();
  };
  return differentiate(value_at, w, 0.05 + 0.25 * std::max(std::abs(w), typical));
}

}  // namespace

EntryAudit audit_entry(const Bert& model, const LossOf& loss, const PathQuery& query, bool equalise,
                       std::int64_t row, std::int64_t col, std::optional<double> factor) {
  const Tensor weight = query.weight.value();
  const Shape& shape = weight.shape();
  const std::int64_t cols = shape.rank() == 1 ? 1 : shape[1];
  if (row < 0 || row >= shape[0] || col < 0 || col >= cols)
    fail_usage("{} is {}: entry {},{} lies outside", query.weight.name, to_string(shape), row, col);
  if (weight.dtype() != DType::f64)
    fail("an entry is audited in f64: differences of a loss in {} are too coarse", name_of(weight.dtype()));
  const std::int64_t at = row * cols + col;
  EntryAudit audit{.row = row, .col = col, .value = weight.at(at)};
  const Trace trace(model, loss, query, equalise);
  audit.gradient = trace.weight_gradient().at(at);
  for (const std::int32_t index : trace.records()) {
    const Record& r = trace.record(index);
    for (std::size_t input = 0; input < r.inputs.size(); ++input) {
      if (r.inputs[input] == trace.leaf())
        audit.readings.push_back(explain({trace, index, input, query.weight.begin + row, col}));
    }
  }
  const Trace unscaled(model, loss, query, false);
  audit.plain = unscaled.weight_gradient().at(at);
  const Derivative d = differences(loss, query.from, weight, at);
  audit.numeric = d.value;
  audit.numeric_error = d.error;
  audit.scale =
      std::max(std::abs(audit.plain), EntryAudit::kFloor * largest_of(unscaled.gradient(unscaled.leaf())));
  double sum = 0;
  for (const EntryReading& reading : audit.readings) {
    for (const EntryTerm& term : reading.terms) sum += term.product;
  }
  const auto relative = [&](double a, double b) {
    const double difference = std::abs(a - b);
    if (difference == 0) return 0.0;
    const double error = difference / audit.scale;
    return std::isfinite(error) ? error : std::numeric_limits<double>::infinity();
  };
  audit.error = relative(audit.plain, audit.numeric);
  audit.sum_error = relative(sum, audit.gradient);
  if (factor) audit.scaled_error = relative(audit.gradient, *factor * audit.plain);
  return audit;
}

}  // namespace costeff::audit
