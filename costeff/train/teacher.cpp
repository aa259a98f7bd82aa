#include "costeff/train/teacher.h"

#include <algorithm>
#include <numeric>

#include "costeff/exits/multi_exit.h"
#include "tensor/backend.h"

namespace costeff {
namespace {

// The rows of a table that an index on its device names.
Tensor rows_of(const Tensor& table, const Tensor& index) {
  Tensor rows = Tensor::empty({index.numel(), table.shape()[1]}, table.dtype(), table.device());
  dispatch(table.dtype(), [&](auto element) {
    using T = decltype(element);
    kernels<T>(table.device())
        .gather_rows(index.numel(), table.shape()[1], table.data<T>(), index.data<std::int32_t>(),
                     rows.data<T>());
  });
  return rows;
}

}  // namespace

bool Teacher::has_cached(const EncodedDataset& data, bool hidden, std::size_t batch) const {
  return !all_.logits.empty() && (!hidden || !all_.hidden.empty()) && batch == batch_ &&
         data.ids == data_.ids && data.token_types == data_.token_types && data.offsets == data_.offsets;
}

bool Teacher::cache(const EncodedDataset& data, bool hidden, std::size_t batch, std::size_t limit,
                    const std::function<bool(std::size_t done)>& go_on) {
  if (has_cached(data, hidden, batch)) return true;
  all_ = {};
  const BertConfig& c = model_->config();
  const DType dtype = model_->parameters().dtype();
  const auto sequences = static_cast<std::int64_t>(data.size());
  const auto tokens = static_cast<std::int64_t>(data.ids.size());
  const std::int64_t exits = c.layers() - c.first_exit() + 1, states = hidden ? c.layers() + 1 : 0;
  const std::int64_t numbers = exits * sequences * c.num_labels() + states * tokens * c.hidden_size;
  if (static_cast<double>(numbers) * static_cast<double>(size_of(dtype)) > static_cast<double>(limit))
    return false;
  TeacherOutputs all{.first = c.first_exit()};
  for (std::int64_t i = 0; i < exits; ++i)
    all.logits.push_back(Tensor::empty({sequences, c.num_labels()}, dtype, model_->device()));
  for (std::int64_t i = 0; i < states; ++i)
    all.hidden.push_back(Tensor::empty({tokens, c.hidden_size}, dtype, model_->device()));

  std::vector<std::int32_t> order(data.size());
  std::iota(order.begin(), order.end(), 0);
  Batch part;
  for (std::size_t begin = 0; begin < data.size(); begin += batch) {
    if (go_on && !go_on(begin)) return false;
    const std::size_t end = std::min(begin + batch, data.size());
    fill_batch(data, std::span(order).subspan(begin, end - begin), std::nullopt, part);
    const TeacherOutputs outputs = teach(*model_, token_batch(part), precision_);
    const auto rows = [&](const std::vector<Tensor>& to, const std::vector<Tensor>& from, std::size_t first,
                          std::size_t last) {
      for (std::size_t i = 0; i < to.size(); ++i) {
        to[i].slice(static_cast<std::int64_t>(first), static_cast<std::int64_t>(last)).copy_from(from[i]);
      }
    };
    rows(all.logits, outputs.logits, begin, end);
    rows(all.hidden, outputs.hidden, data.offsets[begin], data.offsets[end]);
  }
  all_ = std::move(all);
  data_ = data;
  batch_ = batch;
  return true;
}

TeacherOutputs Teacher::operator()(const Batch& batch, const TokenBatch& tokens) const {
  return all_.logits.empty() ? teach(*model_, tokens, precision_) : cached(batch);
}

TeacherOutputs Teacher::cached(const Batch& batch) const {
  TeacherOutputs out{.first = all_.first};
  const Device device = model_->device();
  const Tensor sequences =
      Tensor::from(std::span(batch.places), {static_cast<std::int64_t>(batch.sequences())}).to(device);
  for (const Tensor& logits : all_.logits) out.logits.push_back(rows_of(logits, sequences));
  if (all_.hidden.empty()) return out;
  // Padding rows count nothing in a loss, but must be numbers: the first row's.
  const Tensor rows = Tensor::zeros({static_cast<std::int64_t>(batch.tokens())}, DType::i32);
  for (std::size_t s = 0; s < batch.sequences(); ++s) {
    const std::size_t from = data_.offsets[static_cast<std::size_t>(batch.places[s])];
    std::int32_t* own = rows.host<std::int32_t>() + batch.offsets[s];
    std::iota(own, own + batch.lengths[s], static_cast<std::int32_t>(from));
  }
  const Tensor index = rows.to(device);
  for (const Tensor& state : all_.hidden) out.hidden.push_back(rows_of(state, index));
  return out;
}

}  // namespace costeff
