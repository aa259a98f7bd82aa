#include "autograd/lanes.h"

#include <algorithm>

#include "autograd/lane_store.h"

namespace costeff {

LaneStore::LaneStore(const Tape& tape, std::size_t lanes)
    : tape_(tape),
      lanes_(lanes),
      blocks_(tape.nodes().size()),
      readers_(tape.nodes().size(), 0),
      complete_(tape.records().size()) {
  for (std::size_t i = 0; i < tape.records().size(); ++i) {
    for (const NodeId id : tape.records()[i].inputs) {
      if (id == kNoNode || tape.node(id).parameter == nullptr) continue;
      if (readers_[static_cast<std::size_t>(id)]++ == 0) complete_[i].push_back(id);
    }
  }
}

LaneStore::Block& LaneStore::block(NodeId id, std::int64_t elements, const Device& device) {
  std::unique_ptr<Block>& b = blocks_[static_cast<std::size_t>(id)];
  if (b == nullptr) b = std::make_unique<Block>();
  if (!b->values.defined()) {
    b->values = Tensor::empty({static_cast<std::int64_t>(lanes_), elements}, tape_.node(id).dtype, device);
    b->reached.assign(lanes_, 0);
  }
  return *b;
}

Tensor LaneStore::row(NodeId id, std::size_t lane, const Device& device) {
  Block& b = block(id, tape_.node(id).shape.numel(), device);
  b.reached[lane] = 1;
  const auto at = static_cast<std::int64_t>(lane);
  return b.values.slice(at, at + 1).reshape(tape_.node(id).shape);
}

TableSlot LaneStore::table(NodeId id, std::size_t lane, const Tensor& rows, const Tensor& rows_there,
                           bool first) {
  const Node& n = tape_.node(id);
  if (readers_[static_cast<std::size_t>(id)] > 1) {  // each may read other rows
    Tensor whole = row(id, lane, n.device);
    if (first) whole.fill(0);
    return {std::move(whole), rows_there};
  }
  std::unique_ptr<Block>& made = blocks_[static_cast<std::size_t>(id)];
  if (made == nullptr) {
    made = std::make_unique<Block>();
    const auto read = rows.span<const std::int32_t>();
    made->rows.assign(read.begin(), read.end());
    std::sort(made->rows.begin(), made->rows.end());
    made->rows.erase(std::unique(made->rows.begin(), made->rows.end()), made->rows.end());
    std::vector<std::int32_t> at;
    at.reserve(read.size());
    for (const std::int32_t r : read) {
      at.push_back(static_cast<std::int32_t>(std::lower_bound(made->rows.begin(), made->rows.end(), r) -
                                             made->rows.begin()));
    }
    made->places = Tensor::from(std::span<const std::int32_t>(at), {rows.numel()}).to(n.device);
  }
  const auto count = static_cast<std::int64_t>(made->rows.size());
  Block& b = block(id, count * n.shape.cols(), n.device);
  b.reached[lane] = 1;
  const auto at = static_cast<std::int64_t>(lane);
  Tensor own = b.values.slice(at, at + 1).reshape({count, n.shape.cols()});
  if (first) own.fill(0);
  return {std::move(own), b.places};
}

void LaneStore::fold(NodeId id, const std::function<void(const LaneGradients& gradients)>& visit) {
  const std::unique_ptr<Block> b = std::move(blocks_[static_cast<std::size_t>(id)]);
  if (b == nullptr) return;
  for (std::size_t lane = 0; lane < lanes_; ++lane) {
    const auto at = static_cast<std::int64_t>(lane);
    if (b->reached[lane] == 0) b->values.slice(at, at + 1).fill(0);
  }
  visit({*tape_.node(id).parameter, b->values.to(kCpu), b->reached, b->rows});
}

Tensor LaneGradients::weights() const {
  const Tensor value = parameter.value.to(kCpu);
  if (rows.empty()) return value.reshape({value.numel()});
  const std::int64_t cols = value.shape().cols();
  Tensor read = Tensor::empty({static_cast<std::int64_t>(rows.size()) * cols}, parameter.value.dtype());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i) * cols;
    read.slice(at, at + cols).copy_from(value.slice(rows[i], rows[i] + 1).reshape({cols}));
  }
  return read;
}

void backward_lanes(Tape& tape, std::span<const Lane> lanes,
                    const std::function<void(const LaneGradients& gradients)>& fold) {
  LaneStore store(tape, lanes.size());
  std::vector<Gradients> gradients(lanes.size());
  std::vector<Backward> passes;
  passes.reserve(lanes.size());
  const BackwardOptions options;
  for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
    Backward& pass = passes.emplace_back(Backward(tape, gradients[lane], options));
    pass.lanes_ = &store;
    pass.lane_ = lane;
    pass.identity_ = lanes[lane].identity;
    if (lanes[lane].root.variable.tape() != nullptr) pass.begin(lanes[lane].root);
  }
  for (std::size_t i = tape.records().size(); i-- > 0;) {
    const Record& record = tape.records()[i];
    for (Backward& pass : passes) pass.walk(record);
    for (const NodeId id : store.complete_at(i)) {
      for (Gradients& g : gradients) g.by_node_[static_cast<std::size_t>(id)] = Tensor();
      store.fold(id, fold);
    }
  }
}

}  // namespace costeff
