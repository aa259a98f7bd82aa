// The tape as text, JSON and Graphviz.
#include "autograd/print.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/autograd/support.h"

namespace costeff {
namespace {

using namespace testing;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::ordered_json;

constexpr Symbol kHard{"hard"};

// x -> linear -> attention -> first_rows -> cross_entropy, and a branch tanh(x) that nothing reads.
class Print : public ::testing::Test {
 protected:
  Print() {
    weight_.name = "encoder.layer.0.attention.self.query.weight";
    weight_.value = random_tensor({18, 4}, 1);
    x_ = tape_.leaf(random_tensor({5, 4}, 2), "hidden");
    mask_ = tape_.leaf(random_tensor({5, 4}, 3), "mask", false);
    const Scope scope(&tape_, "encoder.layer.0", {.layer = 1, .exit = 1, .loss = &kHard});
    const Variable masked = multiply(multiply(x_, mask_), Variable(random_tensor({5, 4}, 4)));
    branch_ = tanh(x_);
    const Variable qkv = linear(masked, tape_.parameter(weight_));
    context_ = attention(qkv, 2, {0.1, {77, 5, 3}}, layout_);
    loss_ = cross_entropy(first_rows(context_, layout_), indices({1, 2}));
  }

  LayoutPtr layout_ = layout_of({0, 2, 5}, {2, 1});
  Parameter weight_;
  Tape tape_;
  Variable x_;
  Variable mask_;
  Variable branch_;
  Variable context_;
  Variable loss_;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST_F(Print, TextHasALineForEachLeafAndRecord) {
  const std::string text = tape_text(tape_);
  const std::vector<std::string> lines = lines_of(text);
  ASSERT_EQ(lines.size(), 1 + 3 + tape_.records().size() + 1) << text;
  for (const Record& r : tape_.records()) EXPECT_THAT(text, HasSubstr(std::string(r.op->name)));
  EXPECT_THAT(text, HasSubstr("parameter"));
  EXPECT_THAT(text, HasSubstr(weight_.name));
  EXPECT_THAT(text, HasSubstr("hidden"));
  EXPECT_THAT(text, HasSubstr("no gradient"));
  EXPECT_THAT(text, HasSubstr("constant -> "));
  EXPECT_THAT(text, HasSubstr("heads=2, p=0.1"));
  EXPECT_THAT(text, HasSubstr("layer=1, exit=1, loss=hard"));
  const std::string& attention_line = lines[4 + 4];
  EXPECT_THAT(attention_line, HasSubstr("encoder.layer.0"));
  EXPECT_THAT(attention_line, HasSubstr("[5, 18] -> %"));
  EXPECT_THAT(attention_line, HasSubstr(std::to_string((5 * 18 + 2 * 13) * 8))) << "saved bytes";
  EXPECT_THAT(attention_line, HasSubstr(std::to_string(4 * 13 * 6))) << "flops";
  EXPECT_THAT(lines.back(), HasSubstr("7 records"));
  EXPECT_THAT(lines.back(), HasSubstr(std::to_string(tape_.saved_bytes()) + " bytes"));
}

TEST_F(Print, TextIsAligned) {
  const std::vector<std::string> lines = lines_of(tape_text(tape_));
  const std::size_t path = lines[0].find("path");
  const std::size_t flow = lines[0].find("inputs -> output");
  for (std::size_t i = 4; i + 1 < lines.size(); ++i) {
    EXPECT_EQ(lines[i].compare(path, 15, "encoder.layer.0"), 0) << lines[i];
    EXPECT_EQ(lines[i][flow], '%') << lines[i];
    EXPECT_EQ(lines[i][flow - 1], ' ') << lines[i];
  }
}

TEST_F(Print, JsonHasEverythingInARecord) {
  const Json json = Json::parse(tape_json(tape_));
  ASSERT_EQ(json["records"].size(), tape_.records().size());
  ASSERT_EQ(json["nodes"].size(), tape_.nodes().size());
  for (std::size_t i = 0; i < tape_.records().size(); ++i) {
    const Record& r = tape_.records()[i];
    const Json& j = json["records"][i];
    EXPECT_EQ(j["index"], i);
    EXPECT_EQ(j["op"], r.op->name);
    EXPECT_EQ(j["formula"], r.op->formula);
    EXPECT_EQ(j["path"], "encoder.layer.0");
    EXPECT_EQ(j["tags"], Json::parse(R"({"layer":1,"exit":1,"loss":"hard"})"));
    EXPECT_EQ(j["output"], r.output);
    EXPECT_EQ(j["flops"], r.details.flops);
    ASSERT_EQ(j["inputs"].size(), r.inputs.size());
    for (std::size_t k = 0; k < r.inputs.size(); ++k)
      EXPECT_EQ(j["inputs"][k], r.inputs[k] == kNoNode ? Json() : Json(r.inputs[k]));
    ASSERT_EQ(j["saved"].size(), r.details.saved.size());
    std::size_t bytes = 0;
    for (std::size_t k = 0; k < r.details.saved.size(); ++k) {
      EXPECT_EQ(j["saved"][k]["name"], r.details.saved[k].name);
      EXPECT_EQ(j["saved"][k]["bytes"], r.saved(k).bytes());
      bytes += r.saved(k).bytes();
    }
    EXPECT_EQ(j["saved_bytes"], bytes);
    EXPECT_EQ(json["nodes"][static_cast<std::size_t>(r.output)]["producer"], i);
  }
  const Json& attention = json["records"][4];
  EXPECT_EQ(attention["attributes"], Json::parse(R"({"heads":2.0,"p":0.1})"));
  EXPECT_EQ(attention["dropout"], Json::parse(R"({"p":0.1,"seed":77,"step":5,"site":3})"));
  EXPECT_EQ(attention["layout"], Json::parse(R"({"offsets":[0,2,5],"lengths":[2,1]})"));
  EXPECT_TRUE(json["records"][0]["dropout"].is_null());
  EXPECT_EQ(json["nodes"][0], Json::parse(R"({"id":0,"name":"hidden","shape":[5,4],"dtype":"f64",
      "requires_gradient":true,"parameter":null,"producer":null})"));
  EXPECT_EQ(json["flops"], tape_.flops());
  EXPECT_EQ(json["saved_bytes"], tape_.saved_bytes());
  int parameters = 0;
  for (const Json& node : json["nodes"]) {
    if (node["parameter"].is_null()) continue;
    ++parameters;
    EXPECT_EQ(node["parameter"], weight_.name);
    EXPECT_EQ(node["name"], weight_.name);
  }
  EXPECT_EQ(parameters, 1);
}

// Nodes and edges of a digraph that has one statement a line; every line must be one of these.
struct Graph {
  std::map<int, std::string> labels;
  std::vector<std::pair<int, int>> edges;
};

// Adds the node or edge that the line states; false when it states neither.
bool parse_statement(const std::string& line, Graph& graph) {
  int from = 0;
  int to = 0;
  int read = 0;
  if (std::sscanf(line.c_str(), "  n%d -> n%d;%n", &from, &to, &read) == 2) {
    graph.edges.emplace_back(from, to);
    return static_cast<std::size_t>(read) == line.size();
  }
  if (std::sscanf(line.c_str(), "  n%d [shape=%*[a-z], label=\"%n", &from, &read) != 1 || read == 0)
    return false;
  std::size_t end = static_cast<std::size_t>(read);
  while (end < line.size() && line[end] != '"') end += line[end] == '\\' ? 2 : 1;
  if (end >= line.size()) return false;
  const std::string rest = line.substr(end + 1);
  graph.labels[from] = line.substr(static_cast<std::size_t>(read), end - static_cast<std::size_t>(read));
  return rest.ends_with("];") && rest.find_first_of("\"\\") == std::string::npos;
}

Graph parse_dot(const std::string& text) {
  Graph graph;
  const std::vector<std::string> lines = lines_of(text);
  EXPECT_EQ(lines.front(), "digraph tape {");
  EXPECT_EQ(lines.back(), "}");
  for (std::size_t i = 3; i + 1 < lines.size(); ++i) {
    EXPECT_TRUE(parse_statement(lines[i], graph)) << "not a statement: " << lines[i];
  }
  for (const auto& [from, to] : graph.edges) {
    EXPECT_TRUE(graph.labels.contains(from) && graph.labels.contains(to)) << from << " -> " << to;
  }
  return graph;
}

TEST_F(Print, DotNamesEveryOperationAndConnectsIt) {
  const std::string dot = tape_dot(tape_);
  const Graph graph = parse_dot(dot);
  EXPECT_EQ(graph.labels.size(), tape_.nodes().size());
  std::size_t edges = 0;
  for (const Record& r : tape_.records()) {
    EXPECT_THAT(graph.labels.at(r.output), HasSubstr(std::string(r.op->name)));
    for (const NodeId input : r.inputs) edges += input == kNoNode ? 0 : 1;
  }
  EXPECT_EQ(graph.edges.size(), edges);
  EXPECT_EQ(std::count(dot.begin(), dot.end(), '{'), std::count(dot.begin(), dot.end(), '}'));
}

TEST_F(Print, DotOfAPathHasOnlyWhatLiesOnIt) {
  const Graph graph = parse_dot(tape_dot(tape_, x_.node(), context_.node()));
  std::vector<std::string> ops;
  for (const auto& [id, label] : graph.labels) ops.push_back(label.substr(0, label.find("\\n")));
  EXPECT_THAT(ops, ::testing::ElementsAre("hidden", "multiply", "multiply", "linear", "attention"));
  EXPECT_EQ(graph.edges.size(), 4u);

  EXPECT_EQ(parse_dot(tape_dot(tape_, loss_.node(), loss_.node())).labels.size(), 1u);
  EXPECT_THAT(error_of([&] { tape_dot(tape_, branch_.node(), loss_.node()); }),
              HasSubstr("nothing on the tape"));
  EXPECT_THAT(error_of([&] { tape_dot(tape_, loss_.node(), x_.node()); }), HasSubstr("nothing on the tape"));
  EXPECT_THAT(error_of([&] { tape_dot(tape_, kNoNode, x_.node()); }), HasSubstr("no node"));
  EXPECT_THAT(error_of([&] { tape_dot(tape_, x_.node(), 1000); }), HasSubstr("no node %1000"));
}

TEST(PrintNames, StrangeOnesDoNotBreakTheForms) {
  Tape tape;
  const std::string name = "a \"quoted\" \\name\\\nin two lines\t\xff";
  const Scope scope(&tape, name);
  scale(tape.leaf(random_tensor({2}, 1), "x"), 1e-12);
  EXPECT_EQ(parse_dot(tape_dot(tape)).labels.size(), 2u);
  const Json json = Json::parse(tape_json(tape));
  EXPECT_THAT(json["records"][0]["path"].get<std::string>(),
              HasSubstr("a \"quoted\" \\name\\\nin two lines\t"));
  EXPECT_EQ(json["records"][0]["attributes"]["factor"], 1e-12);
  EXPECT_EQ(lines_of(tape_text(tape)).size(), 4u);
  EXPECT_THAT(tape_text(tape), HasSubstr("factor=1e-12"));
}

TEST(PrintNames, NumbersThatJsonLacksAreNull) {
  Tape tape;
  scale(tape.leaf(random_tensor({2}, 1), "x"), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(Json::parse(tape_json(tape))["records"][0]["attributes"]["factor"].is_null());
  EXPECT_THAT(tape_text(tape), HasSubstr("factor=inf"));
}

TEST(PrintNames, AnEmptyTapePrints) {
  const Tape tape;
  EXPECT_EQ(lines_of(tape_text(tape)).size(), 2u);
  EXPECT_EQ(Json::parse(tape_json(tape))["records"].size(), 0u);
  EXPECT_EQ(parse_dot(tape_dot(tape)).labels.size(), 0u);
}

}  // namespace
}  // namespace costeff
