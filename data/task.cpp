#include "data/task.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "data/text_file.h"
#include "data/tsv.h"
#include "tensor/error.h"

namespace costeff {

namespace {

const std::vector<std::string> kZeroOne = {"0", "1"};
const std::vector<std::string> kEntailed = {"entailment", "not_entailment"};

const std::vector<std::string> kTwoSentences = {"sentence1", "sentence2"};
const std::vector<std::string> kInference = {"contradiction", "entailment", "neutral"};

// Label orders as in transformers' data/processors/glue.py.
const std::vector<Task>& all_tasks() {
  static const std::vector<Task> tasks = {
      {.name = "CoLA",
       .text_columns = {"sentence"},
       .label_column = "label",
       .labels = kZeroOne,
       .metric = MetricKind::matthews,
       .headerless = true},
      {.name = "SST-2", .text_columns = {"sentence"}, .label_column = "label", .labels = kZeroOne},
      {.name = "MRPC",
       .text_columns = {"#1 String", "#2 String"},
       .label_column = "Quality",
       .labels = kZeroOne,
       .metric = MetricKind::accuracy_and_f1},
      {.name = "STS-B",
       .text_columns = kTwoSentences,
       .label_column = "score",
       .regression = true,
       .metric = MetricKind::pearson_and_spearman},
      {.name = "QQP",
       .text_columns = {"question1", "question2"},
       .label_column = "is_duplicate",
       .labels = kZeroOne,
       .metric = MetricKind::accuracy_and_f1,
       .skip_broken_rows = true},
      {.name = "MNLI",
       .text_columns = kTwoSentences,
       .label_column = "gold_label",
       .labels = kInference,
       .metric_prefix = "mnli/"},
      {.name = "MNLI-MM",
       .text_columns = kTwoSentences,
       .label_column = "gold_label",
       .labels = kInference,
       .metric_prefix = "mnli-mm/"},
      {.name = "QNLI",
       .text_columns = {"question", "sentence"},
       .label_column = "label",
       .labels = kEntailed},
      {.name = "RTE", .text_columns = kTwoSentences, .label_column = "label", .labels = kEntailed},
      {.name = "WNLI", .text_columns = kTwoSentences, .label_column = "label", .labels = kZeroOne},
  };
  return tasks;
}

// Lower case, without '-' and '_'.
std::string plain(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c != '-' && c != '_') out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return out;
}

std::vector<std::string> split_list(std::string_view list) {
  std::vector<std::string> out;
  for (;;) {
    const std::size_t comma = list.find(',');
    const std::string_view item = list.substr(0, comma);
    const std::size_t first = item.find_first_not_of(' ');
    const std::size_t last = item.find_last_not_of(' ');
    out.emplace_back(first == std::string_view::npos ? "" : item.substr(first, last - first + 1));
    if (comma == std::string_view::npos) return out;
    list.remove_prefix(comma + 1);
  }
}

void check_list(const std::vector<std::string>& items, const char* what, std::string_view given) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].empty()) fail_usage("an empty name among the {} \"{}\"", what, given);
    if (std::find(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(i), items[i]) !=
        items.begin() + static_cast<std::ptrdiff_t>(i)) {
      fail_usage("\"{}\" stands twice among the {} \"{}\"", items[i], what, given);
    }
  }
}

// A task's file, and where in it the texts and the label stand.
struct Source {
  Tsv table;
  std::vector<std::size_t> texts;
  std::optional<std::size_t> label;
};

Source open_source(const Task& task, const std::string& path, Labels labels) {
  std::string content = read_text_file(path);
  if (task.headerless && !content.starts_with("index\tsentence")) {  // CoLA's test file does have a header
    return {Tsv::parse(std::move(content), path, {.header = false, .columns = 4}), {3}, 1};
  }
  Source out{Tsv::parse(std::move(content), path, {.skip_broken_rows = task.skip_broken_rows}), {}, {}};
  for (const std::string& column : task.text_columns) out.texts.push_back(out.table.column(column));
  out.label = labels == Labels::required ? out.table.column(task.label_column)
                                         : out.table.find_column(task.label_column);
  return out;
}

double parse_score(const Source& source, std::size_t row) {
  const std::string_view text = source.table.field(row, *source.label);
  double score = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), score);
  if (code != std::errc() || end != text.data() + text.size() || !std::isfinite(score)) {
    fail("{}:{}: the score \"{}\" is not a finite number", source.table.name(), source.table.line(row), text);
  }
  return score;
}

std::int32_t parse_label(const Task& task, const Source& source, std::size_t row) {
  const std::string_view text = source.table.field(row, *source.label);
  const auto found = std::find(task.labels.begin(), task.labels.end(), text);
  if (found == task.labels.end()) {
    fail("{}:{}: unknown label \"{}\"; {} has: {}", source.table.name(), source.table.line(row), text,
         task.name, fmt::join(task.labels, ", "));
  }
  return static_cast<std::int32_t>(found - task.labels.begin());
}

}  // namespace

