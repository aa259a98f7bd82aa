// Tasks: which columns of which files hold the sentences and the label, what the labels mean, how answers are
// scored. The nine of GLUE (Wang et al., ICLR 2019) are known by name; any other TSV becomes one by naming
// its columns.
//
//   const Task task = find_task("sst2");
//   Examples train = load_examples(task, split_file(task, "glue/SST-2", Split::train));
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/metrics.h"

namespace costeff {

enum class Split { train, dev, test };
Split split_named(std::string_view name);  // throws UsageError for another name

struct Task {
  std::string name = {};                       // as GLUE spells it: "SST-2"
  std::vector<std::string> text_columns = {};  // one or two names in the header
  std::string label_column = {};
  std::vector<std::string> labels = {};  // the class of a label is its place here (Hugging Face's order)
  bool regression = false;               // the label is a score, one output, no classes
  MetricKind metric = MetricKind::accuracy;
  std::string metric_prefix = {};  // "mnli/"
  bool headerless = false;         // CoLA: four columns without names, label second, sentence last
  bool skip_broken_rows = false;   // QQP: the official files hold rows that lack columns

  bool is_pair() const { return text_columns.size() == 2; }
  // The number of outputs a model has for this task.
  int num_classes() const { return regression ? 1 : static_cast<int>(labels.size()); }
};

// A GLUE task. Case, '-' and '_' in the name do not matter; MNLI-MM is MNLI scored on the mismatched genres.
// Throws UsageError, listing the tasks, if there is none of that name.
Task find_task(std::string_view name);
std::vector<std::string> task_names();

// A task of one's own: columns "sentence,label" or "premise,hypothesis,label", labels "neg,pos". Without
// labels the task has none until they are collected from the training file: task.labels =
// collect_labels(task, path). Throws UsageError if the columns are not two or three different names, or the
// labels not two or more different ones.
Task custom_task(std::string_view columns, std::string_view labels = "");

// The different labels of a file: numbers in order of size if all are whole numbers, in alphabetical order
// otherwise. Throws Error as load_examples does, and if there is but one label or more than 1,000.
std::vector<std::string> collect_labels(const Task& task, const std::string& path);

struct Example {
  std::string text;
  std::optional<std::string> pair;
  std::int32_t label = -1;                                  // the class; -1 if there is none
  double score = std::numeric_limits<double>::quiet_NaN();  // of a regression task
  std::size_t line = 0;                                     // in the file, from 1
};

struct Examples {
  std::vector<Example> rows;
  std::vector<std::size_t> skipped_lines;  // see Task::skip_broken_rows
};

enum class Labels { required, optional };

// Reads the examples of a file. With `optional` a file without the label column is accepted (GLUE's test
// files). Throws Error as Tsv::read does, if a column is missing, and, naming file and line, for a label that
// is unknown (with the known ones) or a score that is no finite number.
Examples load_examples(const Task& task, const std::string& path, Labels labels = Labels::required);

// The file of a split: `path` itself if it is a file; in a folder the task's official name (train.tsv,
// dev.tsv, test.tsv; MNLI's dev_matched.tsv and test_matched.tsv come before dev.tsv and test.tsv, MNLI-MM
// has dev_mismatched.tsv and test_mismatched.tsv), or the same with ".gz". Throws Error, with the names
// tried, if there is none.
std::string split_file(const Task& task, const std::string& path, Split split);

// The metrics of predicted classes, or scores, by name.
MetricValues evaluate(const Task& task, std::span<const std::int32_t> predictions,
                      std::span<const std::int32_t> labels);
MetricValues evaluate(const Task& task, std::span<const double> predictions, std::span<const double> labels);

}  // namespace costeff
