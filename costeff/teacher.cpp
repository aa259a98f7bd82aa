#include "costeff/teacher.h"

#include <algorithm>
#include <numeric>

#include "costeff/classifier.h"

namespace costeff {

bool Teacher::remember(const EncodedDataset& data, bool hidden, std::size_t batch, std::size_t limit,
                       const std::function<bool(std::size_t done)>& go_on) {
  const BertConfig& c = model_->config();
  const DType dtype = model_->parameters().dtype();
  const auto sequences = static_cast<std::int64_t>(data.size());
  const auto tokens = static_cast<std::int64_t>(data.ids.size());
  const std::int64_t exits = c.layers() - c.first_exit() + 1, states = hidden ? c.layers() + 1 : 0;
  const std::int64_t numbers = exits * sequences * c.num_labels() + states * tokens * c.hidden_size;
  if (static_cast<double>(numbers) * static_cast<double>(size_of(dtype)) > static_cast<double>(limit))
    return false;
  all_ = {.first = c.first_exit()};
  for (std::int64_t i = 0; i < exits; ++i)
    all_.logits.push_back(Tensor::empty({sequences, c.num_labels()}, dtype));
  for (std::int64_t i = 0; i < states; ++i)
    all_.hidden.push_back(Tensor::empty({tokens, c.hidden_size}, dtype));

  std::vector<std::int32_t> order(data.size());
  std::iota(order.begin(), order.end(), 0);
  Batch part;
  for (std::size_t begin = 0; begin < data.size(); begin += batch) {
    if (go_on && !go_on(begin)) {
      all_ = {};
      return false;
    }
    const std::size_t end = std::min(begin + batch, data.size());
    fill_batch(data, std::span(order).subspan(begin, end - begin), std::nullopt, part);
    const TeacherOutputs said = teach(*model_, token_batch(part));
    const auto rows = [&](const std::vector<Tensor>& to, const std::vector<Tensor>& from, std::size_t first,
                          std::size_t last) {
      for (std::size_t i = 0; i < to.size(); ++i) {
        to[i].slice(static_cast<std::int64_t>(first), static_cast<std::int64_t>(last)).copy_from(from[i]);
      }
    };
    rows(all_.logits, said.logits, begin, end);
    rows(all_.hidden, said.hidden, data.offsets[begin], data.offsets[end]);
  }
  data_ = &data;
  return true;
}

TeacherOutputs Teacher::operator()(const Batch& batch, const TokenBatch& tokens) const {
  return data_ == nullptr ? teach(*model_, tokens) : recall(batch);
}

TeacherOutputs Teacher::recall(const Batch& batch) const {
  TeacherOutputs out{.first = all_.first};
  const auto sequences = static_cast<std::int64_t>(batch.sequences());
  const auto rows = static_cast<std::int64_t>(batch.tokens());
  for (const Tensor& logits : all_.logits) {
    const Tensor& to = out.logits.emplace_back(Tensor::empty({sequences, logits.shape()[1]}, logits.dtype()));
    for (std::int64_t s = 0; s < sequences; ++s) {
      const std::int64_t from = batch.places[static_cast<std::size_t>(s)];
      to.slice(s, s + 1).copy_from(logits.slice(from, from + 1));
    }
  }
  for (const Tensor& state : all_.hidden) {
    // Padding rows count nothing in a loss, but must be numbers.
    const bool padded = std::accumulate(batch.lengths.begin(), batch.lengths.end(), std::int64_t{0}) < rows;
    const Shape shape{rows, state.shape()[1]};
    const Tensor& to = out.hidden.emplace_back(padded ? Tensor::zeros(shape, state.dtype())
                                                      : Tensor::empty(shape, state.dtype()));
    for (std::size_t s = 0; s < batch.sequences(); ++s) {
      const auto from = static_cast<std::int64_t>(data_->offsets[static_cast<std::size_t>(batch.places[s])]);
      const std::int64_t at = batch.offsets[s], length = batch.lengths[s];
      to.slice(at, at + length).copy_from(state.slice(from, from + length));
    }
  }
  return out;
}

}  // namespace costeff