Task find_task(std::string_view name) {
  for (const Task& task : all_tasks()) {
    if (plain(task.name) == plain(name)) return task;
  }
  fail_usage("unknown task \"{}\"; known tasks: {}", name, fmt::join(task_names(), ", "));
}

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  for (const Task& task : all_tasks()) names.push_back(task.name);
  return names;
}

Task custom_task(std::string_view columns, std::string_view labels) {
  std::vector<std::string> names = split_list(columns);
  if (names.size() != 2 && names.size() != 3) {
    fail_usage("columns \"{}\": one or two text columns and then the label column are needed", columns);
  }
  check_list(names, "columns", columns);
  Task task{.name = "custom"};
  task.label_column = std::move(names.back());
  names.pop_back();
  task.text_columns = std::move(names);
  if (!labels.empty()) {
    task.labels = split_list(labels);
    if (task.labels.size() < 2) fail_usage("labels \"{}\": at least two are needed", labels);
    check_list(task.labels, "labels", labels);
  }
  return task;
}

std::vector<std::string> collect_labels(const Task& task, const std::string& path) {
  constexpr std::size_t kMostLabels = 1000;
  const Source source = open_source(task, path, Labels::required);
  std::set<std::string_view> found;
  for (std::size_t row = 0; row < source.table.rows(); ++row) {
    found.insert(source.table.field(row, *source.label));
    if (found.size() > kMostLabels) {
      fail("{}: more than {} different labels in the column \"{}\"", path, kMostLabels, task.label_column);
    }
  }
  if (found.size() < 2) fail("{}: every label is \"{}\"; at least two are needed", path, *found.begin());

  std::vector<std::string> labels(found.begin(), found.end());
  std::vector<std::pair<long long, std::string>> numbers;
  for (const std::string& label : labels) {
    long long number = 0;
    const auto [end, code] = std::from_chars(label.data(), label.data() + label.size(), number);
    if (code != std::errc() || end != label.data() + label.size()) return labels;
    numbers.emplace_back(number, label);
  }
  std::sort(numbers.begin(), numbers.end());
  std::transform(numbers.begin(), numbers.end(), labels.begin(),
                 [](const auto& item) { return item.second; });
  return labels;
}

Examples load_examples(const Task& task, const std::string& path, Labels labels) {
  const Source source = open_source(task, path, labels);
  if (source.label && !task.regression && task.labels.empty()) {
    fail("{}: the labels of this task were neither given nor collected", path);
  }
  Examples out;
  out.skipped_lines = source.table.skipped_lines();
  out.rows.resize(source.table.rows());
  for (std::size_t row = 0; row < out.rows.size(); ++row) {
    Example& example = out.rows[row];
    example.line = source.table.line(row);
    example.text = source.table.field(row, source.texts[0]);
    if (source.texts.size() == 2) example.pair = source.table.field(row, source.texts[1]);
    if (!source.label) continue;
    if (task.regression) {
      example.score = parse_score(source, row);
    } else {
      example.label = parse_label(task, source, row);
    }
  }
  return out;
}

Split split_named(std::string_view name) {
  if (name == "train") return Split::train;
  if (name == "dev") return Split::dev;
  if (name == "test") return Split::test;
  fail_usage("split {}: must be train, dev or test", name);
}

std::string split_file(const Task& task, const std::string& path, Split split) {
  namespace fs = std::filesystem;
  std::error_code unused;
  if (!fs::exists(path, unused)) fail("{}: no such file or folder", path);
  if (!fs::is_directory(path, unused)) return path;

  const std::string stem = split == Split::train ? "train" : split == Split::dev ? "dev" : "test";
  std::vector<std::string> names;
  if (split != Split::train && task.name == "MNLI-MM") {
    names = {stem + "_mismatched.tsv"};
  } else if (split != Split::train && task.name == "MNLI") {
    names = {stem + "_matched.tsv", stem + ".tsv"};
  } else {
    names = {stem + ".tsv"};
  }
  for (const std::string& name : names) {
    for (const char* end : {"", ".gz"}) {
      const fs::path file = fs::path(path) / (name + end);
      if (fs::exists(file, unused)) return file.string();
    }
  }
  fail("{}: the folder has no {} (nor with .gz)", path, fmt::join(names, ", no "));
}

MetricValues evaluate(const Task& task, std::span<const std::int32_t> predictions,
                      std::span<const std::int32_t> labels) {
  return compute_metrics(task.metric, predictions, labels, task.metric_prefix);
}

MetricValues evaluate(const Task& task, std::span<const double> predictions, std::span<const double> labels) {
  if (!task.regression) fail("metrics: {} is scored by classes, not by scores", task.name);
  return compute_metrics(predictions, labels);
}

}  // namespace costeff
