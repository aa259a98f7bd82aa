// costeff audit path: the way from a loss to a weight.
#include "tools/cli/audit/path.h"

#include <cmath>
#include <optional>
#include <utility>

#include "data/nearest.h"
#include "nn/checkpoint_names.h"
#include "tensor/error.h"
#include "tools/cli/audit/options.h"
#include "tools/cli/commands.h"

namespace costeff {
namespace {

constexpr std::size_t kTeacherBytes = std::size_t{1}
                                      << 30;  // of its outputs, kept while differences are taken

struct PathOptions {
  SubjectOptions subject;
  std::string from;
  std::string to;
  std::string entry;
  std::int64_t sentence = 0;
  bool no_equalise = false;
  bool all = false;
  std::string svg, dot;
  Outputs outputs{.draws = false};
};

Options options_of(PathOptions& o) {
  Options options(
      "costeff audit path --from TERM --to WEIGHT [options]",
      "Shows how a loss moves a weight: the operations that its gradient goes through, from the loss\n"
      "back to the weight, with the norm of what comes into each and of what it hands on, the rescale\n"
      "factors of gradient equalisation (Eq. 3), and where ways meet (residuals, exits).\n\n"
      "Layers and exits are numbered from 1, as in the paper; a weight's name counts its layer from 0.\n"
      "The first batch is looked at, with dropout off. With --entry one number of the weight\n"
      "is followed: which tokens its gradient comes from, and whether it is the derivative of the\n"
      "loss by finite differences. Exit code 1 if it is not, or if equalisation is not as in Eq. 3.");
  options.group("Path");
  options.add("from", "TERM", &o.from,
              "the loss of an exit (exit.3; exit.3.soft or exit.3.hard where it has both), of a layer's "
              "features (features.2), or all of it (loss)");
  options.add("to", "WEIGHT", &o.to,
              "a parameter by its name in the checkpoint; `bert.`, `encoder.`, `.self` and `.dense` may be "
              "left out: layer.0.intermediate.weight");
  options.add(
      "entry", "I,J", &o.entry,
      "row and column of one entry, from 0 (one number for a bias); everything is computed in f64 then");
  options.add("sentence", "N", &o.sentence, "the N-th of the drawn sentences alone, from 1", {"", 1});
  options.flag("no-equalise", &o.no_equalise, "without the rescale records of Eq. 3");
  options.group("Output");
  options.flag("all", &o.all, "every record, with formula and shapes, instead of a line for each part");
  add_outputs(options, o.outputs);
  options.add("svg", "FILE", &o.svg, "a picture, by Graphviz (Debian's package graphviz)");
  options.add("dot", "FILE", &o.dot, "the picture's source");
  add_subject_options(options, o.subject);
  return options;
}

NamedTensor weight_named(const ParameterStore& parameters, const std::string& name) {
  if (const std::optional<NamedTensor> weight = find_weight(parameters, name)) return *weight;
  std::vector<std::string> names;
  for (const NamedTensor& tensor : parameters.named()) names.push_back(short_name(tensor.name));
  fail_usage("--to {}: the model has no such parameter; the nearest is {}", name,
             nearest(short_name(name), names));
}

// "5,7" of a matrix, "5" of a vector.
std::pair<std::int64_t, std::int64_t> parse_entry(const std::string& text, const NamedTensor& weight) {
  const Shape shape = weight.value().shape();
  const std::size_t comma = text.find(',');
  const std::optional<std::int64_t> row = parse_number<std::int64_t>(text.substr(0, comma));
  const std::optional<std::int64_t> col = comma == std::string::npos
                                              ? std::optional<std::int64_t>(0)
                                              : parse_number<std::int64_t>(text.substr(comma + 1));
  const bool vector = shape.rank() == 1;
  const bool fits = row && col && vector == (comma == std::string::npos);
  if (fits && *row >= 0 && *row < shape[0] && *col >= 0 && (vector || *col < shape[1])) return {*row, *col};
  if (vector)
    fail_usage("--entry {}: {} is {}, so one number from 0 to {}", text, weight.name, to_string(shape),
               shape[0] - 1);
  fail_usage("--entry {}: {} is {}, so a row from 0 to {}, a comma, and a column from 0 to {}", text,
             weight.name, to_string(shape), shape[0] - 1, shape[1] - 1);
}

Batch batch_of(const audit::Subject& subject, std::int64_t sentence) {
  if (sentence == 0) return subject.batches.front();
  const auto count = static_cast<std::int64_t>(subject.data.size());
  if (sentence > count) fail_usage("--sentence {}: only {} were drawn (--batch draws more)", sentence, count);
  const std::int32_t place[] = {static_cast<std::int32_t>(sentence - 1)};
  Batch batch;
  fill_batch(subject.data, place, std::nullopt, batch);
  return batch;
}

}  // namespace

int run_audit_path(const Invocation& invocation) {
  PathOptions o;
  o.subject.settings.batches = 1;
  Options options = options_of(o);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  if (o.from.empty()) fail_usage("--from is missing: which loss? exit.1, features.1, or loss for all of it");
  if (o.to.empty()) fail_usage("--to is missing: which weight? costeff inspect says what the model has");
  if (!o.entry.empty()) o.subject.dtype = "f64";
  require_outputs(o.outputs);
  require_writable({o.svg, o.dot});
  if (!o.svg.empty()) require_dot();

  const audit::Subject subject = load_subject(o.subject, "audit path");
  const Bert& model = *subject.student.model;
  const audit::PathQuery query{o.from, weight_named(model.parameters(), o.to)};
  std::optional<std::pair<std::int64_t, std::int64_t>> entry;
  if (!o.entry.empty()) entry = parse_entry(o.entry, query.weight);
  const Batch batch = batch_of(subject, o.sentence);
  const TokenBatch tokens = token_batch(batch);
  if (subject.teacher != nullptr)
    subject.teacher->cache(subject.data, distils_hidden_states(subject.phase), batch.sequences(),
                           kTeacherBytes);
  const auto loss = [&](Forward& forward, bool equalise) {
    return subject.loss(forward, batch, tokens, equalise);
  };
  PathReport report{.model = subject.student.folder,
                    .from = o.from,
                    .dtype = model.parameters().dtype(),
                    .batch = batch,
                    .first = o.sentence == 0 ? 1 : o.sentence,
                    .tokenizer = subject.student.tokenizer,
                    .path = trace_path(model, loss, query, !o.no_equalise)};
  if (entry) {
    std::optional<double> factor;
    if (report.path.one_factor()) factor = report.path.largest_factor;
    report.entry = audit_entry(model, loss, query, !o.no_equalise, entry->first, entry->second, factor);
  }
  Document document = path_document(report, o.all);
  document.sections.push_back(reproduce_section(command_of("costeff audit path", invocation)));
  const int code = deliver(document, o.outputs);
  const std::string dot = path_dot(report);
  if (!o.dot.empty()) write_audit_file(o.dot, dot);
  if (!o.svg.empty()) write_audit_file(o.svg, draw_dot(dot));
  return code;
}

}  // namespace costeff
