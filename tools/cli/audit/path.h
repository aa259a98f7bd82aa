// What `costeff audit path` found: its document, and its picture.
#pragma once

#include <optional>
#include <string>

#include "costeff/audit/path.h"
#include "costeff/audit/path_entry.h"
#include "data/batches.h"
#include "data/tokenizer.h"
#include "tools/cli/pages/document.h"

namespace costeff {

// A path with what it was traced on.
struct PathReport {
  std::string model;  // its folder
  std::string from;   // as the user named it
  DType dtype = DType::f32;
  const Batch& batch;
  std::int64_t first = 1;  // the number of the batch's first sentence among those drawn
  const Tokenizer& tokenizer;
  audit::WeightPath path;
  std::optional<audit::EntryAudit> entry;
};

// Part by part; in a terminal record by record with `all`. Faults are what must not be in any model.
Document path_document(const PathReport& report, bool all);
// A Graphviz digraph: a box for each part of a layer, the norms on its edges.
std::string path_dot(const PathReport& report);
// As Graphviz draws it. Throws Error when its program dot is not installed.
std::string draw_dot(const std::string& dot);
void require_dot();  // before a long computation; throws as draw_dot() does

// "1/6", "5", "0.3": a rescale factor or a product of some.
std::string factor_text(double factor);
// Which token or sentence a row of something with `rows` rows belongs to: `sentence 3, token 5 "movie"`.
std::string row_text(const PathReport& report, std::int64_t rows, std::int64_t row);

}  // namespace costeff
