// Rows by index: embeddings, selections, means over sequences.
#include <algorithm>

#include "autograd/op_support.h"

namespace costeff {
namespace {

void require_indices(const Op& op, const Tensor& index, std::int64_t rows) {
  for (const std::int32_t i : index.span<const std::int32_t>()) {
    if (i < 0 || i >= rows) fail("op {}: index {} outside a table of {} rows", op.name, i, rows);
  }
}

// The rows of x that an index on its device names.
Tensor gathered(const Variable& x, const Tensor& index) {
  Tensor y = empty_like(x.value(), {index.numel(), x.shape()[1]});
  run(y, COSTEFF_KERNEL(gather_rows), rows_of(y), x.value(), index, y);
  return y;
}

void require_gather(const Op& op, const Variable& x, const Tensor& index) {
  require(x.shape().rank() == 2 && index.dtype() == DType::i32 && index.shape().rank() == 1, op,
          "x must be [rows, n] and the index i32 [k]", {&x});
  require_indices(op, index, x.shape()[0]);
}

// The rows that `index` names of dx += those of dy.
void scatter(const Tensor& dy, const Slot& dx, const Tensor& index) {
  if (!dx) return;
  if (!dx.accumulate) dx.tensor.fill(0);
  run(dy, COSTEFF_KERNEL(scatter_add_rows), rows_of(dy), dy, index, dx.tensor);
}

}  // namespace

// dtable[ids[i]] += dy[i]: only the rows that were read get a gradient
static void embedding_backward(const Record& r, Backward& b) {
  const auto [index] = r.saved<1>();
  const Tensor ids = r.saved_if("ids");  // the same on the host, where the table is not
  const TableSlot table = b.row_slot(0, ids.defined() ? ids : index, index);
  if (!table) return;
  run(b.dy(), COSTEFF_KERNEL(scatter_add_rows), rows_of(b.dy()), b.dy(), table.rows, table.tensor);
}
const Op kEmbedding("embedding", "y[i] = table[ids[i]]", embedding_backward);

Variable embedding(const Variable& table, const Tensor& ids) {
  require_gather(kEmbedding, table, ids);
  const Tensor index = ids.to(table.value().device());
  Details details{.saved = {{"index", index}}};
  if (ids.device() != index.device()) details.saved.push_back({"ids", ids});  // the host keeps book of rows
  return record(kEmbedding, {&table}, gathered(table, index), std::move(details));
}

// dx[index[i]] += dy[i]
static void gather_rows_backward(const Record& r, Backward& b) {
  const auto [index] = r.saved<1>();
  scatter(b.dy(), b.slot(0), index);
}
const Op kGatherRows("gather_rows", "y[i] = x[index[i]]", gather_rows_backward);

Variable gather_rows(const Variable& x, const Tensor& index) {
  require_gather(kGatherRows, x, index);
  const Tensor there = index.to(x.value().device());
  return record(kGatherRows, {&x}, gathered(x, there), {.saved = {{"index", there}}});
}

Variable first_rows(const Variable& x, const LayoutPtr& layout) {
  require(x.shape().rank() == 2 && x.shape()[0] == layout->tokens(), kGatherRows,
          "x must have a row for each token", {&x});
  const Tensor index = layout->first_rows(x.value().device());
  return record(kGatherRows, {&x}, gathered(x, index), {.saved = {{"index", index}}});
}

// dx = dy, da[ia[i]] += dy[i], db[ib[i]] += dy[i]
static void add_embeddings_backward(const Record& r, Backward& b) {
  if (const Slot dx = b.slot(0)) run(b.dy(), COSTEFF_KERNEL(scale), b.dy().numel(), 1.0, b.dy(), dx);
  const auto [ia, ib] = r.saved<2>();
  scatter(b.dy(), b.slot(1), ia);
  scatter(b.dy(), b.slot(2), ib);
}
const Op kAddEmbeddings("add_embeddings", "y[i] = x[i] + a[ia[i]] + b[ib[i]]", add_embeddings_backward);

Variable add_embeddings(const Variable& x, const Variable& a, const Tensor& ia, const Variable& b,
                        const Tensor& ib) {
  const bool shapes = x.shape().rank() == 2 && a.shape().rank() == 2 && b.shape().rank() == 2 &&
                      a.shape()[1] == x.shape()[1] && b.shape()[1] == x.shape()[1];
  require(shapes && ia.numel() == x.shape()[0] && ib.numel() == x.shape()[0], kAddEmbeddings,
          "shapes do not fit", {&x, &a, &b});
  require_indices(kAddEmbeddings, ia, a.shape()[0]);
  require_indices(kAddEmbeddings, ib, b.shape()[0]);
  Tensor y = empty_like(x.value());
  const Tensor rows_a = ia.to(y.device()), rows_b = ib.to(y.device());
  run(y, COSTEFF_KERNEL(add_gathered_rows), rows_of(y), x.value(), a.value(), rows_a, b.value(), rows_b, y);
  return record(kAddEmbeddings, {&x, &a, &b}, std::move(y), {.saved = {{"ia", rows_a}, {"ib", rows_b}}});
}

// Each part's gradient is its run of rows of dy.
static void concat_rows_backward(const Record& r, Backward& b) {
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < r.inputs.size(); ++i) {
    const auto rows = static_cast<std::int64_t>(r.saved(i).item());
    if (const Slot dx = b.slot(i)) {
      const Tensor part = b.dy().slice(begin, begin + rows);
      run(part, COSTEFF_KERNEL(scale), part.numel(), 1.0, part, dx);
    }
    begin += rows;
  }
}
const Op kConcatRows("concat_rows", "y = the rows of x1, then of x2, ...", concat_rows_backward);

