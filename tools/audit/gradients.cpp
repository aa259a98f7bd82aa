// costeff audit gradients: which loss moves which layer, and what equalisation, clipping and Adam leave of
// it.
#include "tools/audit/gradients.h"

#include <algorithm>
#include <filesystem>

#include "costeff/run_folder.h"
#include "tensor/error.h"
#include "tools/audit/options.h"
#include "tools/commands.h"
#include "tools/interrupt.h"
#include "tools/pages/text.h"
#include "tools/progress.h"
#include "tools/streams.h"

namespace costeff {
namespace {

struct Request {
  SubjectOptions subject;
  std::int64_t warm_steps = 20;
  std::string state;
  double max_norm = 1;
  double lr = 0;
  double weight_decay = 0.01;
  std::string json, html;
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
  options.add("state", "DIR", &r.state,
              "a training run instead, whose newest checkpoint's optimiser state and weights are used");
  options.add("max-norm", "X", &r.max_norm, "global norm at which gradients are clipped; 0: never");
  options.add("lr", "X", &r.lr, "learning rate of the step", {.shown = "the stage's"});
  options.add("weight-decay", "X", &r.weight_decay, "of AdamW");
  options.group("Output");
  options.add("json", "FILE", &r.json, "every number, as JSON");
  options.add("html", "FILE", &r.html, "a page to look at, in one file");
  return options;
}

// The newest checkpoint of the run; its weights replace those of the model.
void take_state(const std::string& run, audit::Subject& subject, audit::GradientSettings& settings) {
  const Json config = Json::parse(read_text(run + "/config.json"));
  std::int64_t newest = -1;
  const std::string folder = run + "/checkpoints";
  if (!std::filesystem::is_directory(folder)) fail("--state {}: no run with checkpoints is there", run);
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step-")) newest = std::max<std::int64_t>(newest, std::stoll(name.substr(5)));
  }
  if (newest < 0) fail("--state {}: the run has no checkpoint", run);
  settings.checkpoint = fmt::format("{}/step-{}", folder, newest);
  const Json state = Json::parse(read_text(settings.checkpoint + "/state.json"));
  std::int64_t begin = 0;
  for (std::size_t p = 0; p < state.at("phase").get<std::size_t>(); ++p)
    begin += config.at("effective").at("phases").at(p).at("steps").get<std::int64_t>();
  settings.checkpoint_steps = state.at("step").get<std::int64_t>() - begin;
  const Json& trained = config.at("settings");
  settings.checkpoint_of = trained.contains("no_equalise") && trained.at("no_equalise").get<bool>()
                               ? audit::plain
                               : audit::equalised;
  settings.adam.weight_decay = trained.at("weight_decay").get<double>();
  settings.max_norm = trained.at("max_norm").get<double>();
  const SafetensorsFile file(settings.checkpoint + "/training.safetensors");
  const Tensor weights = subject.student.model->parameters().values();
  if (weights.dtype() == DType::f64) {
    file.read_f64("weights", weights.data<double>(), weights.numel());
  } else {
    file.read_f32("weights", weights.data<float>(), weights.numel());
  }
}

std::string loss_text(const audit::Subject& subject) {
  if (subject.teacher == nullptr) return "labels at every exit";
  const std::string predictions = fmt::format("predictions ({})", subject.training.prediction);
  return subject.phase.features ? predictions + " and hidden states distilled" : predictions + " distilled";
}

audit::ExpectedLoss expected_loss(const audit::Subject& subject) {
  const BertConfig& config = subject.student.model->config();
  audit::ExpectedLoss expected{.first_exit = config.first_exit(), .last_hidden = config.exits->last_hidden};
  const std::string& prediction = subject.training.prediction;
  if (subject.teacher == nullptr) {
    expected.hard = 1;
    return expected;
  }
  if (prediction == "both") expected.soft = expected.hard = 0.5;
  if (prediction == "soft") expected.soft = 1;
  if (prediction == "hard") expected.hard = 1;
  expected.features = subject.phase.features ? 1 : 0;
  return expected;
}

}  // namespace

int run_audit_gradients(const Invocation& invocation) {
  Request r;
  Options options = gradient_options(r);
  if (!options.parse(invocation.arguments)) return 0;
  options.apply();
  if (!r.state.empty() && options.given("warm-steps"))
    fail_usage("--state has Adam's memory already: --warm-steps goes without it");
  if (!r.state.empty()) r.warm_steps = 0;
  const std::int64_t wanted = r.subject.settings.batches;
  r.subject.settings.batches += r.warm_steps;
  audit::Subject subject = load_subject(r.subject, "audit gradients");
  const auto& batches = subject.batches;
  const auto count = std::min(batches.size(), static_cast<std::size_t>(wanted));
  // The first batches are audited; those behind them, or all again where there are too few, fill Adam's
  // memory.
  std::vector<Batch> warm;
  for (std::int64_t w = 0; w < r.warm_steps; ++w)
    warm.push_back(batches[(count + static_cast<std::size_t>(w)) % batches.size()]);

  Progress progress("audit gradients");
  audit::GradientSettings settings{
      .max_norm = r.max_norm,
      .learning_rate =
          r.lr > 0 ? r.lr : default_settings(subject.phase.features ? Stage::recover : Stage::assist).lr,
      .progress = [&](std::int64_t done, std::int64_t total) { progress.update(done, total); },
      .stop = &stop_on_signals()};
  settings.adam.weight_decay = r.weight_decay;
  if (!r.state.empty()) take_state(r.state, subject, settings);
  const Bert& model = *subject.student.model;
  const audit::ExpectedLoss expected = expected_loss(subject);
  const std::int64_t exits = model.config().layers() - model.config().first_exit() + 1;
  const std::int64_t terms = (expected.soft > 0 ? exits : 0) + (expected.hard > 0 ? exits : 0) +
                             (expected.features > 0 ? model.config().layers() + 1 : 0);
  progress.note(fmt::format(
      "{} batches, each one forward pass and {} backward passes side by side ({} terms and their sum, with "
      "and "
      "without equalisation){}",
      count, 2 * (terms + 1) + 2, terms,
      warm.empty()
          ? ""
          : fmt::format("; before that {} batches with 4 backward passes fill Adam's memory", warm.size())));
  const audit::AuditedLoss loss = [&](Forward& forward, const Batch& batch, const TokenBatch& tokens) {
    return subject.loss(forward, batch, tokens, true);
  };
  GradientFindings f;
  f.audit = audit_gradients(model, std::span(batches).first(count), warm, loss, settings);
  f.identities = check_identities(f.audit, expected);
  f.model = subject.student.folder;
  f.task = subject.task.name.empty() ? "a task of its own" : subject.task.name;
  f.loss = loss_text(subject);
  f.command = "costeff audit gradients";
  for (const std::string& argument : invocation.arguments)
    f.command += fmt::format(" {}", shell_quoted(argument));
  write_output(gradients_text(f));
  if (!r.json.empty()) write_audit_file(r.json, gradients_json(f).dump(1) + "\n");
  if (!r.html.empty()) write_audit_file(r.html, gradients_page(f));
  return f.identities.faults.empty() ? 0 : 1;
}

}  // namespace costeff
