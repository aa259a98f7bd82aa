// The settings of a training stage, by the names that flags and files have for them, and which values make
// sense.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "costeff/json.h"

namespace costeff {

// The stages of COST-EFF, in order:
//   finetune    a pre-trained BERT with its pooler and one classifier; the first teacher
//   assist      a multi-exit model of full size, taught by it: the teaching assistant (TA)
//   slenderise  the TA loses heads, neurons and embedding rank, round by round, taught by the TA
//   recover     what is left is trained on, taught by the TA
enum class Stage : std::uint8_t { finetune, assist, slenderise, recover };
inline constexpr Stage kStages[] = {Stage::finetune, Stage::assist, Stage::slenderise, Stage::recover};
std::string_view name_of(Stage stage);

struct Settings {
  // ---- model and data
  std::string model;
  std::string task;     // a GLUE task; empty: custom, by `columns`
  std::string columns;  // "sentence,label" or "premise,hypothesis,label"
  std::string labels;   // "neg,pos"; empty: those of the training file
  std::string data;     // folder with train.tsv and dev.tsv
  std::string out;
  std::int64_t max_length = 128;
  std::int64_t pad_to = 0;   // 0: packed, no padding
  bool bucket = false;       // sentences of similar length together
  std::int64_t holdout = 0;  // training sentences left out of training, to choose a threshold on

  // ---- training
  std::int64_t epochs = 3;
  std::int64_t max_steps = 0;   // 0: epochs decide
  std::int64_t batch = 32;      // sequences of a micro-batch
  std::int64_t accumulate = 1;  // micro-batches of a step
  double lr = 5e-5;
  double warmup = 0.1;  // below 1 a share of a phase's steps, else a number of steps
  double weight_decay = 0.01;
  std::string adam_variant = "torch";
  double max_norm = 1;
  double dropout = -1;  // -1: the rates in the model's config
  std::uint64_t seed = 1;

  // ---- run
  std::int64_t eval_every = 0;        // steps; 0: after each epoch
  std::int64_t checkpoint_every = 0;  // steps; 0: after each evaluation
  std::int64_t keep_checkpoints = 2;
  std::int64_t audit_every = 0;  // steps between looks at who moves what, for the log; 0: none
  std::string save_dtype = "f32";
  std::string device = "auto";    // as device_named() takes it
  std::string precision = "f32";  // as precision_named() takes it
  std::int64_t threads = 0;       // 0: all cores this process may use
  bool check_finite = false;

  // ---- exits, of a model that has none yet
  std::int64_t exit_start = 1;
  std::string pooling = "auto";  // cls, mean, or auto: by what [CLS] carries in the first exit's layer
  std::int64_t last_n_hidden = 1;
  std::string hidden_mode = "concat";
  bool pooler_dense = false;

  // ---- distillation
  std::string teacher;
  std::string fidelity =
      "tuned";  // paper, release, or tuned: the paper's definitions with what proved better
  std::string prediction =
      "auto";  // what predictions learn from: soft, hard, both or none; auto: by stage and fidelity
  double temperature = 1;
  std::int64_t teacher_memory =
      2048;  // MiB for what the teacher says of the training sentences; else it says it anew
  double feature_epochs = -1;  // of feature distillation alone, before the others; -1: by stage and fidelity
  double feature_lr = 0;       // its learning rate; 0: lr
  bool no_features = false;
  bool no_equalise = false;
  std::string exit_losses = "all";  // all, or last: exit L's alone
  bool two_stage = false;  // the backbone with exit L first, then the other exits alone, the rest frozen

  // ---- slenderising
  std::int64_t heads = 0;   // to keep per layer
  std::int64_t ffn = 0;     // neurons to keep per layer
  std::int64_t rank = 0;    // of the word embedding; -1: stays one matrix
  std::int64_t rounds = 0;  // 0: one head a round, or 4 where no head goes
  double period = 0;        // steps of a round; below 1 a share of an epoch; 0: the epochs shared out evenly
  double feature_share = 0.5;      // of a round's steps, with feature distillation alone
  double restore = 0.12;           // the learning rate grows by this factor each round
  std::int64_t calibration = 512;  // sentences that scores are computed from
  std::string importance =
      "auto";  // paper, release, last-exit (the paper's, of exit L alone) or random; auto: by fidelity
  double importance_hard = -1;   // share of the hard labels' loss in scores; -1: 0.1 when tuned, and with
                                 // importance release, else 0
  std::string budget = "layer";  // layer, or global: the best of all layers together
  std::string embedding =
      "auto";  // plain, or weighted by the word pieces' counts in the training data; auto: by fidelity
};

// What a stage's settings are where nothing is said.
Settings default_settings(Stage stage);

// The settings that the stage knows, in their order.
Json to_json(Stage stage, const Settings& settings);
// Settings from JSON, on top of `base`. Throws UsageError for an unknown key or a value of the wrong type.
Settings settings_from_json(Stage stage, const Json& json, Settings base);
// Throws UsageError naming the first flag whose value makes no sense ("--lr nan", "--batch 0").
void check(Stage stage, const Settings& settings);
// The part of it that is about what predictions learn from: --prediction and --temperature.
void check_prediction(Stage stage, const Settings& settings);
// With every "auto" decided that does not depend on the model.
Settings decided(Stage stage, Settings settings);

}  // namespace costeff
