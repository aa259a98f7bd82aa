// The settings: a row each.
#include "costeff/train/settings_table.h"

#include <algorithm>

#include "data/nearest.h"

namespace costeff {
namespace {

using S = Settings;
using enum SettingGroup;

// Of any count: what is above is a slip, and products of two fit.
constexpr double kMost = 1e9;
// Of sequences computed together.
constexpr double kMostSequences = 65536;
constexpr bool kNeeded = true;

constexpr NumberRange at_least(double least) {
  return {.least = least, .most = kMost};
}
constexpr NumberRange between(double least, double most) {
  return {.least = least, .most = most};
}

// clang-format off
const Setting kTable[] = {
    {"model", &S::model, kTraining, data, "DIR", "model, or the run of one, to start from", {}, kNeeded},
    {"teacher", &S::teacher, kTeacher | kPerStage, data, "DIR", "the model that teaches", {}, kNeeded},
    {"pretrained", &S::pretrained, kCopiesPooler | kPerStage, data, "DIR",
     "pre-trained model whose pooler each exit begins with", {}, kNeeded},
    {"task", &S::task, kTraining, data, "T",
     "task of GLUE: CoLA, SST-2, MRPC, STS-B, QQP, MNLI, MNLI-MM, QNLI, RTE, WNLI"},
    {"columns", &S::columns, kTraining, data, "LIST",
     "any other TSV: one or two text columns, then the label's, as in \"sentence,label\""},
    {"labels", &S::labels, kTraining, data, "LIST",
     "of a TSV by columns: label names in the order of the classes (default: those in the training file, sorted)"},
    {"data", &S::data, kTraining, data, "DIR", "folder with train.tsv and dev.tsv, also gzipped", {}, kNeeded},
    {"max_length", &S::max_length, kTraining, data, "N", "tokens of a text; the rest is cut off", at_least(3)},
    {"pad_to", &S::pad_to, kTraining, data, "N", "pad every sequence to N tokens; 0: no padding", at_least(0)},
    {"bucket", &S::bucket, kTraining, data, "", "put sentences of similar length into a batch"},
    {"holdout", &S::holdout, kTraining, data, "N", "training sentences to leave out, to choose a threshold on",
     at_least(0)},

    {"out", &S::out, kTraining | kPerStage, run, "DIR", "folder of the run; must not hold one yet", {}, kNeeded},
    {"eval_every", &S::eval_every, kTraining | kPerStage, run, "N", "steps between evaluations; 0: after each epoch",
     at_least(0)},
    {"keep_checkpoints", &S::keep_checkpoints, kTraining | kPerStage, run, "N", "how many checkpoints stay",
     at_least(1)},
    {"save_dtype", &S::save_dtype, kTraining | kPerStage, run, "T", "of the weights in best and last: f32 or f16"},
    {"device", &S::device, kTraining, run, "D",
     "what computes: cpu, cuda, cuda:N (the N-th GPU), or auto: a GPU where one can be used"},
    {"precision", &S::precision, kTraining, run, "P",
     "of what linear layers and attention multiply: f32, or bf16 (mixed precision: on a GPU the faster one)"},
    {"threads", &S::threads, kTraining, run, "N", "0: all cores this process may use", between(0, 4096)},
    {"checkpoint_every", &S::checkpoint_every, kTraining, run, "N",
     "steps between checkpoints; 0: with each evaluation", at_least(0)},
    {"audit_every", &S::audit_every, kTraining, run, "N",
     "steps between lines of the log that say which loss moves what, for costeff audit run; 0: none", at_least(0)},
    {"check_finite", &S::check_finite, kTraining, run, "",
     "name the first operation that gives a nan or infinity (slower)"},

    {"heads", &S::heads, kSlenderises, sizes, "N", "attention heads to keep in each layer", at_least(1), kNeeded},
    {"ffn", &S::ffn, kSlenderises, sizes, "N", "FFN neurons to keep in each layer", at_least(1), kNeeded},
    {"rank", &S::rank, kSlenderises, sizes, "N", "rank of the word embedding; -1: stays one matrix",
     {.least = 1, .most = kMost, .also = -1}, kNeeded},
    {"rounds", &S::rounds, kSlenderises, sizes, "N",
     "in which it is done; 1: at once; 0: one head a round, or 4 rounds where no head goes", between(0, 10000)},
    {"period", &S::period, kSlenderises, sizes, "X",
     "steps of a round; below 1 a share of an epoch; 0: all steps shared out", at_least(0)},
    {"feature_share", &S::feature_share, kSlenderises, sizes, "X",
     "of a round's steps, with feature distillation alone", between(0, 1)},
    {"restore", &S::restore, kSlenderises, sizes, "X", "by which share the learning rate grows each round",
     between(0, 100)},
    {"calibration", &S::calibration, kSlenderises, sizes, "N",
     "training sentences that importance is computed from", at_least(1)},
    {"importance", &S::importance, kSlenderises, sizes, "I",
     "paper or release (Taylor scores), last-exit (of the last exit alone), random; auto: by fidelity"},
    {"importance_hard", &S::importance_hard, kSlenderises, sizes, "SHARE",
     "of the hard labels in what scores are computed from; -1: 0.1 when tuned or with importance release, else 0",
     {.least = 0, .most = 1, .also = -1}, false, "by fidelity"},
    {"budget", &S::budget, kSlenderises, sizes, "B",
     "layer: as many in each; global: the best of all layers together"},
    {"embedding", &S::embedding, kSlenderises, sizes, "E",
     "plain truncated SVD, or weighted by how often word pieces occur; auto: by fidelity"},

    {"fidelity", &S::fidelity, kTeacher, distillation, "F",
     "paper: its text; release: the authors' code; tuned: the paper's definitions with what proved better"},
    {"temperature", &S::temperature, kTeacher, distillation, "T", "of the teacher's and the student's predictions",
     {.least = 0, .above = true}},
    {"teacher_memory", &S::teacher_memory, kTeacher, distillation, "MIB",
     "for the teacher's outputs for the training sentences; where it is too little they are computed anew in each "
     "epoch", at_least(0)},
    {"prediction", &S::prediction, kTeacher, distillation, "P",
     "what predictions learn from: soft (the teacher), hard (the labels), both, none; auto: by stage and fidelity"},
    {"no_features", &S::no_features, kTeacher, distillation, "", "no feature distillation"},
    {"no_equalise", &S::no_equalise, kTeacher, distillation, "", "no gradient equalisation (Eq. 3)"},
    {"exit_losses", &S::exit_losses, kTeacher, distillation, "E", "all, or last: only the last exit is trained"},
    {"feature_epochs", &S::feature_epochs, kFeaturesFirst, distillation, "X",
     "of feature distillation alone, before predictions", {.least = 0, .most = 1e6, .also = -1}, false,
     "by stage and fidelity"},
    {"feature_lr", &S::feature_lr, kFeaturesFirst, distillation, "X", "peak learning rate of it", between(0, 1e6),
     false, "as lr"},

    {"exit_start", &S::exit_start, kMakesExits, exits, "K", "the first layer with an exit", at_least(1)},
    {"pooling", &S::pooling, kMakesExits, exits, "P",
     "what an exit reads: cls, mean, or auto: by what [CLS] carries"},
    {"last_n_hidden", &S::last_n_hidden, kMakesExits, exits, "N", "hidden states that an exit reads",
     between(1, 1 << 20)},
    {"hidden_mode", &S::hidden_mode, kMakesExits, exits, "M", "how they are joined: concat or average"},
    {"pooler_dense", &S::pooler_dense, kMakesExits, exits, "", "a dense layer before each exit's tanh"},
    {"two_stage", &S::two_stage, kTwoStage, exits, "",
     "the backbone with the last exit first, then the other exits alone"},

    {"epochs", &S::epochs, kTraining | kPerStage, training, "N", "passes over the training data", at_least(1)},
    {"max_steps", &S::max_steps, kTraining | kPerStage, training, "N", "stop after so many steps; 0: epochs decide",
     at_least(0)},
    {"batch", &S::batch, kTraining, training, "N", "sequences computed together", between(1, kMostSequences)},
    {"accumulate", &S::accumulate, kTraining | kPerStage, training, "N", "batches of a step",
     between(1, kMostSequences)},
    {"lr", &S::lr, kTraining | kPerStage, training, "X", "peak learning rate, as in 2e-5", {.least = 0}},
    {"warmup", &S::warmup, kTraining | kPerStage, training, "X",
     "steps until the peak; below 1 a share of a phase's steps", at_least(0)},
    {"weight_decay", &S::weight_decay, kTraining | kPerStage, training, "X",
     "of AdamW; not on biases and LayerNorm", {.least = 0}},
    {"adam_variant", &S::adam_variant, kTraining | kPerStage, training, "V",
     "torch, or transformers for its older AdamW"},
    {"max_norm", &S::max_norm, kTraining | kPerStage, training, "X",
     "gradients are clipped to this norm; 0: never", {.least = 0}},
    {"dropout", &S::dropout, kTraining | kPerStage, training, "X", "share of activations dropped",
     {.least = 0, .most = 1, .also = -1, .below = true}, false, "the model's"},
    {"seed", &S::seed, kTraining, training, "N", "of shuffling, dropout, new weights and what is held out"},
};
// clang-format on

std::string dashed(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

}  // namespace

SettingsTable settings_table() {
  return kTable;
}

std::string Setting::flag() const {
  return "--" + dashed(name);
}

std::string Setting::shown_default(const Settings& s) const {
  if (shown != nullptr) return shown;
  return with_value(*this, s, [&](const auto& value) {
    using T = std::decay_t<decltype(value)>;
    return (needed && value == T{}) || std::is_same_v<T, bool> ? std::string() : value_text(value);
  });
}

const Setting& setting_of(SettingField field) {
  return *std::find_if(std::begin(kTable), std::end(kTable),
                       [&](const Setting& row) { return row.field == field; });
}

const Setting& setting_named(Uses stage, std::string_view name, SettingsTable table) {
  std::string key(name);
  std::replace(key.begin(), key.end(), '-', '_');
  std::vector<std::string> known;
  for (const Setting& row : table) {
    if (!row.of(stage)) continue;
    if (row.name == key) return row;
    known.emplace_back(row.name);
  }
  fail_usage("unknown setting \"{}\"; the nearest is \"{}\"", name, nearest(key, known));
}

void set(const Setting& row, std::string_view text, Settings& settings) {
  with_value(row, settings, [&](auto& value) { read_value(row.flag(), text, value); });
}

std::string flag_of(SettingField field) {
  return setting_of(field).flag();
}

void fail_setting(SettingField field, const Settings& settings, const std::string& what) {
  const Setting& row = setting_of(field);
  const std::string text = with_value(row, settings, [](const auto& value) {
    return std::is_same_v<std::decay_t<decltype(value)>, bool> ? std::string() : value_text(value);
  });
  fail_usage("{}{}{}: {}", row.flag(), text.empty() ? "" : " ", text, what);
}

Json to_json(Uses stage, const Settings& settings, SettingsTable table) {
  Json json;
  for (const Setting& row : table) {
    if (!row.of(stage)) continue;
    with_value(row, settings, [&](const auto& value) {
      if constexpr (Choice<std::decay_t<decltype(value)>>) {
        json[row.name] = name_of(value);
      } else {
        json[row.name] = value;
      }
    });
  }
  return json;
}

Settings settings_from_json(Uses stage, const Json& json, Settings base, SettingsTable table) {
  if (!json.is_object()) fail_usage("settings must be a JSON object");
  for (const auto& [key, json_value] : json.items()) {
    const Setting& row = setting_named(stage, key, table);
    with_value(row, base, [&, &name = key, &from = json_value](auto& value) {
      read_value("setting \"" + name + "\"", from, value);
    });
  }
  return base;
}

void check_values(Uses stage, const Settings& settings, SettingsTable table) {
  for (const Setting& row : table) {
    if (!row.of(stage)) continue;
    with_value(row, settings, [&](const auto& value) {
      using T = std::decay_t<decltype(value)>;
      if (row.needed && value == T{}) fail_usage("{} is missing: {}", row.flag(), row.help);
      if constexpr (std::is_same_v<T, double> || std::is_same_v<T, std::int64_t>) {
        if (!row.valid.holds(static_cast<double>(value)))
          fail_usage("{} {}: must be {}", row.flag(), value_text(value), row.valid.text());
      }
    });
  }
}

}  // namespace costeff
