// What `costeff audit path` found, for the eye, for programs, and as a picture.
#pragma once

#include <optional>
#include <string>

#include "costeff/audit/path.h"
#include "costeff/audit/path_entry.h"
#include "costeff/json.h"
#include "data/batches.h"
#include "data/tokenizer.h"

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

// Part by part, or record by record with `all`.
std::string path_text(const PathReport& report, bool all);
Json path_json(const PathReport& report);
// A Graphviz digraph: a box for each part of a layer, the norms on its edges.
std::string path_dot(const PathReport& report);
// As Graphviz draws it. Throws Error when its program dot is not installed.
std::string draw_dot(const std::string& dot);
void require_dot();  // before a long computation; throws as draw_dot() does

// "1/6", "5", "0.3": a rescale factor or a product of some.
std::string factor_text(double factor);
// Which token or sentence a row of something with `rows` rows belongs to: `sentence 3, token 5 "movie"`.
std::string row_text(const PathReport& report, std::int64_t rows, std::int64_t row);
// What a record that reads something meant for several readers is called: "residual", "linear", "exit 3".
std::string reader_name(const audit::WeightPath& path, const audit::PathEdge& edge);

}  // namespace costeff
