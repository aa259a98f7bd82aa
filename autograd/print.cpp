#include "autograd/print.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "tensor/error.h"

namespace costeff {

using Json = nlohmann::ordered_json;

namespace {

std::size_t saved_bytes(const Record& record) {
  std::size_t sum = 0;
  for (const Saved& saved : record.details.saved) sum += saved.value.bytes();
  return sum;
}

// "768", "1e-12": the shortest text that reads back as the same number, counts without an exponent.
std::string number(double x) {
  if (x == std::trunc(x) && std::abs(x) < 0x1p53) return fmt::format("{:.0f}", x);
  return fmt::format("{}", x);
}

std::string node_text(const Tape& tape, NodeId id) {
  return id == kNoNode ? "constant" : fmt::format("%{}{}", id, to_string(tape.node(id).shape));
}

std::string join(const std::string& text, const std::string& item) {
  return text.empty() ? item : fmt::format("{}, {}", text, item);
}

std::string attributes_text(const Record& record) {
  std::string text;
  for (const Attribute& a : record.details.attributes)
    text = join(text, fmt::format("{}={}", a.name, number(a.value)));
  return text;
}

std::string tags_text(const Tags& tags) {
  std::string text;
  if (tags.layer >= 0) text = join(text, fmt::format("layer={}", tags.layer));
  if (tags.exit >= 0) text = join(text, fmt::format("exit={}", tags.exit));
  if (tags.loss != nullptr) text = join(text, fmt::format("loss={}", tags.loss->name));
  return text;
}

// ---- text

constexpr std::size_t kColumns = 8;
using Row = std::array<std::string, kColumns>;

Row leaf_row(const Tape& tape, NodeId id) {
  const Node& n = tape.node(id);
  const char* kind = n.parameter != nullptr ? "parameter" : "leaf";
  return {"", kind, tape.path(n.path), node_text(tape, id), "", "", n.requires_gradient ? "" : "no gradient",
          ""};
}

Row record_row(const Tape& tape, std::size_t index) {
  const Record& r = tape.records()[index];
  std::string flow;
  for (const NodeId input : r.inputs) flow = join(flow, node_text(tape, input));
  flow += " -> " + node_text(tape, r.output);
  return {std::to_string(index),          std::string(r.op->name), tape.path(r.path),  flow,
          std::to_string(saved_bytes(r)), number(r.details.flops), attributes_text(r), tags_text(r.tags)};
}

// Control characters in a name must not break the table.
std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

std::string table(std::vector<Row>& rows) {
  constexpr std::array<bool, kColumns> right = {true, false, false, false, true, true, false, false};
  std::array<std::size_t, kColumns> width{};
  for (Row& row : rows) {
    for (std::size_t c = 0; c < kColumns; ++c) {
      row[c] = printable(std::move(row[c]));
      width[c] = std::max(width[c], row[c].size());
    }
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < kColumns; ++c) {
      const std::string padding(width[c] - row[c].size(), ' ');
      line += (right[c] ? padding + row[c] : row[c] + padding) + "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

// ---- JSON

}  // namespace

Json json_shape(const Shape& shape) {
  Json sizes = Json::array();
  for (int i = 0; i < shape.rank(); ++i) sizes.push_back(shape[i]);
  return sizes;
}

namespace {

Json json_tags(const Tags& tags) {
  Json json = Json::object();
  if (tags.layer >= 0) json["layer"] = tags.layer;
  if (tags.exit >= 0) json["exit"] = tags.exit;
  if (tags.loss != nullptr) json["loss"] = tags.loss->name;
  return json;
}

Json json_node(const Tape& tape, NodeId id) {
  const Node& n = tape.node(id);
  return {{"id", id},
          {"name", tape.path(n.path)},
          {"shape", json_shape(n.shape)},
          {"dtype", name_of(n.dtype)},
          {"requires_gradient", n.requires_gradient},
          {"parameter", n.parameter == nullptr ? Json() : Json(n.parameter->name)},
          {"producer", n.producer < 0 ? Json() : Json(n.producer)}};
}

Json json_dropout(const Dropout& dropout) {
  if (dropout.p == 0) return {};
  return {{"p", dropout.p},
          {"seed", dropout.site.seed},
          {"step", dropout.site.step},
          {"site", dropout.site.site}};
}

Json json_layout(const LayoutPtr& layout) {
  if (layout == nullptr) return {};
  Json offsets = Json::array();
  Json lengths = Json::array();
  for (const std::int32_t offset : layout->offsets()) offsets.push_back(offset);
  for (std::int64_t s = 0; s < layout->sequences(); ++s) lengths.push_back(layout->length(s));
  return {{"offsets", offsets}, {"lengths", lengths}};
}

Json json_record(const Tape& tape, std::size_t index) {
  const Record& r = tape.records()[index];
  Json inputs = Json::array();
  for (const NodeId input : r.inputs) inputs.push_back(input == kNoNode ? Json() : Json(input));
  Json attributes = Json::object();
  for (const Attribute& a : r.details.attributes) attributes[std::string(a.name)] = a.value;
  Json saved = Json::array();
  for (const Saved& s : r.details.saved) {
    saved.push_back({{"name", s.name},
                     {"shape", json_shape(s.value.shape())},
                     {"dtype", name_of(s.value.dtype())},
                     {"bytes", s.value.bytes()}});
  }
  return {{"index", index},
          {"op", r.op->name},
          {"formula", r.op->formula},
          {"path", tape.path(r.path)},
          {"tags", json_tags(r.tags)},
          {"inputs", inputs},
          {"output", r.output},
          {"attributes", attributes},
          {"dropout", json_dropout(r.details.dropout)},
          {"layout", json_layout(r.details.layout)},
          {"saved", saved},
          {"saved_bytes", saved_bytes(r)},
          {"flops", r.details.flops}};
}

// ---- Graphviz

}  // namespace

std::string dot_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
    }
  }
  return out + "\"";
}

