// Where backward passes that run side by side (autograd/lanes.h) keep their gradients of parameters.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "autograd/lanes.h"

namespace costeff {

// The gradients of parameters that some lane has reached and that are not complete yet.
class LaneStore {
 public:
  LaneStore(const Tape& tape, std::size_t lanes);

  // Where a lane's gradient of a parameter goes.
  Tensor row(NodeId id, std::size_t lane, const Device& device);
  // The same for a table of which a record reads `rows` (on its device: rows_there); zero when it is asked
  // for the first time.
  TableSlot table(NodeId id, std::size_t lane, const Tensor& rows, const Tensor& rows_there, bool first);
  // The parameters that are complete when record i is done.
  std::span<const NodeId> complete_at(std::size_t record) const { return complete_[record]; }
  void fold(NodeId id, const std::function<void(const LaneGradients& gradients)>& visit);

 private:
  struct Block {
    Tensor values;
    std::vector<std::uint8_t> reached;
    std::vector<std::int32_t> rows;
    Tensor places;  // i32, of the rows that the record reads within `rows`
  };
  Block& block(NodeId id, std::int64_t elements, const Device& device);

  const Tape& tape_;
  std::size_t lanes_;
  std::vector<std::unique_ptr<Block>> blocks_;  // of each node
  std::vector<std::int32_t> readers_;           // of each node: records that read it
  std::vector<std::vector<NodeId>> complete_;   // of each record
};

}  // namespace costeff
