// A compression method as data: its stages, what each trains, by which teacher, and when its model exits
// early.
//
//   costeff/methods/NAME.cpp makes one; the runner (train/stage.h, train/pipeline.h) knows no method by name.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "costeff/exits/exit_rule.h"
#include "costeff/train/losses.h"
#include "costeff/train/run_records.h"
#include "costeff/train/settings.h"
#include "data/batches.h"
#include "nn/bert.h"

namespace costeff {

class Teacher;

// A run of steps with an optimiser and a schedule of their own.
struct Phase {
  std::string name;
  std::int64_t steps = 0;
  double lr = 0;
  std::int64_t warmup = 0;  // steps
  std::int64_t total = 0;   // steps at whose end the rate is 0; those beyond keep it
  std::vector<LossTerm> loss;
  std::int64_t hidden_steps = 0;  // at the beginning, with the terms of hidden states alone
  bool equalise = true;           // gradient equalisation (Eq. 3)
  bool exits_only = false;        // everything but the exits that the loss reads keeps its weights
  bool clip_by_all = false;  // with exits_only: clipping counts the gradients of what keeps its weights, too
  std::int64_t round = 0;    // above 0: the surgery of this round comes before the first step
};

// What a surgery has at hand.
struct Surgery {
  const Settings& settings;
  std::int64_t round = 0;   // of
  std::int64_t rounds = 0;  // all
  const BertConfig& full;   // before the first round
  const Bert& student;
  const Teacher& teacher;
  const EncodedDataset& train;
};

// Which exits a stage's model has when the stage begins.
enum class StudentExits : std::uint8_t {
  none,      // one classifier on BERT's pooler
  fresh,     // new ones, by the settings of exits
  own,       // its own; fresh ones where it has none
  required,  // its own
};

struct StageSpec {
  std::string name;     // its folder in a run, and its key in settings: "finetune"
  std::string title;    // for readers: "Fine-tuning"
  std::string about;    // what it does, in a sentence or two
  Uses uses = 0;        // the settings that it has (train/settings.h)
  std::string student;  // the stage whose model it goes on with; empty: the pre-trained model
  StudentExits exits = StudentExits::none;
  std::string teacher;  // the stage whose model teaches; empty: none
  Settings defaults;
  // The settings with every "auto" decided that does not depend on the model; may be empty.
  std::function<Settings(Settings)> decide;
  // Throws UsageError when sizes or steps do not fit. `model` has the sizes of the student at the beginning.
  std::function<std::vector<Phase>(const Settings&, const BertConfig& model, std::int64_t steps_per_epoch)>
      phases;
  std::function<std::unique_ptr<Bert>(const Surgery&)> surgery;  // of phases with a round
  // Changes a student whose exits were made anew, before training; may be empty.
  std::function<void(const Settings&, Bert& student)> prepare;
  bool selects_best = true;       // `best` by the mean dev score over exits, in the last phase
  std::optional<ModelRole> role;  // of its model in the results; none: it is not shown
  std::string model_name;         // there, for readers
};

// Settings for a size of task, tried before: applied to a stage's defaults.
struct Recipe {
  std::string name;
  std::string about;
  std::function<void(const StageSpec&, Settings&)> apply;
};

struct Method {
  std::string name;   // on the command line: "costeff"
  std::string title;  // for readers: "COST-EFF"
  std::string paper;
  std::string about;  // what it does, in a few lines
  std::vector<StageSpec> stages;
  // A stage that a run may leave out (setting no_assistant): whoever asks for its model gets its teacher's.
  std::string optional_stage;
  std::vector<Recipe> recipes;  // the first is the default
  ExitRule::Kind rule = ExitRule::Kind::entropy;
  std::string early_name;  // of its model with early exit, for readers: "COST-EFF, early exit"
  // Whether a stage hands on the model that did best on dev, rather than the last one; may be empty: never.
  std::function<bool(const StageSpec&, const Settings&)> hands_on_best;

  const StageSpec& stage(const std::string& stage_name) const;  // throws Error for an unknown name
};

// ---- what the phases of methods are made of

// A phase whose schedule spans its steps; warm-up as the settings say.
Phase make_phase(std::string name, const Settings& settings, std::int64_t steps, double lr);
// The phases with at most max_steps steps, where the setting asks for that: the last ones are cut, with
// schedules of their own length. Phases without steps go.
std::vector<Phase> limited(std::vector<Phase> phases, const Settings& settings);
bool distils_hidden_states(const Phase& phase);
bool trains_predictions(const Phase& phase);

}  // namespace costeff
