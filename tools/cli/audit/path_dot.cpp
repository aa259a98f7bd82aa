#include "autograd/print.h"
#include "tensor/error.h"
#include "tools/cli/audit/path.h"
#include "tools/cli/child_process.h"

namespace costeff {
namespace {

using audit::PathPart;
using audit::WeightPath;

const char* colour(PathPart::Kind kind) {
  switch (kind) {
    case PathPart::Kind::loss:
      return "#fde3d3";
    case PathPart::Kind::exit:
      return "#e3e0fa";
    case PathPart::Kind::rescale:
      return "#ffffff";
    case PathPart::Kind::ffn:
    case PathPart::Kind::attention:
      return "#b9dcd9";
    case PathPart::Kind::embeddings:
      return "#d8dee6";
  }
  return "#ffffff";
}

// A rescale is a small oval with its factor, everything else a box.
std::string part_dot(const PathPart& part, std::size_t index) {
  const bool rescale = part.kind == PathPart::Kind::rescale;
  const std::string label =
      rescale ? fmt::format("{} \xc3\x97 {}", part.name, factor_text(*part.factor)) : part.name;
  const bool aside = part.kind == PathPart::Kind::loss || part.kind == PathPart::Kind::exit;
  return fmt::format("  p{} [label={}, shape={}, group={}, fillcolor=\"{}\", tooltip=\"{} records\"];\n",
                     index, dot_string(label), rescale ? "oval" : "box", aside ? "aside" : "encoder",
                     colour(part.kind), part.steps.size());
}

}  // namespace

std::string path_dot(const PathReport& report) {
  const WeightPath& path = report.path;
  std::string text = "digraph path {\n  rankdir=TB;\n  nodesep=0.3;\n  ranksep=0.25;\n";
  text += fmt::format("  label={};\n  labelloc=t;\n",
                      dot_string(fmt::format("from {} to {}", report.from, path.weight)));
  text +=
      "  fontname=\"sans-serif\";\n  node [fontname=\"sans-serif\", fontsize=12, style=filled, "
      "height=0.3];\n";
  text += "  edge [fontname=\"sans-serif\", fontsize=11];\n";
  for (std::size_t i = 0; i < path.parts.size(); ++i) text += part_dot(path.parts[i], i);
  text += fmt::format(
      "  weight [label={}, shape=box, group=encoder, style=\"filled,bold\", fillcolor=\"#fff7d6\"];\n",
      dot_string(fmt::format("{} {}", path.weight, to_string(path.shape))));
  for (const audit::PartEdge& edge : path.edges) {
    const std::string to = edge.to ? fmt::format("p{}", *edge.to) : "weight";
    text += fmt::format("  p{} -> {} [label=\" {:.3g}\"];\n", edge.from, to, edge.gradient);
  }
  return text + "}\n";
}

void require_dot() {
  run_child({"dot", "-V"}, "graphviz", "");
}

std::string draw_dot(const std::string& dot) {
  const ChildOutcome drawn = run_child({"dot", "-Tsvg"}, "graphviz", dot);
  if (drawn.code != 0 || drawn.out.find("</svg>") == std::string::npos)
    fail("dot could not draw the picture (exit status {}): {}", drawn.code, drawn.err);
  return drawn.out;
}

}  // namespace costeff
