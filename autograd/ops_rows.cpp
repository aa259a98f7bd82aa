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

// dtable[ids[i]] += dy[i]: only the rows that were read get a gradient
void embedding_backward(const Record& r, Backward& b) {
  const TableSlot table = b.row_slot(0, r.details.saved[r.details.saved.size() - 1].value, r.saved(0));
  if (!table) return;
  compute(b.dy(), [&]<class T>(const Kernels<T>& k) {
    k.scatter_add_rows(table.rows.numel(), b.dy().shape().cols(), b.dy().data<T>(),
                       table.rows.data<std::int32_t>(), table.tensor.data<T>());
  });
}
const Op kEmbedding("embedding", "y[i] = table[ids[i]]", embedding_backward);

// dx[index[i]] += dy[i]
void scatter(const Tensor& dy, const Slot& dx, const Tensor& index) {
  if (!dx) return;
  if (!dx.accumulate) dx.tensor.fill(0);
  compute(dy, [&]<class T>(const Kernels<T>& k) {
    k.scatter_add_rows(index.numel(), dy.shape().cols(), dy.data<T>(), index.data<std::int32_t>(),
                       dx.data<T>());
  });
}

void gather_rows_backward(const Record& r, Backward& b) {
  scatter(b.dy(), b.slot(0), r.saved(0));
}
const Op kGatherRows("gather_rows", "y[i] = x[index[i]]", gather_rows_backward);

// dx = dy, da[ia[i]] += dy[i], db[ib[i]] += dy[i]
void add_embeddings_backward(const Record& r, Backward& b) {
  if (const Slot dx = b.slot(0)) {
    compute(b.dy(), [&]<class T>(const Kernels<T>& k) {
      k.scale(b.dy().numel(), T(1), b.dy().data<T>(), dx.beta<T>(), dx.data<T>());
    });
  }
  scatter(b.dy(), b.slot(1), r.saved(0));
  scatter(b.dy(), b.slot(2), r.saved(1));
}
const Op kAddEmbeddings("add_embeddings", "y[i] = x[i] + a[ia[i]] + b[ib[i]]", add_embeddings_backward);

// Each part's gradient is its run of rows of dy.
void concat_rows_backward(const Record& r, Backward& b) {
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < r.inputs.size(); ++i) {
    const auto rows = static_cast<std::int64_t>(r.details.saved[i].value.item());
    if (const Slot dx = b.slot(i)) {
      const Tensor part = b.dy().slice(begin, begin + rows);
      compute(part, [&]<class T>(const Kernels<T>& k) {
        k.scale(part.numel(), T(1), part.data<T>(), dx.beta<T>(), dx.data<T>());
      });
    }
    begin += rows;
  }
}
const Op kConcatRows("concat_rows", "y = the rows of x1, then of x2, ...", concat_rows_backward);

// dx = dmean / length on the real rows of each sequence
void sequence_mean_backward(const Record& r, Backward& b) {
  const Slot dx = b.slot(0);
  if (!dx) return;
  compute(b.dy(), [&]<class T>(const Kernels<T>& k) {
    k.sequence_mean_backward(r.details.layout->view(b.dy().device()), b.dy().shape().cols(), b.dy().data<T>(),
                             dx.beta<T>(), dx.data<T>());
  });
}
const Op kSequenceMean("sequence_mean", "y[s] = mean over the real rows of sequence s of x",
                       sequence_mean_backward);

// The rows of x that an index on its device names.
Tensor rows_of(const Variable& x, const Tensor& index) {
  Tensor y = empty_like(x.value(), {index.numel(), x.shape()[1]});
  compute(y, [&]<class T>(const Kernels<T>& k) {
    k.gather_rows(index.numel(), x.shape()[1], x.value().data<T>(), index.data<std::int32_t>(), y.data<T>());
  });
  return y;
}

void require_gather(const Op& op, const Variable& x, const Tensor& index) {
  require(x.shape().rank() == 2 && index.dtype() == DType::i32 && index.shape().rank() == 1, op,
          "x must be [rows, n] and the index i32 [k]", {&x});
  require_indices(op, index, x.shape()[0]);
}

}  // namespace

Variable embedding(const Variable& table, const Tensor& ids) {
  require_gather(kEmbedding, table, ids);
  const Tensor index = ids.to(table.value().device());
  Details details{.saved = {{"index", index}}};
  if (ids.device() != index.device()) details.saved.push_back({"ids", ids});  // the host keeps book of rows
  return record(kEmbedding, {&table}, rows_of(table, index), std::move(details));
}

Variable gather_rows(const Variable& x, const Tensor& index) {
  require_gather(kGatherRows, x, index);
  const Tensor there = index.to(x.value().device());
  return record(kGatherRows, {&x}, rows_of(x, there), {.saved = {{"index", there}}});
}

Variable first_rows(const Variable& x, const LayoutPtr& layout) {
  require(x.shape().rank() == 2 && x.shape()[0] == layout->tokens(), kGatherRows,
          "x must have a row for each token", {&x});
  const Tensor index = layout->first_rows(x.value().device());
  return record(kGatherRows, {&x}, rows_of(x, index), {.saved = {{"index", index}}});
}

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
  compute(y, [&]<class T>(const Kernels<T>& k) {
    k.add_gathered_rows(x.shape()[0], x.shape()[1], x.value().data<T>(), a.value().data<T>(),
                        rows_a.data<std::int32_t>(), b.value().data<T>(), rows_b.data<std::int32_t>(),
                        y.data<T>());
  });
  return record(kAddEmbeddings, {&x, &a, &b}, std::move(y), {.saved = {{"ia", rows_a}, {"ib", rows_b}}});
}

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

Variable sequence_mean(const Variable& x, const LayoutPtr& layout) {
  require(x.shape().rank() == 2 && x.shape()[0] == layout->tokens(), kSequenceMean,
          "x must have a row for each token", {&x});
  Tensor y = empty_like(x.value(), {layout->sequences(), x.shape()[1]});
  compute(y, [&]<class T>(const Kernels<T>& k) {
    k.sequence_mean(layout->view(y.device()), x.shape()[1], x.value().data<T>(), y.data<T>());
  });
  return record(kSequenceMean, {&x}, std::move(y), {.layout = layout});
}

}  // namespace costeff
