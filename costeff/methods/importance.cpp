#include "costeff/methods/importance.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "costeff/exits/multi_exit.h"
#include "tensor/error.h"

namespace costeff {
namespace {

// Adds factor * g w, or its absolute value, of each element of a row to the sum of the unit that the row
// belongs to: `width` neighbouring rows are a unit's.
template <class T>
void add_rows(const T* g, const T* w, std::int64_t rows, std::int64_t cols, std::int64_t width, bool absolute,
              double factor, std::vector<double>& sums) {
  for (std::int64_t r = 0; r < rows; ++r, g += cols, w += cols) {
    double sum = 0;
    for (std::int64_t c = 0; c < cols; ++c) {
      const double product = static_cast<double>(g[c]) * static_cast<double>(w[c]);
      sum += absolute ? std::abs(product) : product;
    }
    sums[static_cast<std::size_t>(r / width)] += factor * sum;
  }
}

// The same where `width` neighbouring columns are a unit's.
template <class T>
void add_columns(const T* g, const T* w, std::int64_t rows, std::int64_t width, bool absolute, double factor,
                 std::vector<double>& sums) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (double& unit : sums) {
      double sum = 0;
      for (std::int64_t c = 0; c < width; ++c, ++g, ++w) {
        const double product = static_cast<double>(*g) * static_cast<double>(*w);
        sum += absolute ? std::abs(product) : product;
      }
      unit += factor * sum;
    }
  }
}

}  // namespace

ImportanceScores zero_scores(const BertConfig& config) {
  ImportanceScores zero;
  for (const std::int64_t width : config.heads) zero.heads.emplace_back(width, 0.0);
  for (const std::int64_t width : config.ffn) zero.neurons.emplace_back(width, 0.0);
  return zero;
}

void add_unit_sums(const Bert& model, UnitSum sum, double factor,
                   const std::function<Tensor(Parameter& parameter)>& gradient_of, ImportanceScores& to) {
  const BertConfig& config = model.config();
  for (std::size_t k = 0; k < config.heads.size(); ++k) {
    const auto add = [&](Part part, Piece piece, std::int64_t width, std::vector<double>& sums) {
      const bool columns = part == Part::attention_output || part == Part::ffn_out;
      const NamedTensor& t =
          model.parameters().find({.part = part, .layer = static_cast<std::int64_t>(k) + 1, .piece = piece});
      const Tensor whole = gradient_of(*t.parameter);
      if (!whole.defined()) return;
      const Tensor g = whole.slice(t.begin, t.end).to(kCpu), w = t.value().to(kCpu);
      const std::int64_t rows = w.shape()[0];
      dispatch(w.dtype(), [&](auto element) {
        using T = decltype(element);
        const bool absolute = sum == UnitSum::release;
        if (columns) {
          add_columns(g.host<T>(), w.host<T>(), rows, width, absolute, factor, sums);
        } else {
          add_rows(g.host<T>(), w.host<T>(), rows, w.numel() / rows, width, absolute, factor, sums);
        }
      });
    };
    add(Part::attention_output, Piece::weight, config.head_dim, to.heads[k]);
    add(Part::ffn_out, Piece::weight, 1, to.neurons[k]);
    if (sum == UnitSum::gate) continue;
    add(Part::ffn_in, Piece::weight, 1, to.neurons[k]);
    if (sum == UnitSum::release) continue;
    add(Part::ffn_in, Piece::bias, 1, to.neurons[k]);
    for (const Part part : {Part::query, Part::key, Part::value}) {
      add(part, Piece::weight, config.head_dim, to.heads[k]);
      add(part, Piece::bias, config.head_dim, to.heads[k]);
    }
  }
}

Importance::Importance(const Bert& model, UnitSum sum, Precision precision)
    : model_(model), sum_(sum), precision_(precision), sums_(zero_scores(model.config())) {}

void Importance::add(const Batch& batch, const Loss& loss) {
  Tape tape;
  Forward forward(tape, precision_);
  const Variable value = loss(forward, batch, token_batch(batch));
  const Gradients gradients = tape.backward(value);
  const auto sequences = static_cast<double>(batch.sequences());
  add_unit_sums(
      model_, sum_, sum_ == UnitSum::release ? 1 : sequences,
      [&](Parameter& p) { return gradients.of(tape.parameter(p)); }, sums_);
  sequences_ += sequences;
}

ImportanceScores Importance::scores() const {
  if (sequences_ == 0) fail("importance: no calibration batch was given");
  ImportanceScores scores = sums_;
  if (sum_ == UnitSum::release) return scores;
  for (auto* layers : {&scores.heads, &scores.neurons}) {
    for (std::vector<double>& layer : *layers) {
      for (double& score : layer) score = std::abs(score) / sequences_;
    }
  }
  return scores;
}

std::vector<std::int64_t> keep_top(std::span<const double> scores, std::int64_t count) {
  if (count < 1 || count > static_cast<std::int64_t>(scores.size())) {
    fail("cannot keep {} of {}", count, scores.size());
  }
  std::vector<std::int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  order.resize(static_cast<std::size_t>(count));
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace costeff
