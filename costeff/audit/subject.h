// What an audit looks at: a multi-exit model, sentences, and the loss that trains it on them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "costeff/methods/costeff.h"
#include "costeff/train/stage.h"
#include "costeff/train/step_loss.h"
#include "costeff/train/student.h"

namespace costeff::audit {

struct SubjectSettings {
  // Model, teacher, task, data (a file, or a folder whose `split` is read), batch, max_length, seed and what
  // the loss is made of (prediction, temperature, no_features, exit_losses), as for training.
  Settings training = costeff_stage("assist").defaults;
  // Whose loss: assist (predictions) or recover (predictions and hidden states). Without a teacher it is the
  // labels' at every exit.
  std::string stage = "assist";
  std::string split = "train";
  std::int64_t batches = 4;
  DType dtype = DType::f32;  // f64 for identities to the last digits
};

struct Subject {
  Settings training;  // decided
  Phase phase;        // of which the loss is audited
  Task task;
  Classifier student;                // of the settings' dtype
  std::unique_ptr<Teacher> teacher;  // of the same dtype; or null
  EncodedDataset data;               // the sentences alone that the batches are made of
  std::vector<Batch> batches;        // batch i holds sentences i * batch onwards of `data`

  // The training loss of a batch, recorded on forward's tape: a scalar, mean over its sequences.
  Variable loss(Forward& forward, const Batch& batch, const TokenBatch& tokens, bool equalise) const;
  bool regression() const { return task.regression; }
};

// Loads it; sentences are drawn from the file by the seed, all of them if there are too few. A model without
// exits gets new ones. `note` gets a line about each file. Throws Error and UsageError, naming file or flag,
// when something is missing or does not fit.
Subject load_subject(const SubjectSettings& settings,
                     const std::function<void(const std::string& line)>& note);

}  // namespace costeff::audit
