#include "tools/cli/audit/path_output.h"

namespace costeff {
namespace {

using audit::PathEdge;
using audit::WeightPath;

Json shape_json(const Shape& shape) {
  Json sizes = Json::array();
  for (int i = 0; i < shape.rank(); ++i) sizes.push_back(shape[i]);
  return sizes;
}

Json place_json(const WeightPath& path) {
  using Kind = audit::WeightPlace::Kind;
  const Kind kind = path.place.kind;
  return {{"name", path.weight},
          {"shape", shape_json(path.shape)},
          {"layer", kind == Kind::exit ? Json() : Json(path.place.number)},
          {"exit", kind == Kind::exit ? Json(path.place.number) : Json()},
          {"layers", path.layers}};
}

Json terms_json(const WeightPath& path) {
  Json terms = Json::array();
  for (const audit::LossTerm& term : path.terms)
    terms.push_back({{"name", term.name}, {"value", term.value}, {"coefficient", term.coefficient}});
  return terms;
}

Json edges_json(const std::vector<PathEdge>& edges) {
  Json all = Json::array();
  for (const PathEdge& edge : edges) {
    all.push_back(
        {{"record", edge.reader}, {"input", edge.input}, {"node", edge.node}, {"gradient", edge.gradient}});
  }
  return all;
}

Json optional_json(const std::optional<double>& number) {
  return number ? Json(*number) : Json();
}

Json steps_json(const WeightPath& path) {
  Json steps = Json::array();
  for (const audit::PathStep& step : path.steps) {
    Json inputs = Json::array();
    for (const Shape& shape : step.inputs) inputs.push_back(shape_json(shape));
    steps.push_back({{"record", step.record},
                     {"op", step.op->name},
                     {"formula", step.op->formula},
                     {"path", step.path},
                     {"part", path.parts[step.part].name},
                     {"inputs", inputs},
                     {"output", shape_json(step.output)},
                     {"node", step.node},
                     {"factor", optional_json(step.factor)},
                     {"gradient", step.gradient},
                     {"readers", edges_json(step.readers)},
                     {"passes", edges_json(step.passes)}});
  }
  return steps;
}

Json parts_json(const WeightPath& path) {
  Json parts = Json::array();
  for (const audit::PathPart& part : path.parts) {
    parts.push_back({{"name", part.name},
                     {"records", part.steps.size()},
                     {"factor", optional_json(part.factor)},
                     {"gradient", part.gradient},
                     {"passes", Json::array()}});
  }
  for (const audit::PartEdge& edge : path.edges) {
    parts[edge.from]["passes"].push_back(
        {{"to", edge.to ? Json(path.parts[*edge.to].name) : Json()}, {"gradient", edge.gradient}});
  }
  return parts;
}

Json reading_json(const PathReport& report, const audit::EntryReading& reading) {
  Json terms = Json::array();
  for (const audit::EntryTerm& term : reading.terms) {
    terms.push_back({{"row", term.row},
                     {"where", row_text(report, reading.rows, term.row)},
                     {"dy", term.gradient},
                     {"factor", term.factor},
                     {"product", term.product}});
  }
  return {{"record", reading.record},   {"op", reading.op->name}, {"path", reading.path},
          {"formula", reading.formula}, {"rows", reading.rows},   {"terms", terms}};
}

Json entry_json(const PathReport& report) {
  if (!report.entry) return {};
  const audit::EntryAudit& e = *report.entry;
  Json readings = Json::array();
  for (const audit::EntryReading& reading : e.readings) readings.push_back(reading_json(report, reading));
  Json place = {e.row};
  if (report.path.shape.rank() > 1) place.push_back(e.col);
  return {{"entry", place},
          {"value", e.value},
          {"readings", readings},
          {"gradient", e.gradient},
          {"plain_gradient", e.plain},
          {"differences", e.numeric},
          {"differences_error", e.numeric_error},
          {"relative_error", e.error},
          {"relative_error_of_sum", e.sum_error},
          {"relative_error_of_factor", report.path.one_factor() ? Json(e.scaled_error) : Json()},
          {"relative_to", e.scale},
          {"agrees", e.agrees()}};
}

}  // namespace

Json path_json(const PathReport& report) {
  const WeightPath& p = report.path;
  const std::optional<std::string> fault = equalisation_fault(p);
  return {{"model", report.model},
          {"dtype", name_of(report.dtype)},
          {"first_sentence", report.first},
          {"sentences", report.batch.sequences()},
          {"tokens", report.batch.tokens()},
          {"from", report.from},
          {"terms", terms_json(p)},
          {"to", place_json(p)},
          {"equalised", p.equalised},
          {"factors",
           {{"least", p.least_factor},
            {"largest", p.largest_factor},
            {"closed_form", p.equalised ? equalisation_factor(p.place, p.layers) : 1}}},
          {"gradient", p.gradient},
          {"plain_gradient", p.plain_gradient},
          {"deviation", p.one_factor() && !p.vanishes ? Json(p.deviation) : Json()},
          {"vanishes", p.vanishes},
          {"fault", fault ? Json(*fault) : Json()},
          {"parts", parts_json(p)},
          {"records", steps_json(p)},
          {"entry", entry_json(report)}};
}

}  // namespace costeff
