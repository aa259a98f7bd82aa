// The models of a stage: the student that it trains and the teacher it learns from.
#pragma once

#include <memory>

#include "costeff/train/classifier.h"
#include "costeff/train/method.h"
#include "costeff/train/teacher.h"
#include "data/task.h"

namespace costeff {

// The model that a stage begins with, from settings.model; where it gets exits whose pooling is to be chosen,
// `sample` decides. Throws Error and UsageError naming what does not fit.
Classifier load_student(const StageSpec& stage, const Settings& settings, const Task& task,
                        const EncodedDataset& sample, LoadReport* report, DType dtype = DType::f32);

// The model at settings.teacher, of the student's dtype and on its device. Throws Error when its vocabulary
// or its classes are not the task's and the student's, or when it has no trained classifier; and with
// `hidden_states`, where these are distilled one to one, when it is not as deep and as wide as the student.
std::unique_ptr<Teacher> load_teacher(const Settings& settings, const Task& task, const Classifier& student,
                                      bool hidden_states);

// [CLS] where its state in the layer of the first exit tells sentences apart, otherwise mean: in a backbone
// that was pre-trained with mean pooling, [CLS] hardly depends on the sentence in early layers. It tells them
// apart if the deviation of the [CLS] state between sentences is at least a tenth of that of their mean
// states.
Pooling choose_pooling(const Bert& model, const EncodedDataset& sample, std::int64_t first_exit);

}  // namespace costeff
