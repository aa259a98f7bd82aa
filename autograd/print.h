// The tape to look at: a table for the eye, JSON for programs, Graphviz for pictures.
//
//   %0 .. are nodes, values on the tape: leaves and the outputs of records. A record is one operation.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "autograd/tape.h"

namespace costeff {

// One line a leaf, then one line a record, in aligned columns: index, operation, path, inputs -> output with
// their shapes, bytes saved for the backward, floating-point operations, attributes, tags. The last line sums
// up.
std::string tape_text(const Tape& tape);

// {"nodes": [{"id", "name", "shape", "dtype", "requires_gradient", "parameter", "producer"}],
//  "records": [{"index", "op", "formula", "path", "tags", "inputs", "output", "attributes", "dropout",
//               "layout", "saved", "saved_bytes", "flops"}],
//  "saved_bytes", "flops"}
// What a node or record does not have is null: the parameter of a plain leaf, the producer of a leaf, an
// input that is a constant. Names that are not UTF-8 have the bad bytes replaced.
std::string tape_json(const Tape& tape, int indent = 1);

// A Graphviz digraph, leaves above, data flowing down: `dot -Tsvg`.
std::string tape_dot(const Tape& tape);
// Only what lies on a way from node `from` to node `to`; throws Error when there is none.
std::string tape_dot(const Tape& tape, NodeId from, NodeId to);

// What other pictures and files of a tape need too: [8, 128] as JSON, and a quoted Graphviz label, of which
// lines end with \n. Graphviz knows no control characters; a backslash would start an escape.
nlohmann::ordered_json json_shape(const Shape& shape);
std::string dot_string(std::string_view text);

}  // namespace costeff
