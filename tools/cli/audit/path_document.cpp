// The document of a weight's path.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "autograd/ops.h"
#include "autograd/print.h"
#include "tools/cli/audit/path.h"

namespace costeff {
namespace {

using audit::EntryAudit;
using audit::EntryReading;
using audit::EntryTerm;
using audit::PathEdge;
using audit::PathPart;
using audit::PathStep;
using audit::WeightPath;
using Kind = audit::WeightPlace::Kind;

std::string short_text(double x) {
  return fmt::format("{:.4g}", x);
}

// The record that reads something meant for several readers: "residual", "linear", "exit 3".
std::string reader_name(const WeightPath& path, const PathEdge& edge) {
  const auto step = std::find_if(path.steps.begin(), path.steps.end(),
                                 [&](const PathStep& s) { return s.record == edge.reader; });
  const PathPart& part = path.parts[step->part];
  if (part.kind != PathPart::Kind::ffn && part.kind != PathPart::Kind::attention) return part.name;
  constexpr std::size_t kResidual = 2;  // of kFusedLayerNorm
  const bool residual = step->op == &kFusedLayerNorm && edge.input == kResidual;
  return residual ? "residual" : std::string(step->op->name);
}

// "2 ways meet: linear 0.003 + residual 0.002"
std::string meeting(const WeightPath& path, const std::vector<PathEdge>& readers) {
  if (readers.size() < 2) return "";
  std::string text = fmt::format("{} ways meet:", readers.size());
  for (std::size_t i = 0; i < readers.size(); ++i) {
    text += fmt::format("{} {} {}", i == 0 ? "" : " +", reader_name(path, readers[i]),
                        short_text(readers[i].gradient));
  }
  return text;
}

// What a part hands on: a number, or one for each of several places.
std::string handed(const WeightPath& path, std::size_t part) {
  std::vector<const audit::PartEdge*> edges;
  for (const audit::PartEdge& edge : path.edges) {
    if (edge.from == part) edges.push_back(&edge);
  }
  if (edges.size() == 1) return short_text(edges[0]->gradient);
  std::string text;
  for (const audit::PartEdge* edge : edges) {
    text += fmt::format("{}{} to {}", text.empty() ? "" : ", ", short_text(edge->gradient),
                        edge->to ? path.parts[*edge->to].name : "the weight");
  }
  return text;
}

Json json_of(const std::vector<PathEdge>& edges) {
  Json json = Json::array();
  for (const PathEdge& e : edges)
    json.push_back(named("record", e.reader, "input", e.input, "node", e.node, "gradient", e.gradient));
  return json;
}

Cell factor_cell(const std::optional<double>& factor) {
  return factor ? Cell(*factor, "x " + factor_text(*factor)) : Cell();
}

Table terms_table(const WeightPath& path) {
  Table table = table_of("terms", "", {"name", "value", "coefficient"});
  for (const audit::LossTerm& term : path.terms)
    table.add({term.name, number(term.value, ".6g"), number(term.coefficient, ".6g")});
  return table;
}

Table parts_table(const WeightPath& path) {
  Table table = table_of("parts", "", {"part", "factor", "|gradient|", "hands on", "ways meet"});
  table.style = "left";
  for (std::size_t i = 0; i < path.parts.size(); ++i) {
    const PathPart& part = path.parts[i];
    Json passes = Json::array();
    for (const audit::PartEdge& edge : path.edges) {
      if (edge.from != i) continue;
      passes.push_back(
          named("to", edge.to ? Json(path.parts[*edge.to].name) : Json(), "gradient", edge.gradient));
    }
    table.add({part.name,
               factor_cell(part.factor),
               number(part.gradient, ".4g"),
               {passes, handed(path, i)},
               meeting(path, path.steps[part.steps.front()].readers)});
  }
  table.add({"the weight", Cell(), number(path.gradient, ".4g"), Cell(), meeting(path, path.readers)},
            kReaders);
  return table;
}

Table records_table(const WeightPath& path, bool all) {
  Table table = table_of(
      "records", "Every record",
      {"record", "op", "path", "formula", "inputs", "output", "node", "|dy|", "factor", "passes", "readers"},
      all ? kEverywhere : kPage | kJson);
  table.folded = true;
  table.style = "left";
  for (const PathStep& step : path.steps) {
    std::vector<std::string> shapes, passes;
    Json sizes = Json::array();
    for (const Shape& shape : step.inputs) {
      shapes.push_back(to_string(shape));
      sizes.push_back(json_shape(shape));
    }
    for (const PathEdge& edge : step.passes) {
      const bool weight = &step == &path.steps.back() && edge.node == path.readers.front().node;
      passes.push_back(
          fmt::format("{:.4g} to {}", edge.gradient, weight ? "the weight" : fmt::format("%{}", edge.node)));
    }
    table.add({{step.record, fmt::format("#{}", step.record)},
               std::string(step.op->name),
               step.path,
               std::string(step.op->formula),
               {sizes, fmt::format("{}", fmt::join(shapes, ", "))},
               {json_shape(step.output), to_string(step.output)},
               {step.node, fmt::format("%{}", step.node)},
               number(step.gradient, ".4g"),
               factor_cell(step.factor),
               {json_of(step.passes), fmt::format("{}", fmt::join(passes, ", "))},
               {json_of(step.readers), meeting(path, step.readers)}});
  }
  return table;
}

// ---- equalisation

Findings equalisation_findings(const WeightPath& p) {
  Findings out{words("path.equalisation_title"), {}};
  const auto add = [&](const char* kind, const Json& values = Json::object()) {
    out.findings.push_back({kind, values});
  };
  if (!p.equalised) {
    add("path.off", named("gradient", p.gradient));
    return out;
  }
  const std::string factor = factor_text(p.largest_factor);
  if (p.one_factor()) {
    add("path.one_factor", named("factor", factor));
  } else {
    add("path.two_factors", named("least", factor_text(p.least_factor), "largest", factor));
    if (p.place.kind == Kind::embeddings) add("path.h_0");
  }
  const Json closed =
      named("closed", factor_text(equalisation_factor(p.place, p.layers)), "layer", p.place.number);
  add(p.place.kind == Kind::exit         ? "path.of_exit"
      : p.place.kind == Kind::embeddings ? "path.of_embeddings"
                                         : "path.of_layer",
      closed);
  if (p.vanishes) {
    add("path.vanishes");
    return out;
  }
  add("path.measured", named("gradient", p.gradient, "plain", p.plain_gradient, "ratio",
                             p.plain_gradient > 0 ? p.gradient / p.plain_gradient : 1.0));
  if (p.one_factor()) add("path.deviation", named("factor", factor, "deviation", p.deviation));
  return out;
}

// ---- an entry

constexpr std::size_t kShownTerms = 6;

std::string entry_place(const PathReport& report) {
  const EntryAudit& e = *report.entry;
  return report.path.shape.rank() == 1 ? fmt::format("{}", e.row) : fmt::format("{},{}", e.row, e.col);
}

// What the weight's readers add to the entry's gradient: the largest terms for readers, all for programs.
Table terms_of_entry(const PathReport& report) {
  Table table = table_of("entry_terms", "", {"term", "dy", "factor", "t", "read by", "formula"});
  table.style = "left";
  for (const EntryReading& r : report.entry->readings) {
    const auto add = [&](double product, const Cell& dy, const Cell& factor, const std::string& where,
                         unsigned shown) {
      table.add({number(product, ".6g"), dy, factor, where,
                 fmt::format("#{} {} at {}", r.record, r.op->name, r.path), r.formula},
                shown);
    };
    double rest = 0;
    for (std::size_t i = 0; i < r.terms.size(); ++i) {
      const EntryTerm& term = r.terms[i];
      const bool shown = i < kShownTerms;
      add(term.product, number(term.gradient, ".5g"), number(term.factor, ".5g"),
          row_text(report, r.rows, term.row), shown ? kEverywhere : kJson);
      if (!shown) rest += term.product;
    }
    if (r.terms.size() > kShownTerms)
      add(rest, Cell(), Cell(), fmt::format("{} other rows", r.terms.size() - kShownTerms), kReaders);
  }
  return table;
}

// What a row of a table stands for.
std::string row_of_table(const PathReport& report, std::int64_t row) {
  const Part part = report.path.role.part;
  if (part == Part::word || part == Part::word_factor)
    return fmt::format(", of the word piece \"{}\"", report.tokenizer.token(static_cast<std::int32_t>(row)));
  if (part == Part::position) return fmt::format(", of position {} in a sentence", row);
  return "";
}

Findings entry_findings(const PathReport& report) {
  const EntryAudit& e = *report.entry;
  Findings out{words("path.entry_title", named("entry", entry_place(report), "of",
                                               row_of_table(report, e.row), "value", e.value)),
               {}};
  for (const EntryReading& r : e.readings) {
    if (r.terms.empty())
      out.findings.push_back({"path.unread", named("record", r.record, "op", r.op->name, "path", r.path)});
  }
  if (report.path.equalised) out.findings.push_back({"path.tape", named("gradient", e.gradient)});
  out.findings.push_back({"path.plain", named("plain", e.plain)});
  out.findings.push_back({"path.differences", named("numeric", e.numeric, "error", e.numeric_error)});
  out.findings.push_back(
      {e.agrees() ? "path.agree" : "path.disagree", named("error", e.error, "scale", e.scale)});
  return out;
}

// What is not what it must be in any model.
std::vector<Note> faults_of(const PathReport& report) {
  const WeightPath& p = report.path;
  std::vector<Note> faults;
  if (!std::isfinite(p.gradient)) faults.push_back({p.weight, "the gradient is not finite"});
  if (const auto fault = equalisation_fault(p)) faults.push_back({"equalisation", *fault});
  if (!report.entry || report.entry->agrees()) return faults;
  const EntryAudit& e = *report.entry;
  for (const auto& [kind, error] : {std::pair("path.no_derivative", e.error),
                                    {"path.no_sum", e.sum_error},
                                    {"path.no_factor", e.scaled_error}}) {
    if (error <= EntryAudit::kTolerance) continue;
    faults.push_back({fmt::format("[{}]", entry_place(report)),
                      words(kind, named("error", error, "allowed", EntryAudit::kTolerance, "factor",
                                        factor_text(p.largest_factor)))});
  }
  return faults;
}

std::string sentences_text(const PathReport& report) {
  const auto sentences = static_cast<std::int64_t>(report.batch.sequences());
  std::vector<std::string> pieces;
  for (const std::int32_t id : report.batch.ids) pieces.emplace_back(report.tokenizer.token(id));
  return words(sentences == 1 ? "path.sentence" : "path.sentences",
               named("first", report.first, "last", report.first + sentences - 1, "tokens",
                     report.batch.tokens(), "pieces", fmt::format("{}", fmt::join(pieces, " "))));
}

Json values_of(const PathReport& report) {
  const WeightPath& p = report.path;
  const bool of_exit = p.place.kind == Kind::exit;
  return named("model", report.model, "dtype", name_of(report.dtype), "first_sentence", report.first,
               "sentences", report.batch.sequences(), "tokens", report.batch.tokens(), "from", report.from,
               "to",
               named("name", p.weight, "shape", json_shape(p.shape), of_exit ? "exit" : "layer",
                     p.place.number, "layers", p.layers),
               "equalised", p.equalised, "factors",
               named("least", p.least_factor, "largest", p.largest_factor, "closed_form",
                     p.equalised ? equalisation_factor(p.place, p.layers) : 1),
               "gradient", p.gradient, "plain_gradient", p.plain_gradient, "vanishes", p.vanishes);
}

}  // namespace

std::string factor_text(double factor) {
  const double inverse = 1 / factor;
  if (factor < 1 && std::abs(inverse - std::round(inverse)) < 1e-9 * inverse)
    return fmt::format("1/{:.0f}", inverse);
  return fmt::format("{:.6g}", factor);
}

std::string row_text(const PathReport& report, std::int64_t rows, std::int64_t row) {
  const Batch& batch = report.batch;
  const auto after =
      std::upper_bound(batch.offsets.begin(), batch.offsets.end(), static_cast<std::int32_t>(row));
  const auto tokens = static_cast<std::int64_t>(batch.tokens());
  const std::int64_t sentence = rows == tokens ? after - batch.offsets.begin() - 1 : row;
  std::string text = fmt::format("sentence {}", report.first + sentence);
  if (rows != tokens) return text;
  const auto at = static_cast<std::size_t>(row);
  return fmt::format("{}, token {} \"{}\"", text, batch.positions[at], report.tokenizer.token(batch.ids[at]));
}

Document path_document(const PathReport& report, bool all) {
  const WeightPath& p = report.path;
  Document document{
      .kicker = words("path.kicker"),
      .headline = words("path.headline", named("from", report.from, "weight", p.weight, "shape",
                                               to_string(p.shape), "place", to_string(p.place, p.layers))),
      .made_by = "costeff audit path",
      .facts = {report.model, std::string(name_of(report.dtype)), p.equalised ? "equalised" : "not equalised",
                sentences_text(report)},
      .values = values_of(report)};
  document.faults = faults_of(report);
  document.findings.push_back(equalisation_findings(p));
  const auto add = [&](const char* id, Table table) {
    document.sections.push_back({id, prose(fmt::format("path.{}", id)), {}, {std::move(table)}});
  };
  add("terms", terms_table(p));
  add("parts", parts_table(p));
  if (all) document.sections[1].tables[0].shown = kPage | kJson;
  add("records", records_table(p, all));
  if (!report.entry) return document;
  const EntryAudit& e = *report.entry;
  document.findings.push_back(entry_findings(report));
  document.values["entry"] =
      named("row", e.row, "column", e.col, "value", e.value, "gradient", e.gradient, "plain_gradient",
            e.plain, "differences", e.numeric, "differences_error", e.numeric_error, "relative_error",
            e.error, "relative_error_of_sum", e.sum_error, "relative_error_of_factor", e.scaled_error,
            "relative_to", e.scale, "agrees", e.agrees());
  add("entry", terms_of_entry(report));
  return document;
}

}  // namespace costeff
