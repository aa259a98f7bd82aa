// The settings of a training stage, and which values make sense. costeff/train/settings_table.h has them as
// data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "nn/exit_config.h"
#include "nn/optimizer.h"
#include "nn/precision.h"
#include "nn/safetensors.h"
#include "tensor/choice.h"

namespace costeff {

// Where the paper's text and the authors' published code differ (docs/fidelity.md): one of the two, or the
// paper's definitions with what proved better.
enum class Fidelity : std::uint8_t { tuned, paper, release };
constexpr auto names_of(Fidelity) {
  return std::to_array<Name<Fidelity>>(
      {{Fidelity::tuned, "tuned"}, {Fidelity::paper, "paper"}, {Fidelity::release, "release"}});
}

// What predictions learn from: the teacher's, the labels, both, or nothing. automatic: by stage and fidelity.
enum class Prediction : std::uint8_t { automatic, soft, hard, both, none };
constexpr auto names_of(Prediction) {
  return std::to_array<Name<Prediction>>({{Prediction::automatic, "auto"},
                                          {Prediction::soft, "soft"},
                                          {Prediction::hard, "hard"},
                                          {Prediction::both, "both"},
                                          {Prediction::none, "none"}});
}

// Which exits' predictions are trained.
enum class ExitLosses : std::uint8_t { all, last };
constexpr auto names_of(ExitLosses) {
  return std::to_array<Name<ExitLosses>>({{ExitLosses::all, "all"}, {ExitLosses::last, "last"}});
}

// What exits read. automatic: by what [CLS] carries in the first exit's layer.
enum class PoolingChoice : std::uint8_t { automatic, cls, mean };
constexpr auto names_of(PoolingChoice) {
  return std::to_array<Name<PoolingChoice>>(
      {{PoolingChoice::automatic, "auto"}, {PoolingChoice::cls, "cls"}, {PoolingChoice::mean, "mean"}});
}

// By what heads and neurons are ranked: the paper's or the published code's Taylor scores, the paper's of
// exit L alone, or chance. automatic: by fidelity.
enum class ImportanceKind : std::uint8_t { automatic, paper, release, last_exit, random };
constexpr auto names_of(ImportanceKind) {
  return std::to_array<Name<ImportanceKind>>({{ImportanceKind::automatic, "auto"},
                                              {ImportanceKind::paper, "paper"},
                                              {ImportanceKind::release, "release"},
                                              {ImportanceKind::last_exit, "last-exit"},
                                              {ImportanceKind::random, "random"}});
}

// What is kept: the best of each layer, or of all layers together.
enum class Budget : std::uint8_t { layer, global };
constexpr auto names_of(Budget) {
  return std::to_array<Name<Budget>>({{Budget::layer, "layer"}, {Budget::global, "global"}});
}

// The word embedding's SVD: plain, or weighted by the word pieces' counts in the training data. automatic: by
// fidelity.
enum class EmbeddingKind : std::uint8_t { automatic, plain, weighted };
constexpr auto names_of(EmbeddingKind) {
  return std::to_array<Name<EmbeddingKind>>({{EmbeddingKind::automatic, "auto"},
                                             {EmbeddingKind::plain, "plain"},
                                             {EmbeddingKind::weighted, "weighted"}});
}

struct Settings {
  // ---- model and data
  std::string model;
  std::string teacher;
  std::string task;     // a GLUE task; empty: custom, by `columns`
  std::string columns;  // "sentence,label" or "premise,hypothesis,label"
  std::string labels;   // "neg,pos"; empty: those of the training file
  std::string data;     // folder with train.tsv and dev.tsv
  std::string out;
  std::string pretrained;  // whose pooler exits begin with
  std::int64_t max_length = 128;
  std::int64_t pad_to = 0;   // 0: packed, no padding
  bool bucket = false;       // sentences of similar length together
  std::int64_t holdout = 0;  // training sentences left out of training, to choose a threshold on

  // ---- training; as BERT's run_classifier.py, where a stage has nothing else
  std::int64_t epochs = 3;
  std::int64_t max_steps = 0;   // 0: epochs decide
  std::int64_t batch = 32;      // sequences of a micro-batch
  std::int64_t accumulate = 1;  // micro-batches of a step
  double lr = 5e-5;
  double warmup = 0.1;  // below 1 a share of a phase's steps, else a number of steps
  double weight_decay = 0.01;
  AdamVariant adam_variant = AdamVariant::torch;
  double max_norm = 1;
  double dropout = -1;  // -1: the rates in the model's config
  std::uint64_t seed = 1;