namespace {

std::string dot_leaf(const Tape& tape, NodeId id) {
  const Node& n = tape.node(id);
  const std::string label = fmt::format("{}\n{}", tape.path(n.path), node_text(tape, id));
  const char* style = !n.requires_gradient     ? ", style=dashed"
                      : n.parameter != nullptr ? ", style=filled, fillcolor=lightgrey"
                                               : "";
  return fmt::format("  n{} [shape=ellipse, label={}{}];\n", id, dot_string(label), style);
}

std::string dot_record(const Tape& tape, const Record& r) {
  std::string label(r.op->name);
  for (const std::string& line :
       {tape.path(r.path), node_text(tape, r.output), attributes_text(r), tags_text(r.tags)}) {
    if (!line.empty()) label += "\n" + line;
  }
  return fmt::format("  n{} [shape=box, label={}];\n", r.output, dot_string(label));
}

// The nodes with `shown` set, and the edges between them.
std::string dot(const Tape& tape, const std::vector<bool>& shown) {
  std::string text = "digraph tape {\n  rankdir=TB;\n  node [fontname=\"monospace\"];\n";
  const auto is_shown = [&](NodeId id) { return id != kNoNode && shown[static_cast<std::size_t>(id)]; };
  for (std::size_t i = 0; i < tape.nodes().size(); ++i) {
    const auto id = static_cast<NodeId>(i);
    if (!is_shown(id)) continue;
    const std::int32_t producer = tape.node(id).producer;
    if (producer < 0) {
      text += dot_leaf(tape, id);
      continue;
    }
    const Record& r = tape.records()[static_cast<std::size_t>(producer)];
    text += dot_record(tape, r);
    for (const NodeId input : r.inputs) {
      if (is_shown(input)) text += fmt::format("  n{} -> n{};\n", input, id);
    }
  }
  return text + "}\n";
}

}  // namespace

std::string tape_text(const Tape& tape) {
  std::vector<Row> rows = {
      {"#", "operation", "path", "inputs -> output", "saved bytes", "flops", "attributes", "tags"}};
  for (std::size_t i = 0; i < tape.nodes().size(); ++i) {
    if (tape.nodes()[i].producer < 0) rows.push_back(leaf_row(tape, static_cast<NodeId>(i)));
  }
  for (std::size_t i = 0; i < tape.records().size(); ++i) rows.push_back(record_row(tape, i));
  return table(rows) + fmt::format("{} records, {} bytes saved, {} flops\n", tape.records().size(),
                                   tape.saved_bytes(), number(tape.flops()));
}

std::string tape_json(const Tape& tape, int indent) {
  Json nodes = Json::array();
  for (std::size_t i = 0; i < tape.nodes().size(); ++i) {
    nodes.push_back(json_node(tape, static_cast<NodeId>(i)));
  }
  Json records = Json::array();
  for (std::size_t i = 0; i < tape.records().size(); ++i) records.push_back(json_record(tape, i));
  const Json json = {
      {"nodes", nodes}, {"records", records}, {"saved_bytes", tape.saved_bytes()}, {"flops", tape.flops()}};
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

std::string tape_dot(const Tape& tape) {
  return dot(tape, std::vector<bool>(tape.nodes().size(), true));
}

std::string tape_dot(const Tape& tape, NodeId from, NodeId to) {
  const std::size_t count = tape.nodes().size();
  for (const NodeId id : {from, to}) {
    if (id < 0 || static_cast<std::size_t>(id) >= count) fail("no node %{} on a tape of {}", id, count);
  }
  std::vector<bool> after(count, false);   // reached from `from`
  std::vector<bool> before(count, false);  // reaches `to`
  after[static_cast<std::size_t>(from)] = true;
  before[static_cast<std::size_t>(to)] = true;
  for (const Record& r : tape.records()) {
    for (const NodeId input : r.inputs) {
      if (input != kNoNode && after[static_cast<std::size_t>(input)]) {
        after[static_cast<std::size_t>(r.output)] = true;
      }
    }
  }
  const auto records = tape.records();
  for (std::size_t i = records.size(); i-- > 0;) {
    if (!before[static_cast<std::size_t>(records[i].output)]) continue;
    for (const NodeId input : records[i].inputs) {
      if (input != kNoNode) before[static_cast<std::size_t>(input)] = true;
    }
  }
  std::vector<bool> shown(count);
  for (std::size_t i = 0; i < count; ++i) shown[i] = after[i] && before[i];
  if (!shown[static_cast<std::size_t>(from)]) fail("nothing on the tape leads from %{} to %{}", from, to);
  return dot(tape, shown);
}

}  // namespace costeff
