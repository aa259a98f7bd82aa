// costeff audit gradients: which loss moves which layer, and what equalisation, clipping and Adam leave of
// it.

#include <algorithm>
#include <limits>

#include "costeff/audit/run_state.h"
#include "tensor/error.h"
#include "tools/cli/audit/documents.h"
#include "tools/cli/audit/options.h"
#include "tools/cli/commands.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/progress.h"
#include "tools/cli/streams.h"

namespace costeff {
namespace {

constexpr std::int64_t kMostWarmSteps = 10000;

struct Request {
  SubjectOptions subject;
  std::int64_t warm_steps = 20;
  std::string state;
  double max_norm = 1;
  double lr = 0;
  double weight_decay = 0.01;
  Outputs outputs{.draws = false};
};

Options gradient_options(Request& r) {
  Options options(
      "costeff audit gradients --model DIR (--task T | --columns LIST) --data PATH [options]",
      "Which loss moves which layer of a multi-exit model, with and without gradient equalisation\n"
      "(COST-EFF Eq. 3), and what clipping, Adam and weight decay leave of the difference. Exit code 1\n"
      "if an identity fails that must hold of any model.");
  add_subject_options(options, r.subject);
  options.group("The step after the gradient");
  options.add("warm-steps", "N", &r.warm_steps,
              "batches that fill Adam's memory first, with the weights as they are", {.least = 0});
  options.add(
      "state", "DIR", &r.state,
      "a training run instead: weights and Adam's memory of its newest checkpoint; its clipping, learning "
      "rate (where the schedule is highest) and weight decay, unless given here");
  options.add("max-norm", "X", &r.max_norm, "global norm at which gradients are clipped; 0: never");
  options.add("lr", "X", &r.lr, "learning rate of the step", {.shown = "the stage's, or the run's"});
  options.add("weight-decay", "X", &r.weight_decay, "of AdamW");
  options.group("Output");
  add_outputs(options, r.outputs);
  return options;
}

void check(const Request& r, const Options& options) {
  if (!r.state.empty() && options.given("warm-steps"))
    fail_usage("--state has Adam's memory already: --warm-steps goes without it");
  if (r.warm_steps > kMostWarmSteps) {
    fail_usage("--warm-steps {}: is above {}; Adam's memory is about 1000 steps long", r.warm_steps,
               kMostWarmSteps);
  }
  if (options.given("lr") && r.lr <= 0) fail_usage("--lr {}: must be above 0", r.lr);
  if (r.max_norm < 0) fail_usage("--max-norm {}: must be 0 (no clipping) or above", r.max_norm);
  if (r.weight_decay < 0) fail_usage("--weight-decay {}: must be 0 or above", r.weight_decay);
  require_outputs(r.outputs);
}

// The step after the gradient: as the run of --state makes it, but for what was asked for.
audit::GradientSettings step_of(const Request& r, const Options& options,
                                const std::optional<audit::RunState>& run) {
  audit::GradientSettings settings{
      .max_norm = r.max_norm,
      .learning_rate = costeff_stage(r.subject.stage == "recover" ? "recover" : "assist").defaults.lr};
  settings.adam.weight_decay = r.weight_decay;
  if (run) {
    settings.checkpoint = run->checkpoint;
    settings.checkpoint_of = run->equalised ? audit::equalised : audit::plain;
    settings.checkpoint_steps = run->steps;
    settings.learning_rate = run->learning_rate;
    settings.adam = run->adam;
    if (options.given("weight-decay")) settings.adam.weight_decay = r.weight_decay;
    if (!options.given("max-norm")) settings.max_norm = run->max_norm;
  }
  if (options.given("lr")) settings.learning_rate = r.lr;
  return settings;
}

std::string loss_text(const audit::Subject& subject) {
  if (subject.teacher == nullptr) return "labels at every exit";
  const std::string predictions = fmt::format("predictions ({})", name_of(subject.training.prediction));
  return distils_hidden_states(subject.phase) ? predictions + " and hidden states distilled"
                                              : predictions + " distilled";
}

audit::ExpectedLoss expected_loss(const audit::Subject& subject) {
  const BertConfig& config = subject.student.model->config();
  audit::ExpectedLoss expected{.first_exit = config.first_exit(), .last_hidden = config.exits->last_hidden};
  const Prediction prediction = subject.training.prediction;
  if (subject.teacher == nullptr) {
    expected.hard = 1;
    return expected;
  }
  if (prediction == Prediction::both) expected.soft = expected.hard = 0.5;
  if (prediction == Prediction::soft) expected.soft = 1;
  if (prediction == Prediction::hard) expected.hard = 1;
  expected.features = distils_hidden_states(subject.phase) ? 1 : 0;
  return expected;
}

// What the walk will cost.
std::string work_text(const BertConfig& config, const audit::ExpectedLoss& expected, std::size_t batches,
                      std::size_t warm) {
  const std::int64_t exits = config.layers() - config.first_exit() + 1;
  const std::int64_t terms = (expected.soft > 0 ? exits : 0) + (expected.hard > 0 ? exits : 0) +
                             (expected.features > 0 ? config.layers() + 1 : 0);
  std::string text = fmt::format(
      "batches: {}, each one forward pass and {} backward passes side by side ({} terms and their sum, with "
      "and "
      "without equalisation)",
      batches, 2 * (terms + 1) + 2, terms);
  if (warm > 0)
    text += fmt::format("; before that {} batches with 4 backward passes fill Adam's memory", warm);
  return text;
}

// The first batches are audited; those behind them, or all again where there are too few, fill Adam's memory.
std::vector<Batch> warm_batches(const std::vector<Batch>& batches, std::size_t audited,
                                std::int64_t warm_steps) {
  std::vector<Batch> warm;
  warm.reserve(static_cast<std::size_t>(warm_steps));
  for (std::int64_t w = 0; w < warm_steps; ++w)
    warm.push_back(batches[(audited + static_cast<std::size_t>(w)) % batches.size()]);
  return warm;
}

}  // namespace

int run_audit_gradients(const Invocation& invocation) {
  Request r;
  Options options = gradient_options(r);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  check(r, options);
  std::optional<audit::RunState> state;
  if (!r.state.empty()) state = audit::newest_state(r.state);
  audit::GradientSettings settings = step_of(r, options, state);
  if (!r.state.empty()) r.warm_steps = 0;
  const std::int64_t wanted = r.subject.settings.batches;
  // A number of batches that is too large stays so, and is refused.
  if (wanted <= std::numeric_limits<std::int64_t>::max() - r.warm_steps)
    r.subject.settings.batches += r.warm_steps;
  audit::Subject subject = load_subject(r.subject, "audit gradients");
  const Bert& model = *subject.student.model;
  if (state) audit::read_weights(*state, model);
  const std::size_t count = std::min(subject.batches.size(), static_cast<std::size_t>(wanted));
  const std::vector<Batch> warm = warm_batches(subject.batches, count, r.warm_steps);

  Progress progress("audit gradients");
  settings.progress = [&](std::int64_t done, std::int64_t total) { progress.update(done, total); };
  settings.stop = &stop_on_signals();
  const audit::ExpectedLoss expected = expected_loss(subject);
  progress.note(work_text(model.config(), expected, count, warm.size()));
  const audit::AuditedLoss loss = [&](Forward& forward, const Batch& batch, const TokenBatch& tokens) {
    return subject.loss(forward, batch, tokens, true);
  };
  GradientReport report{
      .model = subject.student.folder,
      .task = subject.task.name.empty() ? "a task of its own" : subject.task.name,
      .loss = loss_text(subject),
      .memory = state ? fmt::format("{} steps of the run {}", settings.checkpoint_steps, r.state)
                      : fmt::format("{} other batches, with the weights held fixed", warm.size())};
  report.audit = audit_gradients(model, std::span(subject.batches).first(count), warm, loss, settings);
  report.identities = check_identities(report.audit, expected);
  Document document = gradient_document(report);
  document.sections.push_back(reproduce_section(command_of("costeff audit gradients", invocation)));
  return deliver(document, r.outputs);
}

}  // namespace costeff