  // ---- run
  std::int64_t eval_every = 0;        // steps; 0: after each epoch
  std::int64_t checkpoint_every = 0;  // steps; 0: after each evaluation
  std::int64_t keep_checkpoints = 2;
  std::int64_t audit_every = 0;  // steps between looks at who moves what, for the log; 0: none
  SaveDType save_dtype = SaveDType::f32;
  std::string device = "auto";  // as device_named() takes it
  Precision precision = Precision::full;
  std::int64_t threads = 0;  // 0: all cores this process may use
  bool check_finite = false;

  // ---- exits, of a model that has none yet
  std::int64_t exit_start = 1;
  PoolingChoice pooling = PoolingChoice::automatic;
  std::int64_t last_n_hidden = 1;
  HiddenMode hidden_mode = HiddenMode::concat;
  bool pooler_dense = false;

  // ---- distillation
  Fidelity fidelity = Fidelity::tuned;
  Prediction prediction = Prediction::automatic;
  double temperature = 1;
  // MiB for the teacher's outputs for the training sentences; chosen, untested
  std::int64_t teacher_memory = 2048;
  double feature_epochs = -1;  // of feature distillation alone, before the others; -1: by stage and fidelity
  double feature_lr = 0;       // its learning rate; 0: lr
  bool no_features = false;
  bool no_equalise = false;
  ExitLosses exit_losses = ExitLosses::all;
  bool two_stage = false;  // the backbone with exit L first, then the other exits alone, the rest frozen

  // ---- slenderising
  std::int64_t heads = 0;   // to keep per layer
  std::int64_t ffn = 0;     // neurons to keep per layer
  std::int64_t rank = 0;    // of the word embedding; -1: stays one matrix
  std::int64_t rounds = 0;  // 0: one head a round, or 4 where no head goes
  double period = 0;        // steps of a round; below 1 a share of an epoch; 0: the epochs shared out evenly
  double feature_share = 0.5;      // of a round's steps, with feature distillation alone; published
  double restore = 0.12;           // the learning rate grows by this factor each round; published
  std::int64_t calibration = 512;  // sentences that scores are computed from; chosen, untested
  ImportanceKind importance = ImportanceKind::automatic;
  double importance_hard = -1;  // share of the labels' loss in scores; -1: by fidelity
  Budget budget = Budget::layer;
  EmbeddingKind embedding = EmbeddingKind::automatic;
};

// A member of Settings.
using SettingField =
    std::variant<std::string Settings::*, std::int64_t Settings::*, std::uint64_t Settings::*,
                 double Settings::*, bool Settings::*, AdamVariant Settings::*, SaveDType Settings::*,
                 Precision Settings::*, PoolingChoice Settings::*, HiddenMode Settings::*,
                 Fidelity Settings::*, Prediction Settings::*, ExitLosses Settings::*,
                 ImportanceKind Settings::*, Budget Settings::*, EmbeddingKind Settings::*>;

// What a stage does that some settings are about.
enum : unsigned {
  kTraining = 1,        // every stage
  kTeacher = 2,         // a teacher is learned from
  kFeatures = 4,        // hidden states are distilled beside predictions
  kFeaturesFirst = 8,   // or alone, in epochs before them
  kMakesExits = 16,     // a model without exits gets some
  kTwoStage = 32,       // the backbone may be trained before the exits
  kSlenderises = 64,    // the model loses heads, neurons and rank
  kCopiesPooler = 128,  // exits begin with the pooler of another model
  kPerStage = 1U << 31  // of a setting: each stage has a value of its own
};
struct Uses {
  unsigned bits;
  Uses(unsigned b) : bits(b) {}  // NOLINT: converts
};

// Throws UsageError naming the first flag whose value makes no sense ("--lr nan", "--batch 0").
void check(Uses stage, const Settings& settings);
// Of it what is about the task (task, columns, labels), and about what predictions learn from.
void check_task(const Settings& settings);
void check_prediction(Uses stage, const Settings& settings);
// That sequences fit a model with so many positions.
void check_positions(const Settings& settings, std::int64_t positions);

// "--max-length".
std::string flag_of(SettingField field);
// Throws UsageError: "--max-length 600: the model has 512 positions".
[[noreturn]] void fail_setting(SettingField field, const Settings& settings, const std::string& what);
template <class... Args>
[[noreturn]] void fail_setting(SettingField field, const Settings& settings,
                               fmt::format_string<Args...> format, Args&&... args) {
  fail_setting(field, settings, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace costeff
