// Which model is trained in a stage, by which teacher, and the loss of each step.
#pragma once

#include <functional>
#include <memory>

#include "costeff/exits/classifier.h"
#include "costeff/train/losses.h"
#include "costeff/train/plan.h"
#include "costeff/train/teacher.h"
#include "data/task.h"

namespace costeff {

// The model that a stage begins with; where it gets exits whose pooling is "auto", `sample` decides. Throws
// Error and UsageError naming what does not fit.
Classifier load_student(Stage stage, const Settings& settings, const Task& task, const EncodedDataset& sample,
                        LoadReport* report, DType dtype = DType::f32);
// The teacher of a stage, of the student's dtype. Throws Error when its vocabulary or its classes are not the
// task's and the student's, or when it has no trained classifier.
std::unique_ptr<Teacher> load_teacher(const Settings& settings, const Task& task, const Classifier& student);

// [CLS] where its state in the layer of the first exit tells sentences apart, otherwise mean: in a backbone
// that was pre-trained with mean pooling, [CLS] hardly depends on the sentence in early layers. "Tells
// apart": the deviation of the [CLS] state between sentences is at least a tenth of that of their mean
// states.
Pooling choose_pooling(const Bert& model, const EncodedDataset& sample, std::int64_t first_exit);

// Freezes what the losses of such a step do not reach: classifiers where features alone are distilled, exits
// other than the trained ones.
void freeze_for(const Phase& phase, bool features_alone, Bert& model);

// The loss of a step: predictions and features as the phase has them.
Variable step_loss(const Settings& settings, const Phase& phase, bool features_alone, const Bert& student,
                   const Teacher* teacher, Forward& forward, const Batch& batch, const TokenBatch& tokens);

// Removes what round `round` of `rounds` removes, by the importance of heads and neurons for a sample of the
// training data; `full` are the sizes before the first round. Throws Error when there is less to keep than
// the settings want.
std::unique_ptr<Bert> slenderise(const Settings& settings, std::int64_t round, std::int64_t rounds,
                                 const SlenderSizes& full, const Bert& student, const Teacher& teacher,
                                 const EncodedDataset& train);

}  // namespace costeff
