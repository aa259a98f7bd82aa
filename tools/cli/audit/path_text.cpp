#include <algorithm>
#include <array>
#include <cmath>

#include "tools/cli/audit/path_output.h"

namespace costeff {
namespace {

using audit::EntryAudit;
using audit::EntryReading;
using audit::EntryTerm;
using audit::PathEdge;
using audit::PathPart;
using audit::PathStep;
using audit::WeightPath;

std::string number(double x) {
  return fmt::format("{:.4g}", x);
}

std::string plural(std::int64_t count, const char* noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

// The pieces of the batch's only sentence.
std::string pieces(const PathReport& report) {
  std::string text;
  for (const std::int32_t id : report.batch.ids)
    text += fmt::format("{}{}", text.empty() ? "" : " ", report.tokenizer.token(id));
  return text;
}

std::string heading(const PathReport& report) {
  const WeightPath& p = report.path;
  std::string text = fmt::format("From {} to {} {}, a weight of {}\n\n", report.from, p.weight,
                                 to_string(p.shape), to_string(p.place, p.layers));
  text += fmt::format("model      {}, in {}, {}\n", report.model, name_of(report.dtype),
                      p.equalised ? "equalised" : "not equalised");
  const auto sentences = static_cast<std::int64_t>(report.batch.sequences());
  const auto tokens = static_cast<std::int64_t>(report.batch.tokens());
  text += sentences == 1 ? fmt::format("sentence   {}: {}\n", report.first, pieces(report))
                         : fmt::format("sentences  {} to {}, {}\n", report.first,
                                       report.first + sentences - 1, plural(tokens, "token"));
  const char* label = "loss";
  for (const audit::LossTerm& term : p.terms) {
    text += fmt::format("{:<11}{} = {:.6g}", label, term.name, term.value);
    text += term.coefficient == 1 ? "\n" : fmt::format(", times {:.6g} in the loss\n", term.coefficient);
    label = "";
  }
  return text + "\n";
}

// "2 ways meet: linear 0.003 + residual 0.002"
std::string meeting(const WeightPath& path, const std::vector<PathEdge>& readers) {
  if (readers.size() < 2) return "";
  std::string text = fmt::format("{} ways meet:", readers.size());
  for (std::size_t i = 0; i < readers.size(); ++i) {
    text += fmt::format("{} {} {}", i == 0 ? "" : " +", reader_name(path, readers[i]),
                        number(readers[i].gradient));
  }
  return text;
}

// What a part hands on: a number, or one for each of several places.
std::string handed(const WeightPath& path, std::size_t part) {
  std::vector<const audit::PartEdge*> edges;
  for (const audit::PartEdge& edge : path.edges) {
    if (edge.from == part) edges.push_back(&edge);
  }
  if (edges.size() == 1) return number(edges[0]->gradient);
  std::string text;
  for (const audit::PartEdge* edge : edges) {
    text += fmt::format("{}{} to {}", text.empty() ? "" : ", ", number(edge->gradient),
                        edge->to ? path.parts[*edge->to].name : "the weight");
  }
  return text;
}

using Row = std::array<std::string, 5>;

std::string part_table(const WeightPath& path) {
  std::vector<Row> rows = {{"part", "factor", "|gradient|", "hands on", ""}};
  for (std::size_t i = 0; i < path.parts.size(); ++i) {
    const PathPart& part = path.parts[i];
    const std::string meets = meeting(path, path.steps[part.steps.front()].readers);
    const std::string factor = part.factor ? fmt::format("x {}", factor_text(*part.factor)) : "";
    rows.push_back({part.name, factor, number(part.gradient), handed(path, i), meets});
  }
  rows.push_back({"the weight", "", number(path.gradient), "", meeting(path, path.readers)});
  std::array<std::size_t, 5> width{};
  for (const Row& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], row[c].size());
  }
  std::string text;
  for (const Row& row : rows) {
    std::string line = fmt::format("{:<{}}  {:<{}}  {:>{}}  {:>{}}    {}", row[0], width[0], row[1], width[1],
                                   row[2], width[2], row[3], width[3], row[4]);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string step_text(const WeightPath& path, const PathStep& step) {
  std::string shapes;
  for (const Shape& shape : step.inputs)
    shapes += fmt::format("{}{}", shapes.empty() ? "" : ", ", to_string(shape));
  std::string text = fmt::format("#{} {} at {}: {} -> {}\n     {}\n", step.record, step.op->name, step.path,
                                 shapes, to_string(step.output), step.op->formula);
  if (step.readers.size() > 1) {
    text += fmt::format("     {} ways meet in its output:", step.readers.size());
    for (std::size_t i = 0; i < step.readers.size(); ++i) {
      text += fmt::format("{} #{} {} {}", i == 0 ? "" : " +", step.readers[i].reader,
                          reader_name(path, step.readers[i]), number(step.readers[i].gradient));
    }
    text += "\n";
  }
  text += fmt::format("     |dy| {}", number(step.gradient));
  if (step.factor) text += fmt::format(", x {}", factor_text(*step.factor));
  for (std::size_t i = 0; i < step.passes.size(); ++i) {
    const PathEdge& edge = step.passes[i];
    const bool weight = &step == &path.steps.back() && edge.node == path.readers.front().node;
    text += fmt::format("{} {} to {}", i == 0 ? ", hands on" : ",", number(edge.gradient),
                        weight ? "the weight" : fmt::format("%{}", edge.node));
  }
  return text + "\n";
}

std::string record_list(const WeightPath& path) {
  std::string text;
  for (const PathStep& step : path.steps) text += step_text(path, step);
  return text + fmt::format("the weight: |gradient| {}\n", number(path.gradient));
}

std::string equalisation(const WeightPath& p) {
  if (!p.equalised) return fmt::format("\nequalisation  off: |dL/dW| is {:.6g}\n", p.gradient);
  const double closed = equalisation_factor(p.place, p.layers);
  std::string text = "\nequalisation  ";
  if (p.one_factor()) {
    text += fmt::format("the factors on the way multiply to {}", factor_text(p.largest_factor));
  } else {
    text +=
        fmt::format("the factors multiply to {} on one way and to {} on another{}",
                    factor_text(p.least_factor), factor_text(p.largest_factor),
                    p.place.kind == audit::WeightPlace::Kind::embeddings ? ", as nothing rescales h_0" : "");
  }
  switch (p.place.kind) {
    case audit::WeightPlace::Kind::exit:
      text += "; Eq. 3 leaves exits alone\n";
      break;
    case audit::WeightPlace::Kind::embeddings:
      text += fmt::format("; Eq. 3 has 1/L = {} for the embeddings\n", factor_text(closed));
      break;
    case audit::WeightPlace::Kind::layer:
      text += fmt::format("; Eq. 3 has 1/(L-m+1) = {} for layer {}\n", factor_text(closed), p.place.number);
      break;
  }
  if (const auto fault = equalisation_fault(p)) text += fmt::format("WRONG         {}\n", *fault);
  if (p.vanishes) return text + "measured      the gradient is 0 but for rounding, with it and without\n";
  text += fmt::format("measured      |dL/dW| {:.6g} with it, {:.6g} without: ratio {:.7g}\n", p.gradient,
                      p.plain_gradient, p.plain_gradient > 0 ? p.gradient / p.plain_gradient : 1.0);
  if (p.one_factor()) {
    text += fmt::format("              every entry is {} of the plain one to {:.1g} of the largest\n",
                        factor_text(p.largest_factor), p.deviation);
  }
  return text;
}

// ---- an entry

constexpr std::size_t kShownTerms = 6;

std::string reading_text(const PathReport& report, const EntryReading& reading) {
  std::string text = fmt::format("read by    #{} {} at {}\n           {}\n", reading.record, reading.op->name,
                                 reading.path, reading.formula);
  if (reading.terms.empty()) return text + "           no row of the batch reads it: its gradient is 0\n";
  const bool factor = !reading.factor.empty();
  text += fmt::format("{:>14}  {:>12}{}  t\n", "term", "dy",
                      factor ? fmt::format("  {:>12}", reading.factor) : "");
  double rest = 0;
  for (std::size_t i = 0; i < reading.terms.size(); ++i) {
    const EntryTerm& term = reading.terms[i];
    if (i >= kShownTerms) {
      rest += term.product;
      continue;
    }
    text += fmt::format("{:>14.6g}  {:>12.5g}{}  {}\n", term.product, term.gradient,
                        factor ? fmt::format("  {:>12.5g}", term.factor) : "",
                        row_text(report, reading.rows, term.row));
  }
  if (reading.terms.size() > kShownTerms) {
    text += fmt::format(
        "{:>14.6g}  {}\n", rest,
        fmt::format("the other {}",
                    plural(static_cast<std::int64_t>(reading.terms.size() - kShownTerms), "row")));
  }
  return text;
}

// What a row of a table stands for.
std::string row_of_table(const PathReport& report, std::int64_t row) {
  const Part part = report.path.role.part;
  if (part == Part::word || part == Part::word_factor)
    return fmt::format(", of the word piece \"{}\"", report.tokenizer.token(static_cast<std::int32_t>(row)));
  if (part == Part::position) return fmt::format(", of position {} in a sentence", row);
  return "";
}

std::string entry_text(const PathReport& report, const EntryAudit& e) {
  const WeightPath& p = report.path;
  const std::string place =
      p.shape.rank() == 1 ? fmt::format("{}", e.row) : fmt::format("{},{}", e.row, e.col);
  std::string text =
      fmt::format("\nentry      [{}]{}: {:.8g}\n", place, row_of_table(report, e.row), e.value);
  for (const EntryReading& reading : e.readings) text += reading_text(report, reading);
  if (p.equalised) {
    text += fmt::format("{:>14.8g}  the tape's gradient, equalised", e.gradient);
    text += p.one_factor() ? fmt::format(" = {} of\n", factor_text(p.largest_factor)) : "\n";
  }
  text += fmt::format("{:>14.8g}  the tape's gradient{}: what the loss has as its derivative\n", e.plain,
                      p.equalised ? " without equalisation" : "");
  text += fmt::format("{:>14.8g}  by central differences of the loss in f64 (good to {:.1g})\n", e.numeric,
                      e.numeric_error);
  text += fmt::format("{:>14.2g}  relative error{}: {}\n", e.error,
                      e.scale > std::abs(e.plain)
                          ? fmt::format(", against {:.3g} (a thousandth of the largest entry)", e.scale)
                          : "",
                      e.agrees() ? "they agree" : "THEY DO NOT AGREE");
  if (!(e.sum_error <= EntryAudit::kTolerance))
    text += fmt::format("{:>14.2g}  relative error of the terms' sum\n", e.sum_error);
  if (!(e.scaled_error <= EntryAudit::kTolerance))
    text += fmt::format("{:>14.2g}  relative error of the equalised gradient\n", e.scaled_error);
  return text;
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

std::string reader_name(const WeightPath& path, const PathEdge& edge) {
  const auto step = std::find_if(path.steps.begin(), path.steps.end(),
                                 [&](const PathStep& s) { return s.record == edge.reader; });
  const PathPart& part = path.parts[step->part];
  if (part.kind != PathPart::Kind::ffn && part.kind != PathPart::Kind::attention) return part.name;
  constexpr std::size_t kResidual = 2;  // of bias_dropout_residual_layer_norm
  const bool residual = step->op->name == "bias_dropout_residual_layer_norm" && edge.input == kResidual;
  return residual ? "residual" : std::string(step->op->name);
}

std::string path_text(const PathReport& report, bool all) {
  std::string text = heading(report) + (all ? record_list(report.path) : part_table(report.path));
  if (!all)
    text += fmt::format("{} on the way; --all shows each\n",
                        plural(static_cast<std::int64_t>(report.path.steps.size()), "record"));
  text += equalisation(report.path);
  return report.entry ? text + entry_text(report, *report.entry) : text;
}

}  // namespace costeff