Variable concat_rows(std::span<const Variable> parts) {
  if (parts.empty()) fail("op {}: nothing to join", kConcatRows.name);
  if (parts.size() > kMostInputs) {
    std::vector<Variable> joined;
    joined.reserve(parts.size() / kMostInputs + 1);
    for (; !parts.empty(); parts = parts.subspan(std::min(kMostInputs, parts.size())))
      joined.push_back(concat_rows(parts.first(std::min(kMostInputs, parts.size()))));
    return concat_rows(joined);
  }
  const std::int64_t cols = parts[0].shape().cols();
  std::int64_t rows = 0;
  for (const Variable& part : parts) {
    require(part.shape().rank() == 2 && part.shape()[1] == cols, kConcatRows, "rows of unequal length",
            {&parts[0], &part});
    rows += part.shape()[0];
  }
  Tensor y = empty_like(parts[0].value(), {rows, cols});
  Details details;
  InlineArray<const Variable*, kMostInputs> inputs;
  Tape* tape = nullptr;
  std::int64_t begin = 0;
  for (const Variable& part : parts) {
    y.slice(begin, begin + part.shape()[0]).copy_from(part.value());
    begin += part.shape()[0];
    details.saved.push_back({"rows", Tensor::scalar(static_cast<double>(part.shape()[0]), DType::f64)});
    inputs.push_back(&part);
    if (part.tape() != nullptr) tape = part.tape();
  }
  if (tape == nullptr) return Variable(std::move(y));
  return tape->record(kConcatRows, {inputs.begin(), inputs.size()}, std::move(y), std::move(details));
}

// dx = dmean / length on the real rows of each sequence
static void sequence_mean_backward(const Record& r, Backward& b) {
  const Slot dx = b.slot(0);
  if (!dx) return;
  run(b.dy(), COSTEFF_KERNEL(sequence_mean_backward), r.details.layout->view(b.dy().device()),
      b.dy().shape().cols(), b.dy(), dx);
}
const Op kSequenceMean("sequence_mean", "y[s] = mean over the real rows of sequence s of x",
                       sequence_mean_backward);

Variable sequence_mean(const Variable& x, const LayoutPtr& layout) {
  require(x.shape().rank() == 2 && x.shape()[0] == layout->tokens(), kSequenceMean,
          "x must have a row for each token", {&x});
  Tensor y = empty_like(x.value(), {layout->sequences(), x.shape()[1]});
  run(y, COSTEFF_KERNEL(sequence_mean), layout->view(y.device()), x.shape()[1], x.value(), y);
  return record(kSequenceMean, {&x}, std::move(y), {.layout = layout});
}

}  // namespace costeff
