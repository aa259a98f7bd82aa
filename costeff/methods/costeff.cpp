// COST-EFF (Shen et al., EMNLP 2022), in three fidelities: the paper's text, the authors' published code, and
// the paper's definitions with what proved better (docs/fidelity.md).
//
//   finetune    the pre-trained BERT with its pooler and one classifier: labels
//   assist      the pre-trained BERT with an exit after every layer, the teaching assistant: the logits of
//               finetune's model; under release first hidden states alone, then labels beside the logits
//   slenderise  the assistant loses heads, neurons and embedding rank, round by round: its own logits and
//   states recover     what is left: hidden states alone, then logits, too; tuned: hidden states alone
#include "costeff/methods/costeff.h"

#include <algorithm>
#include <cmath>

#include "costeff/methods/method_list.h"
#include "costeff/methods/pruning_round.h"
#include "tensor/error.h"

namespace costeff {
namespace {

using Exits = LossTerm::Exits;

std::int64_t whole(double x) {
  return static_cast<std::int64_t>(x);
}

// ---- what "auto" means

Settings decided_of_all(Settings s) {
  if (s.prediction == Prediction::automatic) s.prediction = Prediction::soft;
  if (s.feature_lr == 0) s.feature_lr = s.lr;
  if (s.feature_epochs == -1) s.feature_epochs = 0;
  if (s.no_features) s.feature_epochs = 0;
  return s;
}

Settings decided_assist(Settings s) {
  if (s.fidelity == Fidelity::release) {
    if (s.prediction == Prediction::automatic) s.prediction = Prediction::both;
    if (s.feature_epochs == -1) s.feature_epochs = static_cast<double>(s.epochs) / 3;
  }
  return decided_of_all(std::move(s));
}

Settings decided_slenderise(Settings s) {
  const bool release = s.fidelity == Fidelity::release, tuned = s.fidelity == Fidelity::tuned;
  if (s.importance == ImportanceKind::automatic)
    s.importance = release ? ImportanceKind::release : ImportanceKind::paper;
  // Without labels the first round, whose student is its own teacher, would rank by rounding noise.
  if (s.importance_hard == -1) s.importance_hard = tuned || s.importance == ImportanceKind::release ? 0.1 : 0;
  if (s.embedding == EmbeddingKind::automatic)
    s.embedding = tuned ? EmbeddingKind::weighted : EmbeddingKind::plain;
  return decided_of_all(std::move(s));
}

Settings decided_recover(Settings s) {
  // Hidden states alone teach more than they do beside predictions (docs/results.md).
  if (s.prediction == Prediction::automatic && s.fidelity == Fidelity::tuned && !s.no_features)
    s.prediction = Prediction::none;
  if (s.feature_epochs == -1 && s.fidelity != Fidelity::tuned)
    s.feature_epochs = static_cast<double>(s.epochs);
  return decided_of_all(std::move(s));
}

// ---- phases

Phase features_first(const Settings& s, std::int64_t steps_per_epoch) {
  Phase phase =
      make_phase("features", s, whole(std::round(s.feature_epochs * static_cast<double>(steps_per_epoch))),
                 s.feature_lr);
  phase.loss = {states_term()};
  return phase;
}

std::vector<Phase> finetune_phases(const Settings& s, const BertConfig&, std::int64_t steps_per_epoch) {
  Phase phase = make_phase("labels", s, s.epochs * steps_per_epoch, s.lr);
  phase.loss = {labels_term(1, Exits::last)};
  return limited({std::move(phase)}, s);
}

std::vector<Phase> assist_phases(const Settings& s, const BertConfig& model, std::int64_t steps_per_epoch) {
  const std::int64_t steps = s.epochs * steps_per_epoch;
  if (!s.two_stage) {
    Phase predictions = make_phase("predictions", s, steps, s.lr);
    predictions.loss = prediction_terms(s);
    return limited({features_first(s, steps_per_epoch), std::move(predictions)}, s);
  }
  if (model.first_exit() == model.layers())
    fail_setting(&Settings::two_stage, s, "the model has one exit; the second stage trains the others");
  Phase backbone = make_phase("backbone", s, steps / 2, s.lr);
  backbone.loss = prediction_terms(s, Exits::last);
  Phase exits = make_phase("exits", s, steps - steps / 2, s.lr);
  exits.loss = prediction_terms(s, Exits::early);
  exits.exits_only = true;
  return limited({features_first(s, steps_per_epoch), std::move(backbone), std::move(exits)}, s);
}

std::vector<LossTerm> distillation_terms(const Settings& s) {
  std::vector<LossTerm> terms = prediction_terms(s);
  if (!s.no_features) terms.push_back(states_term());
  return terms;
}

std::vector<Phase> recover_phases(const Settings& s, const BertConfig&, std::int64_t steps_per_epoch) {
  Phase phase = make_phase(s.prediction == Prediction::none ? "features" : "predictions", s,
                           s.epochs * steps_per_epoch, s.lr);
  phase.loss = distillation_terms(s);
  return limited({features_first(s, steps_per_epoch), std::move(phase)}, s);
}

void check_sizes(const Settings& s, const BertConfig& model) {
  const SlenderSizes full = sizes_of(model);
  const auto within = [&](std::int64_t Settings::*wanted, std::int64_t most, const char* what) {
    if (s.*wanted > most) fail_setting(wanted, s, "the model has {} {}", most, what);
  };
  within(&Settings::heads, full.heads, "in a layer");
  within(&Settings::ffn, full.ffn, "neurons in a layer");
  within(&Settings::rank, std::min(full.rank, model.vocab_size), "columns in its embedding");
}

// paper, tuned: rounds 1..P, each trained for a period, the last one for the rest of the steps.
// release: a period before the first round, which begins at 0-based step period - 1; after the last round's
// period the rate is 0.
std::vector<Phase> slenderise_phases(const Settings& s, const BertConfig& model,
                                     std::int64_t steps_per_epoch) {
  check_sizes(s, model);
  const bool release = s.fidelity == Fidelity::release;
  const std::int64_t rounds = rounds_of(s, sizes_of(model).heads);
  const std::int64_t total = s.max_steps > 0 ? s.max_steps : s.epochs * steps_per_epoch;
  std::int64_t period = total / (rounds + (release ? 1 : 0));
  if (s.period > 0) period = whole(s.period < 1 ? s.period * static_cast<double>(steps_per_epoch) : s.period);
  if (period < 1 || period * rounds > total) {
    fail_usage("{} steps do not hold {} rounds of {}; {}, {} and {} say how many", total, rounds,
               std::max<std::int64_t>(period, 1), flag_of(&Settings::epochs), flag_of(&Settings::rounds),
               flag_of(&Settings::period));
  }
  std::vector<Phase> phases;
  std::int64_t left = total;
  const auto add = [&](std::int64_t round, std::int64_t steps) {
    Phase p = make_phase(round == 0 ? "before round 1" : fmt::format("round {}", round), s, steps,
                         s.lr * std::pow(1 + s.restore, static_cast<double>(round)));
    p.total = release ? period : steps;
    p.warmup = std::max<std::int64_t>(10, whole(0.1 * static_cast<double>(period)));
    p.round = round;
    p.loss = distillation_terms(s);
    if (!s.no_features && round < rounds)
      p.hidden_steps = whole(s.feature_share * static_cast<double>(period));
    left -= steps;
    phases.push_back(std::move(p));
  };
  if (release) add(0, period - 1);
  for (std::int64_t r = 1; r < rounds; ++r) add(r, period);
  add(rounds, left);
  return phases;
}

// ---- stages

Settings defaults(std::int64_t epochs, double lr) {
  Settings s;
  s.epochs = epochs;
  s.lr = lr;
  return s;
}

// A slender model forgets more than it overfits.
Settings without_dropout(Settings s) {
  s.dropout = 0;
  return s;
}

StageSpec finetune() {
  return {.name = "finetune",
          .title = "Fine-tuning",
          .about =
              "Trains a pre-trained BERT with a classifier on a task. The run's folder holds its settings, "
              "log,\ncheckpoints, and its best and last model.",
          .uses = kTraining,
          .exits = StudentExits::none,
          .defaults = defaults(3, 5e-5),
          .decide = decided_of_all,
          .phases = finetune_phases,
          .role = ModelRole::fine_tuned,
          .model_name = "fine-tuned"};
}

StageSpec assist() {
  return {.name = "assist",
          .title = "Teaching assistant",
          .about =
              "Trains the teaching assistant: a model of full size with an exit after every layer, taught by "
              "a\nfine-tuned one.",
          .uses = kTraining | kTeacher | kFeaturesFirst | kMakesExits | kTwoStage,
          .exits = StudentExits::fresh,
          .teacher = "finetune",
          .defaults = defaults(3, 1e-4),
          .decide = decided_assist,
          .phases = assist_phases,
          .role = ModelRole::assistant,
          .model_name = "assistant"};
}

StageSpec slenderise_stage() {
  return {.name = "slenderise",
          .title = "Slenderising",
          .about =
              "Makes a multi-exit model slender: heads and FFN neurons are pruned by their Taylor importance "
              "and the\nword embedding is factorised, round by round, with distillation between.",
          .uses = kTraining | kTeacher | kFeatures | kMakesExits | kSlenderises,
          .student = "assist",
          .exits = StudentExits::own,
          .teacher = "assist",
          .defaults = without_dropout(defaults(3, 2e-4)),
          .decide = decided_slenderise,
          .phases = slenderise_phases,
          .surgery = slenderise,
          .selects_best = false};
}

StageSpec recover() {
  return {.name = "recover",
          .title = "Recovery",
          .about =
              "Trains a slender model on: each layer's predictions and hidden states are distilled from the "
              "teaching\nassistant.",
          .uses = kTraining | kTeacher | kFeatures | kFeaturesFirst,
          .student = "slenderise",
          .exits = StudentExits::required,
          .teacher = "assist",
          .defaults = without_dropout(defaults(9, 8e-4)),
          .decide = decided_recover,
          .phases = recover_phases,
          .role = ModelRole::full_depth,
          .model_name = "COST-EFF, full depth"};
}

void quick(const StageSpec&, Settings& s) {
  s.holdout = 400;
}

// The rates and epochs that did best on SST-2 and MRPC as a whole (docs/results.md).
void full(const StageSpec& stage, Settings& s) {
  s.holdout = 1000;
  if (stage.name == "finetune") s.epochs = 2;
  if (stage.name == "slenderise") s.epochs = 1;
  if (stage.name == "assist") s.epochs = 2, s.lr = 5e-5;
  if (stage.name == "recover") s.epochs = 6, s.lr = 5e-4;
}

}  // namespace

std::vector<LossTerm> prediction_terms(const Settings& s, std::optional<Exits> exits) {
  const Exits read = exits.value_or(s.exit_losses == ExitLosses::last ? Exits::last : Exits::all);
  switch (s.prediction) {
    case Prediction::hard:
      return {labels_term(1, read)};
    case Prediction::both:
      return {logits_term(0.5, s.temperature, read), labels_term(0.5, read)};
    case Prediction::none:
      return {};
    default:
      return {logits_term(1, s.temperature, read)};
  }
}

const StageSpec& costeff_stage(const std::string& name) {
  return find_method("costeff").stage(name);
}

Method costeff_method() {
  return {.name = "costeff",
          .title = "COST-EFF",
          .paper = "Shen et al., COST-EFF, EMNLP 2022",
          .about =
              "Fine-tunes a pre-trained BERT, distils a multi-exit teaching assistant from it, makes that "
              "slender "
              "and recovers it.",
          .stages = {finetune(), assist(), slenderise_stage(), recover()},
          .optional_stage = "assist",
          .recipes = {{"quick", "minutes, for thousands of sentences", quick},
                      {"full", "for a whole task", full}},
          .early_name = "COST-EFF, early exit",
          .hands_on_best = [](const StageSpec& stage, const Settings& assistant) {
            return stage.selects_best && assistant.fidelity == Fidelity::release;
          }};
}

}  // namespace costeff
